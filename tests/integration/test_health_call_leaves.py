"""A health call leaves at once or not at all: one that left late could come too close to the next (I8)."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from integration.raw_http import on_both_loops, read_request, scripted, until
from payrouter.adapters.http.client import Answer, HttpPool, PoolLimits
from payrouter.adapters.http.gateway import HttpGateway
from payrouter.domain.health import LEAVES_WITHIN_S
from payrouter.domain.processor import Processor
from payrouter.ports.gateway import GatewayError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Reads requests, answers when told to, and knows when its clients hang up."""

    def __init__(self) -> None:
        self.requests = 0
        self.hung_up = 0
        self.answers = asyncio.Event()

    async def talk(self, reader, writer) -> None:
        while True:
            try:
                await read_request(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.hung_up += 1
                return
            self.requests += 1
            gone = asyncio.ensure_future(reader.read(1))
            answers = asyncio.ensure_future(self.answers.wait())
            await asyncio.wait([gone, answers], return_when=asyncio.FIRST_COMPLETED)
            for one in (gone, answers):
                one.cancel()
            await asyncio.wait([gone, answers])
            if not self.answers.is_set():
                self.hung_up += 1
                return
            writer.write(OK)


@asynccontextmanager
async def one_connection():
    """A server, and a pool that may have one connection to it."""
    server = Server()
    async with scripted(server.talk) as port:
        pool = HttpPool(f"http://127.0.0.1:{port}", PoolLimits(connections=1))
        try:
            yield server, pool, pool.head("GET", "/") + b"\r\n"
        finally:
            await pool.close()


@on_both_loops
async def test_a_request_given_up_before_it_was_sent_never_leaves():
    async with one_connection() as (server, pool, request):
        first = asyncio.ensure_future(pool.ask(request, within_s=5))
        await until(lambda: server.requests == 1)
        second = asyncio.ensure_future(pool.ask(request, within_s=5))
        await asyncio.sleep(0.01)
        second.cancel()
        server.answers.set()
        assert isinstance(await first, Answer)
        await asyncio.sleep(0.05)
        assert server.requests == 1
        assert second.cancelled()


@on_both_loops
async def test_a_request_given_up_on_the_way_hangs_up_and_the_next_one_goes_at_once():
    async with one_connection() as (server, pool, request):
        first = asyncio.ensure_future(pool.ask(request, within_s=5))
        await until(lambda: server.requests == 1)
        first.cancel()
        server.answers.clear()
        second = asyncio.ensure_future(pool.ask(request, within_s=5))
        await until(lambda: (server.requests, server.hung_up) == (2, 1))
        server.answers.set()
        assert isinstance(await second, Answer)
        assert first.cancelled()


@on_both_loops
async def test_a_processor_that_does_not_take_the_connection_soon_is_not_asked():
    # A full backlog leaves further connections hanging, as a dropped packet does.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        gateway = HttpGateway(
            (Processor("default", f"http://127.0.0.1:{address[1]}", Decimal("0.05")),),
            attempt_timeout_s=1.0,
            connections=1,
        )
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            await asyncio.sleep(0.05)
            start_s = time.monotonic()
            with pytest.raises(GatewayError, match="no connection within"):
                await gateway.health("default")
            assert time.monotonic() - start_s < LEAVES_WITHIN_S
        finally:
            await gateway.close()
            for filler in fillers:
                filler.close()
