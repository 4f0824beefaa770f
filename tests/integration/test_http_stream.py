"""Answers without an end, as server-sent events are."""

from __future__ import annotations

import asyncio

from integration.raw_http import connected, listening, on_both_loops, until
from payrouter.adapters.http.message import STATUS_LINES, Reply, Request, Stream

GET = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = STATUS_LINES[200] + b"Content-Type: text/event-stream\r\n"


class Streams:
    """A handler that begins a stream for each request."""

    def __init__(self) -> None:
        self.begun: list[Stream] = []
        self.ended = 0

    def __call__(self, request: Request, reply: Reply) -> None:
        self.begun.append(reply.stream(HEAD, self._end))

    def _end(self) -> None:
        self.ended += 1


async def read_until(reader: asyncio.StreamReader, text: bytes) -> bytes:
    async with asyncio.timeout(5):
        return await reader.readuntil(text)


@on_both_loops
async def test_what_is_written_arrives_at_once_until_it_is_closed():
    streams = Streams()
    async with listening(streams) as (_, port), connected(port) as client:
        client.writer.write(GET)
        head = await read_until(client.reader, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in head
        for number in range(3):
            assert streams.begun[0].write(b"data: %d\n\n" % number)
            assert await read_until(client.reader, b"\n\n") == b"data: %d\n\n" % number
        streams.begun[0].close()
        assert await client.reader.read() == b""
        await until(lambda: streams.ended == 1)


@on_both_loops
async def test_a_client_that_goes_ends_the_stream_once():
    streams = Streams()
    async with listening(streams) as (_, port):
        async with connected(port) as client:
            client.writer.write(GET)
            await read_until(client.reader, b"\r\n\r\n")
        await until(lambda: streams.ended == 1)
        assert not streams.begun[0].write(b"data: nobody\n\n")
        streams.begun[0].close()
        assert streams.ended == 1


@on_both_loops
async def test_nothing_piles_up_for_a_client_that_does_not_read():
    streams = Streams()
    async with listening(streams) as (_, port), connected(port) as client:
        client.writer.write(GET)
        await read_until(client.reader, b"\r\n\r\n")
        sent = 0
        for _ in range(1000):
            sent += streams.begun[0].write(bytes(100_000))
            await asyncio.sleep(0)
        assert sent < 200


@on_both_loops
async def test_a_server_that_stops_ends_its_streams_at_once():
    streams = Streams()
    async with listening(streams) as (server, port), connected(port) as client:
        client.writer.write(GET)
        await read_until(client.reader, b"\r\n\r\n")
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        await server.stop(5.0)
        assert loop.time() - begun_s < 1.0
        assert await client.reader.read() == b""
        assert streams.ended == 1
