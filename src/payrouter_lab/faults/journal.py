"""What the load's clients saw, written by their process line by line and read by the storm: one line per event.

Instants are of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from payrouter_lab.bench.ids import payment_id

if TYPE_CHECKING:
    from pathlib import Path

STREAM = 1
_SENT, _ACCEPTED, _REFUSED = b"s", b"a", b"r"


class Job(msgspec.Struct, frozen=True):
    """Payments to 127.0.0.1:`port`, `rate` a second, until told to stop. Ids: `bench.ids` with `salt` and `STREAM`."""

    port: int
    rate: float
    salt: int
    journal: str
    connections: int = 64

    def id_of(self, number: int) -> str:
        """Return the correlationId of a payment."""
        return payment_id(self.salt, STREAM, number)


def cents_of(number: int) -> int:
    """Return the amount of a payment in cents; neighbours differ."""
    return 1000 + number % 5000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of a client and when it ended; `status` is 0 when no answer came."""

    number: int
    began_s: float
    ended_s: float
    status: int


def sent_line(number: int, at_s: float) -> bytes:
    """Return the line that says a payment is sent for the first time."""
    return b"%b %d %.6f\n" % (_SENT, number, at_s)


def attempt_line(attempt: Attempt) -> bytes:
    """Return the line that says how a request ended."""
    kind = _ACCEPTED if attempt.status == 202 else _REFUSED
    return b"%b %d %.6f %.6f %d\n" % (kind, attempt.number, attempt.began_s, attempt.ended_s, attempt.status)


@dataclass
class Journal:
    """A journal that is still being written. `read` takes in what is new."""

    file: Path
    sent: dict[int, float] = field(default_factory=dict)
    """When each payment was sent first."""
    accepted: dict[int, float] = field(default_factory=dict)
    """When each payment was answered `202`."""
    accepts: list[Attempt] = field(default_factory=list)
    refusals: list[Attempt] = field(default_factory=list)
    """Requests that were answered otherwise or not at all; every one is repeated. Both in order of their ends."""
    _at: int = 0

    def read(self) -> None:
        """Take in the complete lines written since the last time."""
        with self.file.open("rb") as file:
            self._read(file)

    def _read(self, file: BinaryIO) -> None:
        file.seek(self._at)
        new = file.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._at += len(complete)
        for line in complete.splitlines():
            kind, number, *rest = line.split()
            if kind == _SENT:
                self.sent[int(number)] = float(rest[0])
                continue
            attempt = Attempt(int(number), float(rest[0]), float(rest[1]), int(rest[2]))
            if kind == _ACCEPTED:
                self.accepted[attempt.number] = attempt.ended_s
                self.accepts.append(attempt)
            else:
                self.refusals.append(attempt)

    @property
    def unanswered(self) -> int:
        """How many payments were sent and are not accepted yet."""
        return len(self.sent) - len(self.accepted)

    def refused_since(self, since_s: float) -> list[Attempt]:
        """Return the requests that ended since then without a `202`, in order of their ends."""
        found = []
        for attempt in reversed(self.refusals):
            if attempt.ended_s < since_s:
                break
            found.append(attempt)
        return found[::-1]

    def accepting_since(self, since_s: float) -> float | None:
        """Return when payments were accepted again after a fault at `since_s`; None if they are not yet.

        That is the end of the first request begun after the fault that was accepted, and after which no request of
        this fault was refused any more.
        """
        refused = self.refused_since(since_s)
        last_refusal_s = refused[-1].ended_s if refused else since_s
        found = None
        for attempt in reversed(self.accepts):
            if attempt.ended_s < last_refusal_s:
                break
            if attempt.began_s >= since_s:
                found = attempt.ended_s
        return found
