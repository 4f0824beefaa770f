"""Does the summary stay fast as the ledger grows? Windows of every kind, asked of a small and a large one.

The ledgers are not filled over HTTP, which would take hours: a data file by `Fill`, given as `module:function`,
PostgreSQL by `fill_postgres`.
"""

from __future__ import annotations

import importlib
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, cast

from payrouter.entrypoints.cli.progress import progress
from payrouter_lab.bench.bed import FEES, PAYROUTER, Bed, Contender, started_bed
from payrouter_lab.bench.calls import CallError, Target
from payrouter_lab.bench.jobs import quantiles
from payrouter_lab.bench.processes import ChildError
from payrouter_lab.bench.session import console
from payrouter_lab.bench.tables import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from payrouter.entrypoints.cli.progress import Tell

# A million payments a day, so that 5 000 000 make five days: the same rate for every size.
PAYMENTS_PER_S = 1_000_000 / 86_400
NEWEST = datetime(2025, 8, 1, 12, 0, 0, 123456, tzinfo=UTC)
WARM_UP = 50

Window = dict[str, str]


class Engine(StrEnum):
    """Where the ledger is."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Fill(Protocol):
    """What fills a new data file with settled payments."""

    def __call__(self, path: Path, count: int, *, oldest: datetime, newest: datetime, tell: Tell) -> None:
        """Write `count` settled payments, their `requestedAt` spread over `oldest` to `newest`.

        `tell` is told how many are there.
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
        with progress(console, "filling", count) as tell:
            fill(bed.database, count, oldest=oldest, newest=NEWEST, tell=tell)

    with started_bed(contender, directory, FEES, prepare=prepare) as bed:
        bed.configure(failing=True)  # nothing to send; and if there were, it would not be settled
        return _measure(bed.target, count, oldest, asks, seed)


def measure_cluster_summaries(
    directory: Path, count: int, asks: int, seed: int, *, per_s: float = PAYMENTS_PER_S
) -> SummaryFigures:
    """`measure_summaries` of a cluster on this machine: asked of nginx, answered from PostgreSQL.

    Raises:
        ChildError, CallError: if the cluster does not start, or does not sum up what was filled in.
    """
    # Only here: a benchmark of the embedded engine needs none of the cluster's packages.
    from payrouter_lab.bench.fill_postgres import fill_ledger  # noqa: PLC0415
    from payrouter_lab.cluster.local import DATABASE, LocalCluster  # noqa: PLC0415

    oldest = oldest_of(count, per_s)
    directory.chmod(0o755)  # PostgreSQL runs as somebody else
    with LocalCluster(directory, port=0) as cluster:
        with progress(console, "filling", count) as tell:
            fill_ledger(cluster.postgres.url_of(DATABASE), count, oldest=oldest, newest=NEWEST, tell=tell)
        return _measure(Target(cluster.url), count, oldest, asks, seed)


def _measure(target: Target, count: int, oldest: datetime, asks: int, seed: int) -> SummaryFigures:
    found = target.settled()
    if found != count:
        raise CallError(f"{count} payments were filled in, the summary says {found}")
    kinds = windows(oldest, NEWEST, seed)
    latency_ms = {}
    with progress(console, "asking", len(kinds) * asks, transient=True) as tell:
        for number, (kind, draw) in enumerate(kinds.items(), start=1):
            latency_ms[kind] = quantiles(_ask(target, draw, asks))
            tell(number * asks)
    return SummaryFigures(count, latency_ms)


def _ask(target: Target, draw: Callable[[], Window], asks: int) -> list[float]:
    """Return the latency in ms of each ask but the first few."""
    found = []
    for _ in range(WARM_UP + asks):
        window = draw()
        begun = time.perf_counter()
        target.summary(**window)
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
