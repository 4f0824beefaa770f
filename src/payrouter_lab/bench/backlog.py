"""A million payments waiting: what they cost those who still arrive, what a crash costs, whether any is lost.

Both processors fail from the start. Accept latency at a fixed rate is taken with an empty queue and with a
full one; then the router is killed and started again, the processors come back, and everything drains.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.entrypoints.cli.progress import progress
from payrouter_lab.bench.audit import audit_books
from payrouter_lab.bench.bed import FEES, PAYROUTER, Contender, started_bed
from payrouter_lab.bench.k6 import LoadError
from payrouter_lab.bench.loads import AMOUNT, Loads
from payrouter_lab.bench.tables import Row

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from payrouter_lab.bench.bed import Bed
    from payrouter_lab.bench.jobs import Outcome

LIMIT_RATIO = 1.5
RESTART_WITHIN_S = 300.0
# Draining slower than this is not draining.
SLOWEST_PER_S = 200


@dataclass(frozen=True, slots=True)
class BacklogResult:
    """The figures of one backlog."""

    payments: int
    refused: int
    fill_per_s: float
    empty_ms: dict[str, float]
    full_ms: dict[str, float]
    peak_mb: float
    """The greater of the peaks before and after the restart."""
    healthy_after_s: float
    """From starting the killed router again to the first 200 of `/health`."""
    accepting_after_s: float
    """From starting the killed router again to the first 202."""
    drain_per_s: float
    findings: list[str]

    @property
    def p99_ratio(self) -> float:
        """Accept p99 with a full queue, divided by that with an empty one."""
        return self.full_ms["p99"] / self.empty_ms["p99"]

    @property
    def sound(self) -> bool:
        """True when nothing is lost or doubled and a full queue does not slow accepting down."""
        return not self.findings and self.p99_ratio <= LIMIT_RATIO


ROWS: tuple[Row[BacklogResult], ...] = (
    Row("payments accepted", lambda run: run.payments),
    Row("refused or unanswered", lambda run: run.refused),
    Row("filled/s", lambda run: run.fill_per_s),
    Row("accept p50 ms, empty queue", lambda run: run.empty_ms["p50"], 2),
    Row("accept p50 ms, full queue", lambda run: run.full_ms["p50"], 2),
    Row("accept p99 ms, empty queue", lambda run: run.empty_ms["p99"], 2),
    Row("accept p99 ms, full queue", lambda run: run.full_ms["p99"], 2),
    Row(f"p99 ratio (limit {LIMIT_RATIO})", lambda run: run.p99_ratio, 2),
    Row("peak memory MB", lambda run: run.peak_mb),
    Row("s from restart to healthy", lambda run: run.healthy_after_s, 2),
    Row("s from restart to first 202", lambda run: run.accepting_after_s, 2),
    Row("drained/s", lambda run: run.drain_per_s),
    Row("findings in the books", lambda run: len(run.findings)),
)


def run_backlog(directory: Path, payments: int, rate: float, seconds: float, console: Console) -> BacklogResult:
    """Fill, measure, kill, restart, drain and compare the books.

    Raises:
        LoadError, ChildError, CallError: if the test itself goes wrong.
    """
    contender = Contender(PAYROUTER, settings={"PAYROUTER_QUEUE_LIMIT": str(2 * payments + 100_000)})
    with started_bed(contender, directory, FEES) as bed:
        since_s = time.time()
        bed.configure(failing=True)
        loads = Loads(bed)
        console.print(f"empty queue: {rate:g}/s for {seconds:g} s")
        empty = loads.paced(rate, seconds)
        fill = _fill(loads, payments, console)
        console.print(f"{payments} waiting: {rate:g}/s for {seconds:g} s")
        full = loads.paced(rate, seconds)
        first_peak = _peak_mb(bed)
        console.print("killed with SIGKILL; starting again")
        healthy_s, accepting_s = _restart(bed, loads)
        bed.configure()
        drain_per_s = _drain(bed, loads, console)
        console.print("comparing the books, payment by payment")
        audit = audit_books(bed, loads.accepted, loads.unanswered, AMOUNT, since_s=since_s)
        return BacklogResult(
            payments=len(loads.accepted),
            refused=sum(len(run.refused) + len(run.unanswered) for run in (empty, fill, full)),
            fill_per_s=fill.accepted_per_s,
            empty_ms=empty.latency_ms,
            full_ms=full.latency_ms,
            peak_mb=max(first_peak, _peak_mb(bed)),
            healthy_after_s=healthy_s,
            accepting_after_s=accepting_s,
            drain_per_s=drain_per_s,
            findings=audit.findings(),
        )


def _peak_mb(bed: Bed) -> float:
    usage = bed.usage()
    return usage.peak_mb if usage else 0.0


def _fill(loads: Loads, payments: int, console: Console) -> Outcome:
    with progress(console, "filling", payments) as tell, loads.start(payments) as run:
        outcome = run.outcome(lambda: tell(run.finished()))
        tell(outcome.accepted)
    return outcome


def _restart(bed: Bed, loads: Loads) -> tuple[float, float]:
    """Kill the router, start it again, and return the seconds until it is healthy and until it accepts."""
    assert bed.child is not None
    bed.child.kill()
    begun = time.monotonic()
    bed.start()
    healthy_s = _first(bed, "GET", "/health", None, 200) - begun
    payment = loads.payment()
    accepting_s = _first(bed, "POST", "/payments", payment, 202) - begun
    loads.unanswered.discard(str(payment["correlationId"]))
    loads.accepted.add(str(payment["correlationId"]))
    return healthy_s, accepting_s


def _first(bed: Bed, method: str, path: str, body: object, status: int) -> float:
    """Return the monotonic second of the first answer with that status, asking every 5 ms."""
    deadline = time.monotonic() + RESTART_WITHIN_S
    while time.monotonic() < deadline:
        if bed.child is not None:
            bed.child.check()
        with contextlib.suppress(OSError):
            if bed.target.ask(method, path, body)[0] == status:
                return time.monotonic()
        time.sleep(0.005)
    raise LoadError(f"{method} {path} was not answered {status} within {RESTART_WITHIN_S:g} s")


def _drain(bed: Bed, loads: Loads, console: Console) -> float:
    """Wait until everything accepted is settled, and return the payments settled per second."""
    expected = len(loads.accepted)
    begun, before = time.monotonic(), bed.target.settled()
    deadline = begun + 30 + expected / SLOWEST_PER_S
    settled = before
    with progress(console, "draining", expected) as tell:
        while settled < expected and time.monotonic() < deadline:
            time.sleep(0.25)
            settled = bed.target.settled()
            tell(settled)
    return (settled - before) / (time.monotonic() - begun)
