"""A light load generator, in a process of its own: a few microseconds of CPU per request.

Two ways to send: unpaced (each connection sends its next payment as soon as the last is answered) and paced
(a payment at every instant of a fixed rate, whatever the answers do). Takes one `Job`, as JSON; writes how
many were answered so far, a line each half second, and last one `Outcome`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import Any, cast

import httptools
import msgspec
import uvloop

from payrouter_lab.bench.jobs import MOST_REFUSALS, Job, Outcome, Refusal, quantiles, requests

PROGRESS_S = 0.5
# Requests of small jobs are made before the load begins, those of large ones meanwhile.
PREPARED = 200_000


class _Connection(asyncio.Protocol):
    """One connection, one payment at a time."""

    __slots__ = ("load", "number", "parser", "sent_s", "transport")

    def __init__(self, load: Load) -> None:
        self.load = load
        self.parser: Any = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.number = -1
        self.sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's, but are not of their class.
        self.transport = cast("asyncio.Transport", transport)

    def send(self, number: int, request: bytes, since_s: float) -> None:
        self.number = number
        self.sent_s = since_s
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        number, self.number = self.number, -1
        self.load.answered(self, number, self.parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        self.load.lost(self)


class _ReadingConnection(_Connection):
    """One that also reads what refusals say, which costs CPU."""

    __slots__ = ("body", "headers")

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.headers: dict[bytes, bytes] = {}
        self.body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if status != 202:
            content_type, retry_after = (self.headers.get(name, b"") for name in (b"content-type", b"retry-after"))
            self.load.refused(status, content_type.decode(), retry_after.decode(), self.body.decode())
        self.headers.clear()
        self.body = b""
        super().on_message_complete()


class Load:
    """One job under way."""

    def __init__(self, job: Job) -> None:
        self.job = job
        source = requests(job)
        self._requests = iter(list(source)) if job.count <= PREPARED else source
        self._next = 0
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[tuple[int, bytes, float]] = deque()
        self._open = 0
        self._done = asyncio.Event()
        self._latency = array("d")
        self._late = array("d")
        self._refused: list[int] = []
        self._refusals: Counter[tuple[int, str, str, str]] = Counter()
        self.samples = array("d")
        """Three numbers for each answer, as `read_samples` gives them back."""
        self._kind = _ReadingConnection if job.read_refusals else _Connection
        self._unanswered: list[int] = []
        self._first_s = self._last_s = 0.0

    @property
    def finished(self) -> int:
        """How many payments have had their answer, or never will."""
        return len(self._latency) + len(self._unanswered)

    async def run(self) -> Outcome:
        """Send everything and return what came of it."""
        async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
            await asyncio.gather(*(self._connect() for _ in range(self.job.connections)))
            progress = tasks.create_task(self._tell())
            self._first_s = time.monotonic()
            if self.job.rate > 0:
                await self._pace(tasks)
            else:
                while self._idle and self._send_next(self._idle.popleft(), time.monotonic()):
                    pass
            await self._done.wait()
            progress.cancel()
        return self._outcome()

    async def _connect(self) -> None:
        self._open += 1
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: self._kind(self), self.job.host, self.job.port)
        self._take(connection)

    def _take(self, connection: _Connection) -> None:
        """Give an idle connection the payment that waits longest, or let it wait."""
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _send_next(self, connection: _Connection, now_s: float) -> bool:
        request = next(self._requests, None)
        if request is None:
            return False
        connection.send(self._next, request, now_s)
        self._next += 1
        return True

    async def _pace(self, tasks: asyncio.TaskGroup) -> None:
        """Send a payment at each due instant; without an idle connection it waits, and its clock runs."""
        for number, request in enumerate(self._requests):
            due_s = self._first_s + number / self.job.rate
            if time.monotonic() < due_s:
                # uvloop counts milliseconds, and would spin through less than one.
                await asyncio.sleep(max(0.001, due_s - time.monotonic()))
            now_s = time.monotonic()
            self._next += 1
            self._late.append((now_s - due_s) * 1000)
            if self._idle:
                self._idle.popleft().send(number, request, now_s)
            else:
                self._waiting.append((number, request, now_s))
                if self._open < self.job.most_connections:
                    tasks.create_task(self._connect())

    def answered(self, connection: _Connection, number: int, status: int) -> None:
        """Note an answer; unpaced, the connection sends the next payment at once."""
        now_s = self._last_s = time.monotonic()
        self._latency.append((now_s - connection.sent_s) * 1000)
        if status != 202:
            self._refused.append(number)
        if self.job.samples:
            self.samples.extend((connection.sent_s, self._latency[-1], status))
        if self.job.rate > 0:
            self._take(connection)
        else:
            self._send_next(connection, now_s)
        self._check_done()

    def refused(self, *said: *tuple[int, str, str, str]) -> None:
        """Note a refusal's status, Content-Type, Retry-After and body."""
        if len(self._refusals) < MOST_REFUSALS or said in self._refusals:
            self._refusals[said] += 1

    def lost(self, connection: _Connection) -> None:
        """Note a broken connection, and what it leaves unanswered; open another for what is still to send."""
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.number >= 0:
            self._unanswered.append(connection.number)
        self._check_done()
        # Unpaced, a lost connection is not replaced; when the last has gone, there is nothing left to do.
        if self._open == 0 and self.job.rate == 0:
            self._done.set()

    def _check_done(self) -> None:
        if self.finished == self.job.count:
            self._done.set()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            print(self.finished, flush=True)  # noqa: T201 - the runner reads it

    def _outcome(self) -> Outcome:
        return Outcome(
            sent=self._next,
            accepted=len(self._latency) - len(self._refused),
            refused=sorted(self._refused),
            unanswered=sorted(self._unanswered),
            first_sent_s=self._first_s,
            last_answer_s=self._last_s,
            latency_ms=quantiles(self._latency),
            late_ms=quantiles(self._late)["p99"],
            refusals=[Refusal(*said, count) for said, count in self._refusals.items()],
        )


def main() -> None:
    """Run the job given as the only argument."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    load = Load(job)
    outcome = uvloop.run(load.run())
    if job.samples:
        Path(job.samples).write_bytes(load.samples.tobytes())
    print(msgspec.json.encode(outcome).decode(), flush=True)  # noqa: T201 - the runner reads it


if __name__ == "__main__":
    main()
