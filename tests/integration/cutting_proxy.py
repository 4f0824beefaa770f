"""A way to Redis that loses answers: it hands a chosen request over and cuts the connection, or keeps it for later."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter_lab.cluster.servers import RedisServer


class Cut(Enum):
    """What becomes of the chosen request. Its sender never hears of it."""

    DONE = "handed over and done"
    LOST = "not handed over"
    LATE = "kept, and handed over when the test says so"


@dataclass
class CuttingProxy:
    """Passes everything on, but for the next request that holds `marker`."""

    target: int
    port: int = 0
    marker: bytes = b""
    cut: Cut = Cut.DONE
    cuts: int = 0
    late: list[tuple[asyncio.StreamWriter, asyncio.StreamReader, bytes]] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def next(self, marker: str | bytes, cut: Cut = Cut.DONE) -> None:
        """Cut the connection at the next request that holds these bytes; `EVALSHA` is in every script's."""
        self.marker, self.cut = marker.encode() if isinstance(marker, str) else marker, cut

    async def deliver_late(self) -> None:
        """Hand over what was kept, on the connection it was sent on, and wait until Redis has done it."""
        for upstream, answers, data in self.late:
            upstream.write(data)
            await answers.read(1)
            upstream.close()
        self.late.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Treat one connection."""
        answers, upstream = await asyncio.open_connection("127.0.0.1", self.target)
        self._open |= {writer, upstream}
        back = asyncio.ensure_future(_copy(answers, writer))
        try:
            while data := await reader.read(1 << 20):
                if self.marker and self.marker in data:
                    self.marker = b""
                    self.cuts += 1
                    back.cancel()
                    await asyncio.wait([back])
                    await self._cut(upstream, answers, data)
                    writer.transport.abort()
                    if self.cut is Cut.LATE:
                        return
                    break
                upstream.write(data)
        except ConnectionError:
            pass
        back.cancel()
        await asyncio.wait([back])
        upstream.close()
        writer.close()

    async def _cut(self, upstream: asyncio.StreamWriter, answers: asyncio.StreamReader, data: bytes) -> None:
        match self.cut:
            case Cut.DONE:
                upstream.write(data)
                await answers.read(1)
            case Cut.LATE:
                self.late.append((upstream, answers, data))
            case Cut.LOST:
                return

    def close(self) -> None:
        """Hang up everywhere."""
        for writer in self._open:
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 20):
            writer.write(data)
        writer.close()
    except ConnectionError:
        writer.close()


@asynccontextmanager
async def cutting_proxy(redis: RedisServer) -> AsyncIterator[CuttingProxy]:
    """Give a proxy before a Redis."""
    proxy = CuttingProxy(redis.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.close()
        await asyncio.sleep(0.01)
        await server.wait_closed()
