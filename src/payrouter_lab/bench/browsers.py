"""Operators who look: so many open pages, each loaded anew now and then. A process of its own, light as `generator`.

Takes a URL, how many, and the seconds between two loads of each; writes `events loads` so far, a line each half second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvloop

from payrouter_lab.bench.k6 import LoadError
from payrouter_lab.bench.page import first_view
from payrouter_lab.bench.processes import Child

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TELL_EVERY_S = 0.5
OPEN_WITHIN_S = 30.0


class _Browsers:
    def __init__(self, url: str, reload_s: float) -> None:
        self._url = url
        self._reload_s = reload_s
        self.events = self.loads = 0

    async def look(self, stay_s: float) -> None:
        """Watch, for ever, loading the page anew again and again; the first time after `stay_s`."""
        while True:
            await asyncio.to_thread(first_view, self._url)
            self.loads += 1
            try:
                async with asyncio.timeout(stay_s), self._stream() as stream:
                    while data := await stream.read(65536):
                        self.events += data.count(b"event: overview")
                    raise LoadError(f"{self._url} ended a stream of events")
            except TimeoutError:
                stay_s = self._reload_s

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[asyncio.StreamReader]:
        parts = urlsplit(self._url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET /api/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        try:
            yield reader
        finally:
            writer.close()


class OpenBrowsers:
    """Browsers on a page, all open once it is entered. `started` counts them, so that each has a log of its own."""

    started = 0

    def __init__(self, directory: Path, url: str, count: int, reload_s: float) -> None:
        OpenBrowsers.started += 1
        argv = [sys.executable, "-m", "payrouter_lab.bench.browsers", url, str(count), str(reload_s)]
        self._count = count
        self._child = Child(f"browsers-{OpenBrowsers.started}", argv, directory=directory)

    def __enter__(self) -> OpenBrowsers:
        end_s = time.monotonic() + OPEN_WITHIN_S
        while self._told()[1] < self._count:
            if not self._child.alive or time.monotonic() > end_s:
                self._child.stop()
                raise LoadError(f"the pages did not open:\n{self._child.tail()}")
            time.sleep(0.05)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._child.check()
        finally:
            self._child.stop()

    def seen(self) -> tuple[int, int]:
        """Return how many events and page loads there were so far.

        Raises:
            LoadError: if there was no event: then nobody looked, and what was measured means nothing.
        """
        events, loads = self._told()
        if not events:
            raise LoadError(f"the open pages saw nothing:\n{self._child.tail()}")
        return events, loads

    def _told(self) -> tuple[int, int]:
        lines = [line.split() for line in self._child.tail(2).splitlines()]
        found = [(int(line[0]), int(line[1])) for line in lines if len(line) == 2 and line[0].isdecimal()]
        return found[-1] if found else (0, 0)


async def _run(url: str, count: int, reload_s: float) -> None:
    browsers = _Browsers(url, reload_s)
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            # All open at once; then their loads are spread over the time between two of each.
            tasks.create_task(browsers.look((number + 1) * reload_s / count))
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            print(browsers.events, browsers.loads, flush=True)  # noqa: T201 - the runner reads it


def main() -> None:
    """Look until ended."""
    url, count, reload_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    uvloop.run(_run(url, count, reload_s))


if __name__ == "__main__":
    main()
