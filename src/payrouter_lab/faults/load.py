"""Steady clients in a process of their own: each payment is repeated with the same id until it is accepted.

Takes one `Job`, as JSON, and keeps its journal. At SIGTERM no further payment is begun; those under way are brought to
their end first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import cast

import httptools
import msgspec
import uvloop

from payrouter_lab.faults.journal import Attempt, Job, attempt_line, cents_of, sent_line

ANSWER_WITHIN_S = 15.0
REPEAT_AFTER_S = 0.02
"""Short: how soon a repeat is accepted shows how soon the router is there again."""

BEHIND_AT_MOST_S = 0.05
"""What a fault held up is not sent in one burst afterwards."""


class _Answers(asyncio.Protocol):
    """One connection, one request at a time; `status` resolves to 0 when it ends without an answer."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.status: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._keep = True

    @property
    def usable(self) -> bool:
        return self._keep and self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's, but are not of their class.
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> asyncio.Future[int]:
        assert self.transport is not None
        self.status = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.status

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._keep = self._parser.should_keep_alive()
        self._end(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self.transport = None
        self._end(0)

    def _end(self, status: int) -> None:
        if self.status is not None and not self.status.done():
            self.status.set_result(status)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class Clients:
    """`job.connections` clients that share one schedule; `journal` is the file descriptor they write to."""

    def __init__(self, job: Job, journal: int) -> None:
        self.job = job
        self.stopping = asyncio.Event()
        self._journal = journal
        self._next = 0
        self._due_s = 0.0

    async def run(self) -> None:
        """Send until `stopping`, and return once all that was sent is accepted."""
        await asyncio.gather(*(self._one() for _ in range(self.job.connections)))

    def _take(self) -> tuple[int, float]:
        """Return the next payment and when it is due."""
        number, self._next = self._next, self._next + 1
        self._due_s = max(self._due_s + 1 / self.job.rate, time.monotonic() - BEHIND_AT_MOST_S)
        return number, self._due_s

    async def _one(self) -> None:
        link: _Answers | None = None
        while not self.stopping.is_set():
            number, due_s = self._take()
            try:
                async with asyncio.timeout(max(0.0, due_s - time.monotonic())):
                    await self.stopping.wait()
                break
            except TimeoutError:
                pass
            request = self._request(number)
            os.write(self._journal, sent_line(number, time.monotonic()))
            while True:
                began_s = time.monotonic()
                link, status = await self._try(link, request)
                os.write(self._journal, attempt_line(Attempt(number, began_s, time.monotonic(), status)))
                if status == 202:
                    break
                await asyncio.sleep(REPEAT_AFTER_S)
        if link is not None:
            link.close()

    async def _try(self, link: _Answers | None, request: bytes) -> tuple[_Answers | None, int]:
        """Send a request; return the connection, if it stays, and the answer's status."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                if link is None or not link.usable:
                    loop = asyncio.get_running_loop()
                    _, link = await loop.create_connection(_Answers, "127.0.0.1", self.job.port)
                status = await link.send(request)
        except (OSError, TimeoutError):
            status = 0
        if status == 0 and link is not None:
            link.close()
            link = None
        return link, status

    def _request(self, number: int) -> bytes:
        cents = cents_of(number)
        body = f'{{"correlationId":"{self.job.id_of(number)}","amount":{cents // 100}.{cents % 100:02d}}}'
        head = "POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def run(job: Job) -> None:
    """Send until SIGTERM."""
    journal = os.open(job.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        clients = Clients(job, journal)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, clients.stopping.set)
        await clients.run()
    finally:
        os.close(journal)


if __name__ == "__main__":
    uvloop.run(run(msgspec.json.decode(sys.argv[1], type=Job)))
