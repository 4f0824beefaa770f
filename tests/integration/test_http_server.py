"""The HTTP server's everyday protocol over real sockets: connections, framing, order, addresses, stopping."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from integration.raw_http import (
    Answer,
    ask,
    connected,
    echo,
    listening,
    on_both_loops,
    scenario,
    split_answers,
    unhandled,
    until,
)
from payrouter.adapters.http.message import Reply, Request, ServerLimits
from payrouter.adapters.http.server import HttpServer
from payrouter.domain.errors import AddressInUse

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


class Later:
    """A handler that answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Request, Reply]] = []

    def __call__(self, request: Request, reply: Reply) -> None:
        self.asked.append((request, reply))

    def answer(self) -> None:
        request, reply = self.asked.pop(0)
        reply.send(200, request.target, content_type=b"text/plain")


# -- connections


@on_both_loops
async def test_a_connection_is_kept_for_further_requests():
    async with listening(echo) as (_, port), connected(port) as client:
        for _ in range(3):
            answer = await client.ask(GET)
            assert (answer.status, answer.body) == (200, b"GET /x ")
            assert "connection" not in answer.headers


@pytest.mark.parametrize(
    ("request_bytes", "kept"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", True),
        (b"GET /x HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", False),
        (b"GET /x HTTP/1.1\r\nConnection: Close, TE\r\n\r\n", False),
        (b"GET /x HTTP/1.0\r\n\r\n", False),
        (b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
@on_both_loops
async def test_a_connection_is_closed_when_the_client_says_so_or_speaks_http_1_0(request_bytes, kept):
    async with listening(echo) as (server, port), connected(port) as client:
        assert (await client.ask(request_bytes)).status == 200
        if kept:
            assert (await client.ask(request_bytes)).status == 200
            assert len(server.connections) == 1
        else:
            assert await client.closed() == b""
            await until(lambda: not server.connections)


@on_both_loops
async def test_pipelined_requests_are_answered_in_order_though_each_takes_its_time():
    def slowly(request: Request, reply: Reply) -> None:
        number = int(request.target[1:])
        asyncio.get_running_loop().call_later(0.001 * (number % 3), reply.send, 200, request.target)

    async with listening(slowly) as (_, port), connected(port) as client:
        client.send(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(100)))
        assert [(await client.answer()).body for _ in range(100)] == [b"/%d" % number for number in range(100)]


@on_both_loops
async def test_a_client_that_has_gone_does_not_disturb_the_answer():
    later = Later()
    async with listening(later) as (server, port):
        async with connected(port) as client:
            client.send(GET * 2)
            await until(lambda: later.asked != [])
            assert not later.asked[0][1].client_gone
        await until(lambda: not server.connections)
        assert later.asked[0][1].client_gone
        later.answer()
        await asyncio.sleep(0.01)
        assert later.asked == []


@scenario
async def test_a_request_cannot_be_answered_twice():
    later = Later()
    async with listening(later) as (_, port), connected(port) as client:
        client.send(GET)
        await until(lambda: later.asked != [])
        _, reply = later.asked[0]
        later.answer()
        with pytest.raises(RuntimeError, match="answered once"):
            reply.send(200)
        assert (await client.answer()).status == 200


@on_both_loops
async def test_an_aborted_reply_ends_the_connection_without_an_answer():
    async with listening(lambda _, reply: reply.abort()) as (_, port), connected(port) as client:
        client.send(GET)
        assert await client.closed() == b""


@on_both_loops
async def test_a_defect_of_a_handler_is_seen_and_costs_one_connection():
    def defective(request: Request, reply: Reply) -> None:
        if request.target == b"/defect":
            raise ZeroDivisionError
        echo(request, reply)

    async with listening(defective) as (_, port):
        async with connected(port) as client:
            client.send(b"GET /defect HTTP/1.1\r\n\r\n")
            assert await client.closed() == b""
        assert len(unhandled.clear()) == 1
        assert (await ask(port, GET)).status == 200


# -- framing


@on_both_loops
async def test_a_request_in_single_bytes_is_put_together():
    request = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    async with listening(echo) as (_, port), connected(port) as client:
        for byte in request * 2:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        for _ in range(2):
            assert (await client.answer()).body == b"POST /x hello"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00005\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length:5\r\n\r\nhello",
        b"\r\n\r\nPOST /x HTTP/1.1\r\nContent-Length: 005\r\n\r\nhello",
        b"POST http://elsewhere:80/x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"POST HTTPS://elsewhere/x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
@on_both_loops
async def test_a_body_is_understood_in_every_framing(request_bytes):
    async with listening(echo) as (_, port):
        answer = await ask(port, request_bytes)
        assert (answer.status, answer.body) == (200, b"POST /x hello")


@pytest.mark.parametrize(
    ("target", "understood"),
    [
        (b"/a?b=http://c", b"/a?b=http://c"),
        (b"http://host", b"/"),
        (b"http://host/", b"/"),
        (b"http://host:1/a/b?c", b"/a/b?c"),
        (b"http://host?c", b"/?c"),
        (b"http://user@host/a", b"/a"),
    ],
)
@scenario
async def test_an_absolute_target_means_its_path_and_query(target, understood):
    async with listening(echo) as (_, port):
        assert (await ask(port, b"GET %b HTTP/1.1\r\n\r\n" % target)).body == b"GET %b " % understood


@on_both_loops
async def test_an_upgrade_is_not_taken_up_and_the_request_gets_its_own_answer():
    later = Later()
    upgrade = b"GET /up HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with listening(later) as (_, port), connected(port) as client:
        client.send(upgrade + GET)
        await until(lambda: later.asked != [])
        later.answer()
        answers = split_answers(await client.closed())
        assert [(answer.body, answer.headers["connection"]) for answer in answers] == [(b"/up", "close")]
        assert later.asked == []


@pytest.mark.parametrize("split_at", range(0, 120, 7))
@scenario
async def test_a_payment_that_comes_with_an_offer_to_upgrade_arrives_whole_wherever_it_is_split(split_at):
    """Java's HTTP client offers h2c with its first request."""
    request = (
        b"POST /x HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nExpect: 100-continue\r\n"
        b"Upgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    async with listening(echo) as (_, port), connected(port) as client:
        client.send(request[:split_at])
        await asyncio.sleep(0.005)
        client.send(request[split_at:])
        assert [answer.body for answer in split_answers(await client.closed())] == [b"POST /x hello"]


@scenario
async def test_a_tunnel_is_refused():
    async with listening(echo) as (_, port):
        answer = await ask(port, b"CONNECT elsewhere:443 HTTP/1.1\r\n\r\n")
        assert (answer.status, answer.body) == (400, b"there are no tunnels here")


@on_both_loops
async def test_a_client_that_expects_100_continue_gets_it_before_it_sends_the_body():
    async with listening(echo) as (_, port), connected(port) as client:
        answer = await client.ask(b"POST /x HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
        assert answer.status == 100
        assert (await client.ask(b"hello")).body == b"POST /x hello"


@scenario
async def test_a_client_that_expects_100_continue_for_too_much_is_refused():
    limits = ServerLimits(body_bytes=10)
    async with listening(echo, limits) as (_, port):
        request = b"POST /x HTTP/1.1\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"
        assert (await ask(port, request)).status == 413


@on_both_loops
async def test_an_answer_to_head_has_the_length_and_no_body():
    def handler(request: Request, reply: Reply) -> None:
        reply.send(200, b"hello", chunked=request.target == b"/chunked")

    async with listening(handler) as (_, port), connected(port) as client:
        client.send(b"HEAD /x HTTP/1.1\r\n\r\nHEAD /chunked HTTP/1.1\r\n\r\n" + GET)
        assert (await client.answer(head=True)).headers["content-length"] == "5"
        assert (await client.answer(head=True)).headers["transfer-encoding"] == "chunked"
        assert (await client.answer()).body == b"hello"


@scenario
async def test_an_answer_can_be_chunked():
    async with listening(lambda _, reply: reply.send(200, b"hello", chunked=True)) as (_, port):
        assert (await ask(port, GET)).body == b"hello"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /x HTTP/3.1\r\n\r\n",
        b"GET /x y HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"get /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"GET /x HTTP/1.1\r\nA: b\x00\r\n\r\n",
        b"GET /x HTTP/1.1\nA: b\n\n",
    ],
)
@on_both_loops
async def test_bytes_that_are_no_request_are_refused(request_bytes):
    async with listening(echo) as (_, port), connected(port) as client:
        answer = await client.ask(request_bytes)
        assert (answer.status, answer.body) == (400, b"not an HTTP/1.1 request")
        assert answer.headers["connection"] == "close"
        assert await client.closed() == b""


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5, 5",
        b"Content-Length: -1",
        b"Content-Length: +5",
        b"Content-Length: 0x5",
        b"Content-Length: 5.0",
        b"Content-Length: ",
        b"Content-Length: five",
        b"Content-Length: 99999999999999999999999999",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding : chunked\r\nContent-Length: 5",
    ],
)
@scenario
async def test_a_body_whose_length_could_be_read_in_two_ways_is_refused_with_all_that_follows(framing):
    """What one server takes for a body and the next for a request is how requests are smuggled."""
    seen = []

    def handler(request: Request, reply: Reply) -> None:
        seen.append(request)
        echo(request, reply)

    async with listening(handler) as (_, port), connected(port) as client:
        client.send(b"POST /x HTTP/1.1\r\n" + framing + b"\r\n\r\n0\r\n\r\n" + GET)
        answers = split_answers(await client.closed())
        assert ([answer.status for answer in answers], seen) == ([400], [])


@pytest.mark.parametrize("chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nhelloX", b"fffffffffffffffff\r\n", b"0x5\r\nhello\r\n"])
@scenario
async def test_a_broken_chunk_is_refused(chunk):
    async with listening(echo) as (_, port):
        assert (await ask(port, b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)).status == 400


# -- what follows a request that is still being answered


@pytest.mark.parametrize(
    ("first", "garbage", "statuses"),
    [
        (GET, b"\x00garbage", [200, 400]),
        (GET * 3, b"\x00garbage", [200, 200, 200, 400]),
        (GET, b"POST /x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", [200, 413]),
        (GET, b"GET /x HTTP/1.1\r\n" + b"A: b\r\n" * 200_000, [200, 431]),
        (b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", [200]),
    ],
)
@on_both_loops
async def test_a_refusal_waits_for_the_answers_that_are_owed(first, garbage, statuses):
    """Else it would pass for the answer to a payment that was accepted."""
    later = Later()
    async with listening(later) as (server, port), connected(port) as client:
        client.send(first + garbage)
        for _ in range(statuses.count(200)):
            await until(lambda: later.asked != [])
            await asyncio.sleep(0.02)
            later.answer()
        answers: list[Answer] = split_answers(await client.closed())
        assert [answer.status for answer in answers] == statuses
        await until(lambda: later.asked == [])
        await client.close()
        await until(lambda: not server.connections)


# -- stopping


@asynccontextmanager
async def stopping(server: HttpServer, within_s: float):
    """Stop in the background; the body runs while it waits."""
    stop = asyncio.ensure_future(server.stop(within_s))
    await asyncio.sleep(0.02)
    try:
        yield stop
    finally:
        await stop


@on_both_loops
async def test_stopping_answers_what_is_pending_hangs_up_idle_clients_and_refuses_new_ones():
    later = Later()
    async with listening(later) as (server, port), connected(port) as busy, connected(port) as idle:
        busy.send(GET)
        await until(lambda: later.asked != [] and len(server.connections) == 2)
        async with stopping(server, 5) as stop:
            assert await idle.closed() == b""
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            assert not stop.done()
            later.answer()
            answer = await busy.answer()
            assert (answer.body, answer.headers["connection"]) == (b"/x", "close")
            await asyncio.wait_for(stop, 0.5)
        assert not server.connections


@on_both_loops
async def test_stopping_lets_a_request_that_is_arriving_come_in():
    async with listening(echo) as (server, port), connected(port) as client:
        client.send(GET[:10])
        await until(lambda: len(server.connections) == 1)
        await asyncio.sleep(0.02)
        async with stopping(server, 5):
            assert (await client.ask(GET[10:])).headers["connection"] == "close"


@on_both_loops
async def test_stopping_waits_no_longer_than_it_was_told():
    later = Later()
    async with listening(later) as (server, port), connected(port) as client:
        client.send(GET)
        await until(lambda: later.asked != [])
        await asyncio.wait_for(server.stop(0.1), 0.5)
        assert await client.closed() == b""
        later.answer()


@scenario
async def test_a_port_in_use_is_named():
    async with listening(echo) as (_, port):
        with pytest.raises(AddressInUse, match=rf"cannot listen on 127.0.0.1:{port}: .*; stop what uses it"):
            await HttpServer(echo).start_tcp("127.0.0.1", port)


# -- unix sockets


@on_both_loops
async def test_a_unix_socket_is_served(tmp_path):
    server, path = HttpServer(echo), tmp_path / "api.sock"
    await server.start_unix(path)
    assert (await ask(str(path), GET)).body == b"GET /x "
    await server.stop(0)


@on_both_loops
async def test_a_unix_socket_left_behind_by_a_dead_process_is_replaced(tmp_path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    server = HttpServer(echo)
    await server.start_unix(path)
    assert (await ask(str(path), GET)).status == 200
    await server.stop(0)


@on_both_loops
async def test_a_unix_socket_in_use_is_left_alone_and_named(tmp_path):
    server, path = HttpServer(echo), tmp_path / "api.sock"
    await server.start_unix(path)
    with pytest.raises(AddressInUse, match=f"cannot listen on unix:{path}: another process is listening there"):
        await HttpServer(echo).start_unix(path)
    assert (await ask(str(path), GET)).status == 200
    await server.stop(0)


@on_both_loops
async def test_a_socket_of_another_kind_is_not_taken_away_from_its_owner(tmp_path):
    path = tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as owner:
        owner.bind(str(path))
        with pytest.raises(AddressInUse):
            await HttpServer(echo).start_unix(path)
        assert path.is_socket()


@on_both_loops
async def test_a_file_that_is_no_socket_is_not_overwritten(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(AddressInUse):
        await HttpServer(echo).start_unix(path)
    assert path.read_text() == "mine"


@scenario
async def test_a_unix_socket_in_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AddressInUse, match="No such file or directory"):
        await HttpServer(echo).start_unix(tmp_path / "nowhere" / "api.sock")
