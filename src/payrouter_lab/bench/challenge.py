"""One test by schedule, as the challenge runs and scores it, and what the books say afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter_lab.bench.audit import audit_books
from payrouter_lab.bench.bed import PAYROUTER, REFERENCE, Contender, started_bed
from payrouter_lab.bench.calls import total
from payrouter_lab.bench.course import Course, read_ledger
from payrouter_lab.bench.k6 import LoadError, LoadRun, slice_trace
from payrouter_lab.bench.score import score
from payrouter_lab.bench.tables import Row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from payrouter_lab.bench.bed import Bed
    from payrouter_lab.bench.contender_cluster import ServiceFigures
    from payrouter_lab.bench.k6 import LoadResult
    from payrouter_lab.bench.processes import Usage
    from payrouter_lab.bench.schedule import Schedule
    from payrouter_lab.bench.score import Total

    Say = Callable[[str], None]

DRAIN_S = 30.0
STATUS_EVERY_S = 5.0
RESTART_AFTER_S = 1.0
# k6 starts 550 users before the load begins, and lets the last payments end after it.
K6_SPARE_S = 75.0


@dataclass(frozen=True, slots=True)
class ChallengeResult:
    """The figures of one run. CPU and memory are None for a contender that somebody else started."""

    accepted: int
    refused: int
    profit: float
    share_percent: float
    margin: float
    p99_ms: float
    p50_ms: float
    inconsistencies: int
    lag: int
    default_percent: float
    fallback_percent: float
    lost: int
    doubled: int
    uninvited: int
    differences: int
    cpu_s_per_1000: float | None
    peak_mb: float | None
    services: dict[str, ServiceFigures]
    findings: list[str]

    @property
    def sound(self) -> bool:
        """True when nothing is lost, doubled, uninvited or inconsistent."""
        return not self.findings


ROWS: tuple[Row[ChallengeResult], ...] = (
    Row("accepted", lambda run: run.accepted),
    Row("refused", lambda run: run.refused),
    Row("profit", lambda run: run.profit, 0, ratio=True),
    Row("% of upper bound", lambda run: run.share_percent, 1, ratio=True),
    Row("margin (no bonus, no fine)", lambda run: run.margin, 4, ratio=True),
    Row("p99 ms, all requests", lambda run: run.p99_ms, 2, ratio=True),
    Row("p50 ms, all requests", lambda run: run.p50_ms, 2, ratio=True),
    Row("inconsistencies", lambda run: run.inconsistencies),
    Row("lag at the end", lambda run: run.lag),
    Row("% by default", lambda run: run.default_percent, 1),
    Row("% by fallback", lambda run: run.fallback_percent, 1),
    Row("lost after the drain", lambda run: run.lost),
    Row("doubled", lambda run: run.doubled),
    Row("charged, not accepted", lambda run: run.uninvited),
    Row("windows that differ", lambda run: run.differences),
    Row("CPU-s per 1000 payments", lambda run: run.cpu_s_per_1000, 3, ratio=True),
    Row("peak memory MB", lambda run: run.peak_mb, 0, ratio=True),
)


def run_challenge(  # noqa: PLR0913 - one parameter per option
    schedule: Schedule,
    contender: Contender,
    directory: Path,
    say: Say,
    *,
    trace: bool = False,
    kill_at_s: float | None = None,
    kill_service: str | None = None,
    plots: Path | None = None,
) -> ChallengeResult:
    """Run one test and return its figures.

    At `kill_at_s` the router, or one service of a cluster, is killed (`kill -9`) and started a second later.
    `plots`: a directory for plots of a run that is not the reference's.

    Raises:
        LoadError, ChildError, CallError: if the test itself goes wrong.
    """
    with started_bed(contender, directory, schedule.fees) as bed:
        since_s = time.time()
        before, used = bed.usage(), bed.used()
        kill = (kill_at_s, kill_service) if kill_at_s is not None and contender.name == PAYROUTER else None
        run = LoadRun(schedule, bed, directory, trace=trace, samples=plots is not None)
        with run.child:
            _watch(schedule, bed, run, say, kill=kill)
            load = run.result()
        due = int(schedule.length_s // schedule.audit.period_s)
        if len(load.console.audits) != due:
            raise LoadError(f"{len(load.console.audits)} audits were made, not {due}")
        if trace:
            slice_trace(directory, int(load.console.started_s or since_s))
        # What is lost must not be for want of a processor, whatever the last stage was.
        bed.configure()
        bed.target.wait_until_settled(load.accepted, DRAIN_S)
        after = bed.usage()
        if plots is not None and contender.name != REFERENCE:
            _plot(plots, schedule, bed, load, kill_at_s if kill else None)
        return _result(schedule, bed, run, load, (before, after), bed.services(used), since_s)


def _plot(directory: Path, schedule: Schedule, bed: Bed, load: LoadResult, killed_s: float | None) -> None:
    """Draw how the run went, from what users saw and from our ledger."""
    from payrouter_lab.bench.plots import write_plots  # noqa: PLC0415 - only who asked for plots waits for pygal

    accepted, settled = read_ledger(bed, load.console.started_s or 0.0)
    marks = [(stage.at_s, f"{stage.default} | {stage.fallback}") for stage in schedule.stages]
    if killed_s is not None:
        marks = sorted([*marks, (killed_s, "kill -9")])
    name = schedule.name + ("-cluster" if bed.contender.shape is not None else "")
    write_plots(directory, name, name, Course(schedule.length_s, load.console.samples, accepted, settled, marks))


def _watch(schedule: Schedule, bed: Bed, run: LoadRun, say: Say, *, kill: tuple[float, str | None] | None) -> None:
    """Wait for the load's end, telling every few seconds how it goes."""
    begun = time.monotonic()
    due, settled_then = STATUS_EVERY_S, 0
    while run.child.alive:
        time.sleep(0.2)
        bed.check()
        elapsed = time.monotonic() - begun
        if elapsed > schedule.length_s + K6_SPARE_S:
            raise LoadError(f"k6 was still running after {elapsed:.0f} s")
        if kill is not None and time.time() - (run.started_s() or time.time()) >= kill[0]:
            _kill_and_restart(bed, say, kill[1])
            kill = None
        started_s = run.started_s() if elapsed >= due else None
        if started_s is None:
            continue
        due = elapsed + STATUS_EVERY_S
        second = time.time() - started_s
        settled = sum(processor.total().count for processor in bed.processors.values())
        stage = schedule.stage_at(second)
        say(
            f"{second:4.0f} s  {schedule.users_at(second):4d} users  {settled:7d} settled"
            f" ({(settled - settled_then) / STATUS_EVERY_S:+6.0f}/s)"
            f"  default {stage.default} | fallback {stage.fallback}"
        )
        settled_then = settled


def _kill_and_restart(bed: Bed, say: Say, service: str | None) -> None:
    """Kill the router or a service of it, wait a second, start it again on the same data."""
    bed.kill(service)
    time.sleep(RESTART_AFTER_S)
    begun = time.monotonic()
    bed.start_again(service)
    say(
        f"        {service or 'router'} killed, and {RESTART_AFTER_S:g} s later started again:"
        f" serving after {time.monotonic() - begun:.2f} s"
    )


def _result(  # noqa: PLR0913, PLR0917 - gathers the facts of one run
    schedule: Schedule,
    bed: Bed,
    run: LoadRun,
    load: LoadResult,
    usage: tuple[Usage | None, Usage | None],
    services: dict[str, ServiceFigures],
    since_s: float,
) -> ChallengeResult:
    settled = {name: total(found) for name, found in (load.console.end or {})["ours"].items()}
    count = sum(found.count for found in settled.values())
    audits = [found for found in load.console.audits if found["differences"]]
    books = audit_books(bed, *load.console.ids(run.salt), schedule.amount, since_s=since_s)
    p99_ms, accepted = load.latency_ms["p(99)"], load.accepted
    earned = score(
        settled,
        schedule.fees,
        accepted=accepted,
        amount=schedule.amount,
        p99_ms=p99_ms,
        inconsistent=bool(audits),
    )
    before, after = usage
    return ChallengeResult(
        accepted=accepted,
        refused=len(load.console.refused),
        profit=earned.profit,
        share_percent=earned.share_percent,
        margin=earned.margin,
        p99_ms=p99_ms,
        p50_ms=load.latency_ms["p(50)"],
        inconsistencies=len(audits),
        lag=accepted - count,
        default_percent=_percent(settled.get("default"), count),
        fallback_percent=_percent(settled.get("fallback"), count),
        lost=len(books.report.lost),
        doubled=len(books.report.doubled),
        uninvited=len(books.report.uninvited),
        differences=len(books.differences),
        cpu_s_per_1000=1000 * (after.cpu_s - before.cpu_s) / accepted if before and after and accepted else None,
        peak_mb=after.peak_mb if after else None,
        services=services,
        findings=[f"audit at {found['at_s']} s: {'; '.join(found['differences'])}" for found in audits]
        + books.findings(),
    )


def _percent(part: Total | None, count: int) -> float:
    return 100 * part.count / count if part and count else 0.0
