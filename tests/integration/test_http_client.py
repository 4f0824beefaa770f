"""The HTTP client over real sockets: `NeverSent` or `NoAnswer`, which is what money depends on."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from integration.raw_http import on_both_loops, read_request, scenario, scripted, unhandled, until
from payrouter.adapters.http.client import Answer, Exchange, HttpPool, NeverSent, NoAnswer, PoolLimits

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def pool_to(port: int, **limits) -> HttpPool:
    return HttpPool(f"http://127.0.0.1:{port}", PoolLimits(**limits))


def request_of(pool: HttpPool, path: str = "/", body: bytes = b"hello") -> bytes:
    return pool.head("POST", path) + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Once:
    """A `done` that remembers every call."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


async def exchange_with(port: int, *, within_s: float = 2.0, **limits) -> Exchange:
    """Send one request; `done` must be called once, also after the pool is closed."""
    pool, once = pool_to(port, **limits), Once()
    pool.request(request_of(pool), within_s=within_s, done=once)
    assert once.exchanges == []
    await until(lambda: once.exchanges != [])
    await pool.close()
    await asyncio.sleep(0.01)
    assert len(once.exchanges) == 1
    return once.exchanges[0]


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def answering(*answers: bytes, then_reset: bool = False):
    """Return a server that answers each request with the next bytes, then closes; b"" closes at once."""

    async def talk(reader, writer):
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()
            if not answer:
                break
        await asyncio.sleep(0.01)
        if then_reset:
            reset(writer)

    return talk


def refused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# -- nothing has left


@on_both_loops
async def test_a_refused_connection_means_never_sent():
    exchange = await exchange_with(refused_port())
    assert isinstance(exchange, NeverSent)
    assert exchange.detail.startswith("cannot connect: Connect")


@on_both_loops
async def test_a_name_that_cannot_be_resolved_means_never_sent():
    pool, once = HttpPool("http://no-such-host.invalid:80"), Once()
    pool.request(request_of(pool), within_s=5, done=once)
    await until(lambda: once.exchanges != [])
    await pool.close()
    assert isinstance(once.exchanges[0], NeverSent)


@on_both_loops
async def test_a_connection_that_does_not_come_about_in_time_means_never_sent():
    """A listener whose backlog is full leaves further connections hanging, as a dropped packet does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            await asyncio.sleep(0.05)
            assert await exchange_with(port, connect_s=0.2) == NeverSent("no connection within 0.2 s")
        finally:
            for filler in fillers:
                filler.close()


@scenario
async def test_a_request_that_waits_for_a_connection_past_its_deadline_was_never_sent():
    async def talk(reader, writer):
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        pool, first, second = pool_to(port, connections=1), Once(), Once()
        pool.request(request_of(pool), within_s=5, done=first)
        pool.request(request_of(pool), within_s=0.2, done=second)
        await until(lambda: second.exchanges != [])
        assert (first.exchanges, second.exchanges) == ([], [NeverSent("no free connection in time")])
        await pool.close()
        assert first.exchanges == [NoAnswer("closing")]


# -- sent, and no complete answer


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"", "closed by the processor"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed by the processor"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", "closed by the processor"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", "closed by the processor"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "closed by the processor"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "closed by the processor"),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", "closed by the processor"),
        (b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{}", "closed by the processor"),
        (b"hello, I am a mail server\r\n", "the answer is not HTTP"),
        (b"\x16\x03\x01", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "the answer is not HTTP"),
    ],
)
@on_both_loops
async def test_a_request_without_a_complete_answer_got_none(answer, detail):
    async with scripted(answering(answer)) as port:
        exchange = await exchange_with(port)
        assert isinstance(exchange, NoAnswer)
        assert detail in exchange.detail


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}"])
@on_both_loops
async def test_a_reset_connection_means_no_answer(answer):
    async def talk(reader, writer):
        await read_request(reader)
        writer.write(answer)
        await asyncio.sleep(0.01)
        reset(writer)

    async with scripted(talk) as port:
        exchange = await exchange_with(port)
        assert isinstance(exchange, NoAnswer)
        assert exchange.detail.startswith("connection lost before the answer (")


@on_both_loops
async def test_an_answer_that_does_not_come_in_time_means_no_answer():
    async def talk(reader, writer):
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        assert await exchange_with(port, within_s=0.15) == NoAnswer("no answer in time")


@scenario
async def test_an_answer_that_dribbles_past_the_deadline_means_no_answer():
    async def talk(reader, writer):
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.02)

    async with scripted(talk) as port:
        assert await exchange_with(port, within_s=0.2) == NoAnswer("no answer in time")


@scenario
async def test_an_answer_after_the_deadline_is_not_taken_for_another_request():
    async def talk(reader, writer):
        request = await read_request(reader)
        if b"/late" in request:
            await asyncio.sleep(0.3)
        writer.write(OK.replace(b"{}", request.split()[1][1:3]))

    async with scripted(talk) as port:
        pool, late = pool_to(port, connections=1), Once()
        pool.request(request_of(pool, "/late"), within_s=0.1, done=late)
        await until(lambda: late.exchanges != [])
        assert await pool.ask(request_of(pool, "/no"), within_s=2) == Answer(200, b"no")
        await asyncio.sleep(0.3)
        assert late.exchanges == [NoAnswer("no answer in time")]
        await pool.close()


@pytest.mark.parametrize("framing", [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n"])
@scenario
async def test_an_answer_beyond_the_bound_is_given_up(framing):
    async with scripted(answering(b"HTTP/1.1 200 OK\r\n" + framing + b"x" * 1001)) as port:
        exchange = await exchange_with(port, answer_bytes=1000)
        assert isinstance(exchange, NoAnswer)
        assert exchange.detail.startswith("the answer is not HTTP")


@on_both_loops
async def test_closing_the_pool_ends_everything_at_once():
    async def talk(reader, writer):
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        pool, sent, unsent = pool_to(port, connections=2), [Once(), Once()], [Once() for _ in range(3)]
        for once in sent:
            pool.request(request_of(pool), within_s=5, done=once)
        await asyncio.sleep(0.05)
        for once in unsent:
            pool.request(request_of(pool), within_s=5, done=once)
        await pool.close()
        assert [once.exchanges for once in sent] == [[NoAnswer("closing")]] * 2
        assert [once.exchanges for once in unsent] == [[NeverSent("closing")]] * 3


@on_both_loops
async def test_closing_the_pool_while_it_connects_ends_the_request_as_never_sent():
    async with scripted(answering(OK)) as port:
        pool, once = pool_to(port), Once()
        pool.request(request_of(pool), within_s=5, done=once)
        await asyncio.sleep(0)
        await pool.close()
        assert once.exchanges == [NeverSent("closing")]


# -- complete answers


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, Answer(200, b"{}")),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", Answer(500, b"")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Answer(200, b"{}")),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + OK, Answer(200, b"{}")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nT: 1\r\n\r\n",
            Answer(200, b"{}"),
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", Answer(200, b"{}")),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", Answer(200, b"{}")),
        (b"HTTP/1.1 422 Unprocessable Entity\r\ncontent-length:2\r\n\r\n{}", Answer(422, b"{}")),
    ],
)
@on_both_loops
async def test_a_complete_answer_is_given_once(answer, expected):
    async with scripted(answering(answer)) as port:
        assert await exchange_with(port) == expected


@scenario
async def test_an_answer_in_single_bytes_is_put_together():
    async def talk(reader, writer):
        await read_request(reader)
        for byte in OK:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)

    async with scripted(talk) as port:
        assert await exchange_with(port) == Answer(200, b"{}")


@on_both_loops
async def test_of_two_answers_to_one_request_the_first_counts_and_the_connection_is_given_up():
    """The second one would otherwise pass for the answer to the next request."""
    connections = []

    async def talk(reader, writer):
        connections.append(writer)
        await read_request(reader)
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n" + OK)
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        pool = pool_to(port)
        for _ in range(2):
            assert await pool.ask(request_of(pool), within_s=2) == Answer(500, b"")
        assert len(connections) == 2
        await pool.close()


@on_both_loops
async def test_the_beginning_of_a_second_answer_is_not_read_as_the_next_one():
    connections = []

    async def talk(reader, writer):
        connections.append(writer)
        await read_request(reader)
        writer.write(OK + b"HTTP/1.1 200 OK\r\nX-Left-Over: ")
        await asyncio.sleep(0.05)
        writer.write(b"1\r\nContent-Length: 5\r\n\r\nwrong")
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        pool = pool_to(port)
        for _ in range(2):
            assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
            await asyncio.sleep(0.1)
        assert len(connections) == 2
        await pool.close()


# -- kept-alive connections


@on_both_loops
async def test_a_connection_is_used_again():
    requests = []

    async def talk(reader, writer):
        while True:
            requests.append((writer, await read_request(reader)))
            writer.write(OK)

    async with scripted(talk) as port:
        pool = pool_to(port)
        for _ in range(5):
            assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
        assert len(requests) == 5
        assert len({id(writer) for writer, _ in requests}) == 1
        await pool.close()


@on_both_loops
async def test_a_connection_that_the_server_closed_while_idle_is_replaced_unnoticed():
    async with scripted(answering(OK)) as port:
        pool = pool_to(port)
        for _ in range(3):
            assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
            await asyncio.sleep(0.05)
        await pool.close()


@on_both_loops
async def test_a_request_handed_to_a_connection_that_is_just_being_closed_is_never_called_unsent():
    """The server closes at the moment of the next request: its bytes may have left."""

    async def talk(reader, writer):
        for _ in range(2):
            await read_request(reader)
            writer.write(OK)
        await reader.readuntil(b"POST /third")
        reset(writer)

    async with scripted(talk) as port:
        pool = pool_to(port)
        for _ in range(2):
            assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
        assert isinstance(await pool.ask(request_of(pool, "/third"), within_s=2), NoAnswer)
        await pool.close()


@scenario
async def test_a_request_in_the_same_instant_as_the_servers_close_is_answered_or_unknown_but_not_unsent():
    """The end of the connection has arrived but the loop has not seen it yet when the request is handed over."""
    hang_up = []

    async def talk(reader, writer):
        while True:
            await read_request(reader)
            writer.write(OK)
            hang_up.append(writer.get_extra_info("socket"))

    async with scripted(talk) as port:
        pool = pool_to(port)
        assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
        hang_up[0].shutdown(socket.SHUT_RDWR)
        assert isinstance(await pool.ask(request_of(pool), within_s=2), NoAnswer)
        assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
        await pool.close()


@on_both_loops
async def test_bytes_nobody_asked_for_end_the_connection_and_are_no_answer():
    connections = []

    async def talk(reader, writer):
        connections.append(writer)
        await read_request(reader)
        writer.write(OK)
        await asyncio.sleep(0.02)
        writer.write(OK.replace(b"{}", b"[]"))
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        pool = pool_to(port)
        for _ in range(2):
            assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
            await asyncio.sleep(0.06)
        assert len(connections) == 2
        await pool.close()


@scenario
async def test_an_idle_connection_is_hung_up_before_the_server_does():
    ended = asyncio.Event()

    async def talk(reader, writer):
        await read_request(reader)
        writer.write(OK)
        assert await reader.read() == b""
        ended.set()

    async with scripted(talk) as port:
        pool = pool_to(port, idle_s=0.1)
        assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
        await asyncio.wait_for(ended.wait(), 2)
        await pool.close()


@on_both_loops
async def test_three_hundred_requests_share_ten_connections_and_each_gets_its_own_answer():
    connections = set()

    async def talk(reader, writer):
        connections.add(writer)
        while True:
            path = (await read_request(reader)).split()[1]
            await asyncio.sleep(0.002)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async with scripted(talk) as port:
        pool, calls = pool_to(port, connections=10), [Once() for _ in range(300)]
        for number, once in enumerate(calls):
            pool.request(request_of(pool, f"/{number}"), within_s=5, done=once)
        await until(lambda: all(once.exchanges for once in calls))
        await pool.close()
        assert [once.exchanges for once in calls] == [[Answer(200, b"/%d" % number)] for number in range(300)]
        assert len(connections) <= 10


@on_both_loops
async def test_requests_to_a_server_that_comes_and_goes_end_once_each():
    """Connections die at random moments: every request ends, once, and never as unsent after it was handed over."""
    seen = []

    async def talk(reader, writer):
        while True:
            request = await read_request(reader)
            seen.append(request.split()[1])
            if len(seen) % 3 == 0:
                reset(writer)
                return
            writer.write(OK)

    async with scripted(talk) as port:
        pool, calls = pool_to(port, connections=20), {b"/%d" % number: Once() for number in range(300)}
        for path, once in calls.items():
            pool.request(request_of(pool, path.decode()), within_s=3, done=once)
        await until(lambda: all(once.exchanges for once in calls.values()))
        await pool.close()
        assert {len(once.exchanges) for once in calls.values()} == {1}
        unsent = {path for path, once in calls.items() if isinstance(once.exchanges[0], NeverSent)}
        assert unsent.isdisjoint(seen)


# -- a receiver with a defect


def failing_once(after: list[Exchange]):
    def done(exchange: Exchange) -> None:
        after.append(exchange)
        raise ZeroDivisionError

    return done


@on_both_loops
async def test_an_exception_of_a_receiver_is_seen_and_does_not_take_others_with_it():
    async with scripted(answering(OK, OK)) as port:
        pool, seen = pool_to(port), []
        pool.request(request_of(pool), within_s=2, done=failing_once(seen))
        await until(lambda: unhandled.contexts != [])
        assert seen == [Answer(200, b"{}")]
        assert [type(error) for error in unhandled.clear()] == [ZeroDivisionError]
        assert await pool.ask(request_of(pool), within_s=2) == Answer(200, b"{}")
        await pool.close()


@scenario
async def test_an_exception_of_one_receiver_does_not_keep_the_others_from_learning_that_nothing_was_sent():
    pool, seen, others = pool_to(refused_port()), [], [Once() for _ in range(3)]
    pool.request(request_of(pool), within_s=2, done=failing_once(seen))
    for once in others:
        pool.request(request_of(pool), within_s=2, done=once)
    await until(lambda: all(once.exchanges for once in others))
    assert [type(error) for error in unhandled.clear()] == [ZeroDivisionError]
    assert len(seen) == 1
    await pool.close()


@scenario
async def test_an_exception_of_one_receiver_does_not_keep_the_others_from_their_deadline():
    async def talk(reader, writer):
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        pool, seen, others = pool_to(port), [], [Once() for _ in range(3)]
        pool.request(request_of(pool), within_s=0.1, done=failing_once(seen))
        for once in others:
            pool.request(request_of(pool), within_s=0.1, done=once)
        await until(lambda: all(once.exchanges for once in others))
        assert [type(error) for error in unhandled.clear()] == [ZeroDivisionError]
        assert len(seen) == 1
        await pool.close()


@scenario
async def test_an_exception_of_one_receiver_does_not_keep_the_pool_from_closing():
    async def talk(reader, writer):
        await asyncio.sleep(10)

    async with scripted(talk) as port:
        pool, seen, others = pool_to(port), [], [Once() for _ in range(3)]
        pool.request(request_of(pool), within_s=5, done=failing_once(seen))
        for once in others:
            pool.request(request_of(pool), within_s=5, done=once)
        await asyncio.sleep(0.05)
        await pool.close()
        assert [type(error) for error in unhandled.clear()] == [ZeroDivisionError]
        assert [once.exchanges for once in others] == [[NoAnswer("closing")]] * 3
        assert len(seen) == 1


@pytest.mark.parametrize("url", ["", "localhost:8001", "ftp://host", "http://", "http://host:port", "unix:/x"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match=r"port|a processor url looks like http://host:port"):
        HttpPool(url)


def test_the_path_of_a_url_goes_before_every_path_and_its_host_into_every_head():
    pool = HttpPool("http://user@[::1]:8001/base/")
    assert pool.head("GET", "/x", (("A", "b"),)) == b"GET /base/x HTTP/1.1\r\nHost: [::1]:8001\r\nA: b\r\n"
