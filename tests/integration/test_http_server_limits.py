"""What one client may cost the HTTP server: bytes, time, connections, requests under way."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from integration.raw_http import ask, connected, echo, listening, on_both_loops, scenario, split_answers, until
from payrouter.adapters.http.message import Reply, Request, ServerLimits

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
SLOWEST_S = 2.5
"""Time limits are looked at once a second."""


# -- bytes


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 200_000,
        b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"a" * 20_000 + b": b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4_000 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 200_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"b" * 200_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"b" * 200_000,
    ],
)
@on_both_loops
async def test_headers_beyond_the_bound_are_refused(head):
    async with listening(echo) as (_, port), connected(port) as client:
        answer = await client.ask(head)
        assert (answer.status, answer.body) == (431, b"headers exceed 16384 bytes")
        assert await client.closed() == b""


@on_both_loops
async def test_headers_up_to_the_bound_are_taken():
    head = b"GET / HTTP/1.1\r\nA: " + b"a" * 16_000 + b"\r\n\r\n"
    async with listening(echo) as (_, port), connected(port) as client:
        client.send(head * 5)
        assert [(await client.answer()).status for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 101\r\n\r\n", b""),
        (b"Content-Length: 1000000\r\n\r\n", b"x" * 1_000_000),
        (b"Content-Length: 9223372036854775807\r\n\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"65\r\n" + b"x" * 101),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 101),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"2710\r\n%b\r\n" % (b"x" * 10_000) * 100),
    ],
)
@on_both_loops
async def test_a_body_beyond_the_bound_is_refused_and_the_client_gets_to_read_why(framing, body):
    async with listening(echo, ServerLimits(body_bytes=100)) as (_, port), connected(port) as client:
        answer = await client.ask(b"POST /x HTTP/1.1\r\n" + framing + body)
        assert answer.status == 413
        assert b"exceeds 100" in answer.body
        assert await client.closed() == b""


@on_both_loops
async def test_a_body_up_to_the_bound_is_taken():
    async with listening(echo, ServerLimits(body_bytes=100)) as (_, port), connected(port) as client:
        for request in (
            b"Content-Length: 100\r\n\r\n" + b"x" * 100,
            b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100 + b"0\r\n\r\n",
        ):
            assert (await client.ask(b"POST / HTTP/1.1\r\n" + request)).status == 200


@scenario
async def test_a_client_that_goes_on_sending_after_a_refusal_is_cut_off():
    async with listening(echo, ServerLimits(body_bytes=100)) as (server, port), connected(port) as client:
        assert (await client.ask(b"POST / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n")).status == 413
        start_s = time.monotonic()
        while server.connections:
            client.send(b"x" * 1000)
            await asyncio.sleep(0.01)
        assert time.monotonic() - start_s < 3.5


# -- time


DRIBBLES = [
    (b"G", b""),
    (b"GET /x HTTP/1.1\r\nA: b", b"b"),
    (b"GET /x HTTP/1.1\r\n", b"A: b\r\n"),
    (b"POST /x HTTP/1.1\r\nContent-Length: 9999\r\n\r\n", b"x"),
    (b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
]


@on_both_loops
async def test_requests_that_do_not_arrive_in_time_are_refused():
    async def dribble(port: int, beginning: bytes, more: bytes) -> tuple[int, bytes]:
        async with connected(port) as client:
            client.send(beginning)
            answer = asyncio.ensure_future(client.answer())
            while not answer.done():
                client.send(more)
                await asyncio.sleep(0.02)
            return answer.result().status, answer.result().body

    async with listening(echo, ServerLimits(request_s=0.3)) as (_, port):
        start_s = time.monotonic()
        answers = await asyncio.gather(*(dribble(port, *one) for one in DRIBBLES))
        assert answers == [(408, b"the request did not arrive within 0.3 s")] * len(DRIBBLES)
        assert time.monotonic() - start_s < SLOWEST_S


@scenario
async def test_time_for_a_request_starts_with_its_own_first_byte():
    """Its beginning may have come in the same packet as the request before it."""
    async with listening(echo, ServerLimits(request_s=0.3, idle_s=60)) as (_, port), connected(port) as client:
        client.send(GET + GET[:9])
        assert (await client.answer()).status == 200
        answer = await asyncio.wait_for(client.answer(), SLOWEST_S)
        assert answer.status == 408


@scenario
async def test_a_slow_second_request_does_not_spoil_the_answer_to_the_first():
    held: list[Reply] = []
    limits = ServerLimits(request_s=0.1)
    async with listening(lambda _, reply: held.append(reply), limits) as (_, port), connected(port) as client:
        client.send(GET + GET[:9])
        await asyncio.sleep(1.3)
        held[0].send(200, b"late but right")
        assert [answer.status for answer in split_answers(await client.closed())] == [200, 408]


@scenario
async def test_an_answer_may_take_longer_than_every_limit():
    held: list[Reply] = []
    limits = ServerLimits(request_s=0.1, idle_s=0.1)
    async with listening(lambda _, reply: held.append(reply), limits) as (_, port), connected(port) as client:
        client.send(GET)
        await asyncio.sleep(1.3)
        held[0].send(200, b"late")
        assert (await client.answer()).body == b"late"


@scenario
async def test_an_idle_connection_is_closed():
    async with listening(echo, ServerLimits(idle_s=0.2)) as (server, port):
        async with connected(port) as silent, connected(port) as used, connected(port) as blank:
            assert (await used.ask(GET)).status == 200
            start_s = time.monotonic()
            blank.send(b"\r\n\r\n")
            assert [await one.closed() for one in (silent, used, blank)] == [b""] * 3
            assert time.monotonic() - start_s < SLOWEST_S
        assert not server.connections


def request_without_end(target: bytes = b"/x") -> bytes:
    return b"GET %b HTTP/1.1\r\n\r\n" % target * 1000


def client_that_never_reads(port: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


def push(client: socket.socket, data: bytes) -> int:
    """Send what goes into the socket now and return how much that was."""
    try:
        return client.send(data)
    except (BlockingIOError, ConnectionError):
        return 0


@on_both_loops
async def test_a_client_that_never_reads_its_answers_is_stopped_and_then_cut_off():
    def large(_: Request, reply: Reply) -> None:
        nonlocal answered
        answered += 1
        reply.send(200, b"x" * 100_000)

    answered = 0
    async with listening(large, ServerLimits(idle_s=0.3)) as (server, port):
        with client_that_never_reads(port) as client:
            start_s = time.monotonic()
            await asyncio.sleep(0.01)
            while server.connections:
                push(client, request_without_end())
                await asyncio.sleep(0.005)
            assert time.monotonic() - start_s < 4
            # What is answered into the kernel's buffers is bounded too: a few MB.
            assert answered < 200
        assert (await ask(port, GET)).status == 200


@on_both_loops
async def test_pipelined_requests_are_read_only_as_fast_as_they_are_answered():
    """The client sends without end; what waits here stays within a bound."""
    most = 0

    def handler(request: Request, reply: Reply) -> None:
        asyncio.get_running_loop().call_later(0.0005, reply.send, 200, b"")

    async with listening(handler, ServerLimits(pipelined=16)) as (server, port):
        with client_that_never_reads(port) as client:
            await until(lambda: len(server.connections) == 1)
            end_s = time.monotonic() + 0.5
            while time.monotonic() < end_s:
                push(client, request_without_end(b"/"))
                most = max(most, *(len(one._waiting) for one in server.connections))
                await asyncio.sleep(0)
    # One read of at most 256 KiB, of requests of 18 bytes, may overshoot; many must not add up.
    assert most <= 16 + 256 * 1024 // 18


# -- connections


@on_both_loops
async def test_too_many_connections_are_refused_and_the_others_go_on():
    async with listening(echo, ServerLimits(connections=3)) as (server, port):
        async with connected(port) as first, connected(port) as second, connected(port) as third:
            for one in (first, second, third):
                assert (await one.ask(GET)).status == 200
            async with connected(port) as fourth:
                answer = await fourth.answer()
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.body == b"too many connections"
                assert await fourth.closed() == b""
            assert (await first.ask(GET)).status == 200
        await until(lambda: not server.connections)
        assert (await ask(port, GET)).status == 200


@on_both_loops
async def test_clients_that_come_and_go_leave_nothing_behind():
    async with listening(echo) as (server, port):
        for data in (b"", GET[:5], GET, GET * 50, b"\x00"):
            for _ in range(20):
                async with connected(port) as client:
                    client.send(data)
        await until(lambda: not server.connections)
