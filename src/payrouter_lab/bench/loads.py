"""Running the light generator (`generator`) beside a test bed, and knowing which payments it got accepted."""

from __future__ import annotations

import secrets
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import msgspec

from payrouter_lab.bench.ids import payment_id
from payrouter_lab.bench.jobs import Job, Outcome
from payrouter_lab.bench.k6 import LoadError
from payrouter_lab.bench.processes import Child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from payrouter_lab.bench.bed import Bed

AMOUNT = Decimal("19.90")
_POLL_S = 0.1


class Loads:
    """The generator's jobs on one test bed, each with a stream of ids of its own."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self._salt = secrets.randbits(32)
        self._streams = 0
        self.accepted: set[str] = set()
        self.unanswered: set[str] = set()

    def start(  # noqa: PLR0913 - the fields of a job
        self,
        count: int,
        *,
        rate: float = 0.0,
        connections: int = 64,
        most_connections: int = 1024,
        samples: Path | None = None,
        read_refusals: bool = False,
    ) -> Run:
        """Start sending `count` payments: `rate` a second, or unpaced when it is 0; the rest as for a job."""
        self._streams += 1
        parts = urlsplit(self.bed.target.url)
        job = Job(
            port=parts.port or 80,
            host=parts.hostname or "127.0.0.1",
            count=count,
            salt=self._salt,
            stream=self._streams,
            amount=str(AMOUNT),
            connections=connections,
            rate=rate,
            most_connections=most_connections,
            samples=str(samples or ""),
            read_refusals=read_refusals,
        )
        return Run(self, job)

    def paced(self, rate: float, seconds: float, connections: int = 64) -> Outcome:
        """Send at a fixed rate for some seconds and return what came of it."""
        with self.start(round(rate * seconds), rate=rate, connections=connections) as run:
            return run.outcome()

    def note(self, job: Job, outcome: Outcome) -> None:
        """Remember which payments were accepted, and which may have been."""
        silent, refused = set(outcome.unanswered), set(outcome.refused)
        for number in range(outcome.sent):
            name = payment_id(job.salt, job.stream, number)
            if number in silent:
                self.unanswered.add(name)
            elif number not in refused:
                self.accepted.add(name)

    def payment(self) -> dict[str, object]:
        """Return one more payment, to be sent by other means; counts as unanswered until it is accepted."""
        self._streams += 1
        name = payment_id(self._salt, self._streams, 0)
        self.unanswered.add(name)
        return {"correlationId": name, "amount": float(AMOUNT)}


class Run:
    """One job under way. As a context manager its process is ended on leaving."""

    def __init__(self, loads: Loads, job: Job) -> None:
        self._loads = loads
        self._job = job
        self.rate = job.rate
        argv = [sys.executable, "-m", "payrouter_lab.bench.generator", msgspec.json.encode(job).decode()]
        self.child = Child(f"load-{job.stream}", argv, directory=loads.bed.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.stop()

    def finished(self) -> int:
        """Return how many payments have been answered so far."""
        lines = [line for line in self.child.tail(2).splitlines() if line.isdecimal()]
        return int(lines[-1]) if lines else 0

    def outcome(self, meanwhile: Callable[[], None] | None = None) -> Outcome:
        """Wait for the end and return what came of the job, calling `meanwhile` ten times a second.

        Raises:
            LoadError: if the generator fails.
            ChildError: if the contender ends meanwhile.
        """
        while self.child.alive:
            time.sleep(_POLL_S)
            self._loads.bed.check()
            if meanwhile is not None:
                meanwhile()
        if self.child.process.returncode != 0:
            raise LoadError(f"the generator failed:\n{self.child.tail()}")
        outcome = msgspec.json.decode(self.child.tail(1), type=Outcome)
        self._loads.note(self._job, outcome)
        return outcome
