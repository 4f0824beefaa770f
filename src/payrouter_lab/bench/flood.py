"""Plain loads on healthy processors: a flood, as fast as it goes, and a steady rate to diagnose with."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter_lab.bench.audit import audit_books
from payrouter_lab.bench.bed import FEES, REFERENCE, Contender, started_bed
from payrouter_lab.bench.course import Course, read_ledger
from payrouter_lab.bench.jobs import read_samples
from payrouter_lab.bench.loads import AMOUNT, Loads
from payrouter_lab.bench.tables import Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from payrouter_lab.bench.bed import Bed
    from payrouter_lab.bench.contender_cluster import ServiceFigures
    from payrouter_lab.bench.jobs import Outcome, Sample
    from payrouter_lab.bench.loads import Run

POLL_S = 0.02
# A steady load is measured undisturbed.
STEADY_POLL_S = 1.0
# A flood of 30 000 takes seconds; what has not settled by then is reported as lost.
SETTLE_WITHIN_S = 180.0


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """The figures of one flood or steady load. CPU and memory are None for a contender that is not ours."""

    accepted: int
    refused: int
    accepted_per_s: float
    latency_ms: dict[str, float]
    late_ms: float
    settled_per_s: float
    cpu_s_per_1000: float | None
    peak_mb: float | None
    services: dict[str, ServiceFigures]
    findings: list[str]

    @property
    def sound(self) -> bool:
        """True when the books agree, id by id."""
        return not self.findings


_COMMON: tuple[Row[LoadFigures], ...] = (
    Row("accepted", lambda run: run.accepted),
    Row("refused or unanswered", lambda run: run.refused),
    Row("accept p50 ms", lambda run: run.latency_ms["p50"], 2, ratio=True),
    Row("accept p90 ms", lambda run: run.latency_ms["p90"], 2, ratio=True),
    Row("accept p99 ms", lambda run: run.latency_ms["p99"], 2, ratio=True),
    Row("accept max ms", lambda run: run.latency_ms["max"], 1),
    Row("CPU-s per 1000 payments", lambda run: run.cpu_s_per_1000, 3, ratio=True),
    Row("peak memory MB", lambda run: run.peak_mb, 0, ratio=True),
    Row("findings in the books", lambda run: len(run.findings)),
)
FLOOD_ROWS: tuple[Row[LoadFigures], ...] = (
    Row("accepted/s", lambda run: run.accepted_per_s, 0, ratio=True),
    Row("settled/s", lambda run: run.settled_per_s, 0, ratio=True),
    *_COMMON,
)
STEADY_ROWS: tuple[Row[LoadFigures], ...] = (
    *_COMMON,
    Row("generator late by ms, p99", lambda run: run.late_ms, 2),
)


def run_load(  # noqa: PLR0913 - one parameter per option
    contender: Contender,
    directory: Path,
    count: int,
    *,
    rate: float = 0.0,
    connections: int = 64,
    plots: Path | None = None,
) -> LoadFigures:
    """Send `count` payments, `rate` a second or unpaced when it is 0, and return the figures.

    `plots`: a directory for plots of a run that is not the reference's.

    Raises:
        LoadError, ChildError, CallError: if the test itself goes wrong.
    """
    with started_bed(contender, directory, FEES) as bed:
        loads = Loads(bed)
        since_s = time.time()
        before, used = bed.usage(), bed.used()
        plotted = plots is not None and contender.name != REFERENCE
        samples = directory / "flood.samples" if plotted else None
        with loads.start(count, rate=rate, connections=connections, samples=samples) as run:
            outcome, settled, done_s = _until_settled(bed, run, count)
        after = bed.usage()
        audit = audit_books(bed, loads.accepted, loads.unanswered, AMOUNT, since_s=since_s)
        if plots is not None and samples is not None:
            _plot(plots, bed, read_samples(samples), max(done_s, outcome.last_answer_s))
        return LoadFigures(
            accepted=outcome.accepted,
            refused=len(outcome.refused) + len(outcome.unanswered),
            accepted_per_s=outcome.accepted_per_s,
            latency_ms=outcome.latency_ms,
            late_ms=outcome.late_ms,
            settled_per_s=settled / (done_s - outcome.first_sent_s),
            cpu_s_per_1000=1000 * (after.cpu_s - before.cpu_s) / settled if before and after and settled else None,
            peak_mb=after.peak_mb if after else None,
            services=bed.services(used),
            findings=audit.findings(),
        )


def _plot(directory: Path, bed: Bed, samples: Sequence[Sample], ended_s: float) -> None:
    """Draw a load that was over at a monotonic second."""
    from payrouter_lab.bench.plots import write_plots  # noqa: PLC0415 - only who asked for plots waits for pygal

    start_s = min(sample.sent_s for sample in samples)
    latencies = [(sample.sent_s - start_s, sample.latency_ms) for sample in samples if sample.status == 202]
    # What the monotonic clock calls `start_s`, as a Unix second.
    accepted, settled = read_ledger(bed, start_s + time.time() - time.monotonic())
    length_s = ended_s - start_s
    name = "flood" + ("-cluster" if bed.contender.shape is not None else "")
    step_s = 0.1 if length_s < 20 else 1.0
    write_plots(directory, name, name, Course(length_s, latencies, accepted, settled), step_s=step_s)


def _until_settled(bed: Bed, run: Run, count: int) -> tuple[Outcome, int, float]:
    """Return the load's outcome, how many payments settled, and the monotonic second of the last."""
    settled, done_s = 0, time.monotonic()
    outcome: Outcome | None = None
    expected = count
    deadline = done_s + SETTLE_WITHIN_S + (count / run.rate if run.rate else 0)
    while (outcome is None or settled < expected) and time.monotonic() < deadline:
        time.sleep(STEADY_POLL_S if run.rate else POLL_S)
        if settled < expected:
            settled, done_s = bed.target.settled(), time.monotonic()
        if outcome is None and not run.child.alive:
            outcome = run.outcome()
            expected = outcome.accepted
    return outcome or run.outcome(), settled, done_s
