"""The overview that the operator's address tells, as `payrouter top` reads it, and the last minutes of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from payrouter.domain.window import parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = 240
"""Seconds of the past that are kept: more than the widest bar shows."""


class _Read(msgspec.Struct, frozen=True, rename="camel"):
    """Read from JSON; what a newer version tells besides is left alone."""


class Rates(_Read, frozen=True):
    """Per second, over the last one."""

    accepted: float = 0.0
    settled: float = 0.0
    failed: float = 0.0


class Waiting(_Read, frozen=True):
    """Something that waits, how long the oldest has, and why; None where unknown."""

    waiting: int = 0
    oldest_age_seconds: float | None = None
    reason: str | None = None


class Count(_Read, frozen=True):
    """So many of something, and the age of the oldest; None where unknown."""

    count: int = 0
    oldest_age_seconds: float | None = None


class Processor(_Read, frozen=True):
    """One processor over all dispatchers. Money is text with two decimals; None where unknown."""

    name: str
    fee_percent: str = ""
    standing: str = "unknown"
    breaker: str | None = None
    paused: bool = False
    reported_ms: float | None = None
    reported_failing: bool = False
    observed_ms: float | None = None
    in_flight: int = 0
    limit: int = 0
    pinned: int = 0
    settled_per_second: float = 0.0
    failed_per_second: float = 0.0
    share: float = 0.0
    settled: int = 0
    amount: str = "0.00"
    fees: str = "0.00"


class Money(_Read, frozen=True):
    """Settled payments and what they cost; money is text with two decimals."""

    settled: int = 0
    amount: str = "0.00"
    fees: str = "0.00"
    saved_against_dearest: str = "0.00"
    lost_against_cheapest: str = "0.00"


class Node(_Read, frozen=True):
    """One living process."""

    name: str
    role: str = ""
    host: str = ""
    pid: int = 0
    leads: bool = False
    seen_seconds_ago: float = 0.0
    uptime_seconds: float = 0.0
    memory_mb: float = 0.0
    cpu: float = 0.0


class Audit(_Read, frozen=True):
    """The last comparison of the books."""

    state: str = "never"
    text: str = ""
    differences: int = 0


class Overview(_Read, frozen=True):
    """Everything at one instant (`at`, RFC 3339)."""

    at: str
    rates: Rates
    processors: list[Processor]
    version: str = ""
    engine: str = ""
    clustered: bool = False
    backlog: Waiting = Waiting()
    money: Money = Money()
    nodes: list[Node] = []
    unknown: Count = Count()
    dead_letters: Count = Count()
    webhooks: Waiting | None = None
    audit: Audit = Audit()
    problems: list[str] = []


class _ProcessorPast(_Read, frozen=True):
    settled: list[float | None] = []


class _Past(_Read, frozen=True):
    at: list[float] = []
    accepted: list[float | None] = []
    settled: list[float | None] = []
    waiting: list[float | None] = []
    processors: dict[str, _ProcessorPast] = {}


Series = deque[float | None]


class History:
    """The last seconds of what bars show, a value a second, newest last; None where nothing was seen."""

    def __init__(self) -> None:
        self._at_s = float("-inf")
        self.accepted: Series = deque(maxlen=KEPT)
        self.settled: Series = deque(maxlen=KEPT)
        self.waiting: Series = deque(maxlen=KEPT)
        self.by_processor: dict[str, Series] = {}

    def load(self, text: bytes) -> None:
        """Take what the server remembers, instead of what is here.

        Raises:
            msgspec.MsgspecError: if that is no history.
        """
        past = msgspec.json.decode(text, type=_Past)
        self.accepted, self.settled, self.waiting = map(_series, (past.accepted, past.settled, past.waiting))
        self.by_processor = {name: _series(one.settled) for name, one in past.processors.items()}
        self._at_s = past.at[-1] if past.at else float("-inf")

    def add(self, overview: Overview) -> None:
        """Add a look, unless the last is younger than a second.

        Raises:
            InvalidInput: if it does not say when it was.
        """
        at_s = second_of(overview)
        # Two looks a second, each a few milliseconds late: the second of them is the one to keep.
        if at_s - self._at_s < 0.9:
            return
        self._at_s = at_s
        self.accepted.append(overview.rates.accepted)
        self.settled.append(overview.rates.settled)
        self.waiting.append(overview.backlog.waiting)
        for one in overview.processors:
            self.by_processor.setdefault(one.name, deque(maxlen=KEPT)).append(one.settled_per_second)


def _series(values: Iterable[float | None]) -> Series:
    return deque(values, maxlen=KEPT)


def second_of(overview: Overview) -> float:
    """Return the Unix second of an overview.

    Raises:
        InvalidInput: if it does not say.
    """
    return parse_instant(overview.at) / 1_000_000
