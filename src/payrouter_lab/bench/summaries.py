"""Does the summary stay fast as the ledger grows? Windows of every kind, asked of a small and a large one.

The ledgers are filled through their port, not over HTTP: by `Fill`, given as `module:function`.
"""

from __future__ import annotations

import importlib
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, cast

from payrouter_lab.bench.bed import FEES, PAYROUTER, Bed, Contender, started_bed
from payrouter_lab.bench.calls import CallError
from payrouter_lab.bench.jobs import quantiles
from payrouter_lab.bench.processes import ChildError
from payrouter_lab.bench.tables import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# A million payments a day, so that 5 000 000 make five days: the same rate for every size.
PAYMENTS_PER_S = 1_000_000 / 86_400
NEWEST = datetime(2025, 8, 1, 12, 0, 0, 123456, tzinfo=UTC)
WARM_UP = 50

Window = dict[str, str]


class Fill(Protocol):
    """What fills a new data file with settled payments."""

    def __call__(self, path: Path, count: int, *, oldest: datetime, newest: datetime) -> None:
        """Write `count` settled payments, their `requestedAt` spread over `oldest` to `newest`.

        The router is not running, and the file does not exist. Processors are `default` and `fallback`.
        """


@dataclass(frozen=True, slots=True)
class SummaryFigures:
    """Latencies of one ledger's summaries, in ms, by kind of window."""

    payments: int
    latency_ms: Mapping[str, dict[str, float]]


def find_fill(name: str) -> Fill:
    """Return the function named `module:function`.

    Raises:
        ChildError: if there is none.
    """
    module, _, function = name.partition(":")
    try:
        return cast("Fill", getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise ChildError(f"nothing to fill a ledger with: {name} ({error}); name a function with --fill") from error


def oldest_of(count: int, per_s: float = PAYMENTS_PER_S) -> datetime:
    """Return the first instant of a ledger of `count` payments."""
    return NEWEST - timedelta(seconds=count / per_s)


def windows(oldest: datetime, newest: datetime, seed: int) -> dict[str, Callable[[], Window]]:
    """Return, per kind, a function that draws a window within a ledger's span."""
    chance = random.Random(seed)
    span_s = (newest - oldest).total_seconds()

    def instant(second: float) -> str:
        return (oldest + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")

    def between() -> Window:
        start, end = sorted(chance.uniform(0, span_s) for _ in range(2))
        return {"from": instant(start), "to": instant(end)}

    def tiny() -> Window:
        start = chance.uniform(0, span_s)
        return {"from": instant(start), "to": instant(start + chance.uniform(0.001, 1.0))}

    return {
        "random": between,
        "tiny": tiny,
        "from only": lambda: {"from": instant(chance.uniform(0, span_s))},
        "to only": lambda: {"to": instant(chance.uniform(0, span_s))},
        "whole": lambda: {"from": instant(-1), "to": instant(span_s + 1)},
        "unbounded": dict,
    }


def measure_summaries(  # noqa: PLR0913 - one parameter per option
    directory: Path, count: int, asks: int, fill: Fill, seed: int, *, per_s: float = PAYMENTS_PER_S
) -> SummaryFigures:
    """Fill a ledger, serve it, and ask `asks` times for windows of each kind.

    Raises:
        ChildError, CallError: if the router does not start, or does not sum up what was filled in.
    """
    oldest = oldest_of(count, per_s)
    contender = Contender(PAYROUTER)

    def prepare(bed: Bed) -> None:
        fill(bed.database, count, oldest=oldest, newest=NEWEST)

    with started_bed(contender, directory, FEES, prepare=prepare) as bed:
        bed.configure(failing=True)  # nothing to send; and if there were, it would not be settled
        found = bed.target.settled()
        if found != count:
            raise CallError(f"{count} payments were filled in, the summary says {found}")
        latency = {kind: quantiles(_ask(bed, draw, asks)) for kind, draw in windows(oldest, NEWEST, seed).items()}
    return SummaryFigures(count, latency)


def _ask(bed: Bed, draw: Callable[[], Window], asks: int) -> list[float]:
    """Return the latency in ms of each ask but the first few."""
    found = []
    for _ in range(WARM_UP + asks):
        window = draw()
        begun = time.perf_counter()
        bed.target.summary(**window)
        found.append((time.perf_counter() - begun) * 1000)
    return found[WARM_UP:]


def rows() -> tuple[Row[SummaryFigures], ...]:
    """Return the table's rows: p50 and p99 per kind of window."""
    kinds = list(windows(oldest_of(1), NEWEST, 0))
    return tuple(
        Row(f"{kind}: {quantile} ms", lambda run, k=kind, q=quantile: run.latency_ms[k][q], 2, ratio=True)  # type: ignore[misc]
        for kind in kinds
        for quantile in ("p50", "p99")
    )
