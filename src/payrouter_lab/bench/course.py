"""How a run went over time: what our ledger says of every payment, and the latencies that clients saw.

Read when the load is over, so that nothing of it disturbs what is measured.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter_lab.bench.bed import PAYROUTER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from payrouter_lab.bench.bed import Bed

_SQLITE = "SELECT accepted_us, settled_us, name FROM payment LEFT JOIN processor ON processor.id = payment.processor"
_POSTGRES = (
    "SELECT accepted_us, settled_us, name FROM payrouter.ledger JOIN payrouter.processor p ON p.id = ledger.processor"
)
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

Points = list[tuple[float, float | None]]
"""Second and value, in order of time; None where nothing was seen."""


@dataclass(slots=True)
class Course:
    """One run, seconds counted from the start of its load.

    `latencies`: second at which a payment was sent, and ms until it was accepted. `accepted`: seconds of acceptance,
    `settled`: by processor; both as in our ledger, empty for who is not ours. `marks`: what happened when,
    `marked`: what kind of thing that is.
    """

    length_s: float
    latencies: Sequence[tuple[float, float]] = ()
    accepted: Sequence[float] = ()
    settled: Mapping[str, Sequence[float]] = field(default_factory=dict)
    marks: Sequence[tuple[float, str]] = ()
    marked: str = "stage: default | fallback"

    def quantiles(self, step_s: float) -> dict[str, Points]:
        """Return p50, p95 and p99 of the latencies, in ms, of each step."""
        steps: defaultdict[int, list[float]] = defaultdict(list)
        for second, latency_ms in self.latencies:
            steps[int(second // step_s)].append(latency_ms)
        found: dict[str, Points] = {name: [] for name in QUANTILES}
        for step in range(self._steps(step_s)):
            values = sorted(steps.get(step, ()))
            for name, share in QUANTILES.items():
                value = values[round(share * (len(values) - 1))] if values else None
                found[name].append(((step + 0.5) * step_s, value))
        return found

    def rates(self, step_s: float) -> dict[str, Points]:
        """Return the payments accepted per second, and settled by each processor, in each step."""
        return {"accepted": self._rate(self.accepted, step_s)} | {
            f"settled by {name}": self._rate(seconds, step_s) for name, seconds in sorted(self.settled.items())
        }

    def backlog(self, step_s: float) -> Points:
        """Return how many payments were accepted and not settled, at the end of each step."""
        change = _per_step(self.accepted, step_s)
        change.subtract(_per_step((second for each in self.settled.values() for second in each), step_s))
        waiting = sum(count for step, count in change.items() if step < 0)
        points: Points = [(0.0, waiting)]
        for step in range(self._steps(step_s)):
            waiting += change[step]
            points.append(((step + 1) * step_s, waiting))
        return points

    def _rate(self, seconds: Iterable[float], step_s: float) -> Points:
        counts = _per_step(seconds, step_s)
        return [((step + 0.5) * step_s, counts[step] / step_s) for step in range(self._steps(step_s))]

    def _steps(self, step_s: float) -> int:
        return max(1, round(self.length_s / step_s))


def _per_step(seconds: Iterable[float], step_s: float) -> Counter[int]:
    return Counter(int(second // step_s) for second in seconds)


def read_ledger(bed: Bed, started_s: float) -> tuple[list[float], dict[str, list[float]]]:
    """Return when each payment was accepted, and when settled by which processor; seconds since `started_s`.

    `started_s` is a Unix second. Empty for a contender that is not ours. Payments of a cluster that are not settled
    are not in its ledger: let it drain first.
    """
    accepted: list[float] = []
    settled: dict[str, list[float]] = {name: [] for name in bed.fees}
    for accepted_us, settled_us, name in _rows(bed):
        accepted.append(accepted_us / 1_000_000 - started_s)
        if settled_us is not None and name is not None:
            settled.setdefault(name, []).append(settled_us / 1_000_000 - started_s)
    return accepted, settled


def _rows(bed: Bed) -> Iterable[tuple[int, int | None, str | None]]:
    if bed.contender.name != PAYROUTER:
        return []
    if bed.cluster is not None:
        return asyncio.run(_postgres_rows(bed.cluster.ledger_url))
    connection = sqlite3.connect(f"file:{bed.database}?mode=ro", uri=True)
    try:
        return connection.execute(_SQLITE).fetchall()
    finally:
        connection.close()


async def _postgres_rows(url: str) -> list[tuple[int, int | None, str | None]]:
    import asyncpg  # noqa: PLC0415 - only a cluster needs it

    connection = await asyncpg.connect(url, timeout=10)
    try:
        return [tuple(row) for row in await connection.fetch(_POSTGRES)]
    finally:
        await connection.close()
