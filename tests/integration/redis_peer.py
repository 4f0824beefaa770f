"""A peer that speaks just enough of Redis' protocol to be let in, and then whatever a test wants."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import hiredis

from integration.raw_http import scripted
from payrouter.adapters.redis.connection import RedisLink
from payrouter.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

GREETING = {b"CLIENT": b"+OK\r\n", b"PING": b"+PONG\r\n"}


class Peer:
    """One connection to the fake, after its greeting."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    async def command(self) -> list[bytes]:
        """Return the next command."""
        while (command := self._parser.gets()) is False:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionResetError
            self._parser.feed(data)
        return command

    def say(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)


@asynccontextmanager
async def fake_redis(talk: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[str]:
    """Run a fake Redis that treats every connection as `talk` says, once let in; give its url."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        for name, answer in GREETING.items():
            assert (await peer.command())[0] == name
            peer.say(answer)
        await talk(peer)

    async with scripted(serve) as port:
        yield f"redis://127.0.0.1:{port}/0"


@asynccontextmanager
async def linked(url: str, **options) -> AsyncIterator[RedisLink]:
    """Give an open link; after it is closed, nothing of it may be left."""
    before = asyncio.all_tasks()
    link = RedisLink(url, **options)
    await link.open(5.0)
    try:
        yield link
    finally:
        await link.close()
        assert {task for task in asyncio.all_tasks() - before if "redis" in repr(task.get_coro())} == set()
        # Futures that nobody awaited would complain now, to the handler that fails the test.
        gc.collect()


async def working(link: RedisLink) -> int:
    """Wait until calls are answered, and return the connection's number at Redis."""
    while True:
        try:
            return await link.call("CLIENT", "ID")
        except StoreUnavailable:
            await asyncio.sleep(0.002)


async def reconnected(link: RedisLink, hang_up: Callable[[], object]) -> None:
    """Have the connection cut and wait until calls are answered over another one."""
    before = await working(link)
    hang_up()
    while await working(link) == before:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.002)
