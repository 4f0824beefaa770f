"""What a process tells of itself, for whoever watches the installation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Count:
    """A counter or gauge: the metric's name without its prefix, the labels' values in its order, and the number."""

    name: str
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram: observations per bucket (one more than it has bounds, not cumulative), and their sum."""

    name: str
    labels: tuple[str, ...]
    buckets: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class ProcessorSnapshot:
    """A processor as one dispatcher sees it. Latencies are None where nothing is known that is still fresh."""

    name: str
    standing: str
    breaker: str
    paused: bool
    expected_ms: float
    observed_ms: float | None
    reported_ms: float | None
    reported_failing: bool
    in_flight: int
    limit: int
    pinned: int


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """One process of ours: `router`, `api` or `dispatcher`. Instants are UTC microseconds of its own clock.

    `slot` is the lowest number that was free in its role when it came. `waits`: why the oldest payment waits, as far as
    it knows. `unresolved`: attempts of unknown outcome it repeats, and the instant of the oldest. `processors` is empty
    where nothing is dispatched.
    """

    node: str
    role: str
    host: str
    pid: int
    version: str
    started_us: int
    at_us: int
    leads: bool = False
    waits: str | None = None
    unresolved: int = 0
    unresolved_since_us: int | None = None
    processors: tuple[ProcessorSnapshot, ...] = ()
    counts: tuple[Count, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    slot: int = field(default=1)
    seen_s_ago: float = 0.0

    @property
    def name(self) -> str:
        """The process for people and as a label: `dispatcher-1`."""
        return f"{self.role}-{self.slot}"

    def total(self, name: str, *labels: str) -> float:
        """Return the sum of a counter over all labels, or over those that begin with the given ones."""
        return sum(one.value for one in self.counts if one.name == name and one.labels[: len(labels)] == labels)
