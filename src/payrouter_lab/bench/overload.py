"""Many times more than it can settle: whether accepting stays quick, refusals are clear, and what comes afterwards.

The processors are made slow and few payments may be in flight, so that what can be settled is small and known. A
steady load at half of that runs from before to after, and is what latency and recovery are measured on; in the
middle a second one brings the sum to a multiple, until the queue bound is reached.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from payrouter_lab.bench.audit import audit_books
from payrouter_lab.bench.bed import FEES, started_bed
from payrouter_lab.bench.course import Course, read_ledger
from payrouter_lab.bench.jobs import quantiles, read_samples
from payrouter_lab.bench.k6 import LoadError
from payrouter_lab.bench.loads import AMOUNT, Loads
from payrouter_lab.bench.tables import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from payrouter_lab.bench.bed import Bed, Contender
    from payrouter_lab.bench.contender_cluster import ServiceFigures
from payrouter_lab.bench.jobs import Refusal, Sample

NORMAL_SHARE = 0.5
"""The steady load, as a share of what can be settled."""
SETTLE_WITHIN_S = 180.0
# Together with one to an API for each of 800 under way, what nginx has (`worker_connections` in deploy/nginx.conf); of
# more clients it closes idle connections, and whoever was about to use one has no answer.
STEADY_CONNECTIONS, MORE_CONNECTIONS = 200, 800
# The steady load's first second finds cold caches.
_COLD_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard and how long. `times`: the whole load during the overload, in multiples of what can be settled.

    What can be settled is at most processors x `in_flight` / `delay_ms`; with `queue_limit` waiting, new payments
    are refused. `p99_limit_ms` and `recover_within_s` are what is still sound; a second is normal again when its p99 is
    at most `normal_ratio` times the p99 before, and nothing is refused in it.
    """

    seconds: float = 60.0
    times: float = 10.0
    before_s: float = 15.0
    after_s: float = 20.0
    delay_ms: int = 100
    in_flight: int = 16
    queue_limit: int = 1500
    p99_limit_ms: float = 500.0
    recover_within_s: float = 10.0
    normal_ratio: float = 2.0

    @property
    def settings(self) -> dict[str, str]:
        """The router's settings; without patience both processors are used up before anything waits."""
        return {
            "PAYROUTER_QUEUE_LIMIT": str(self.queue_limit),
            "PAYROUTER_MAX_IN_FLIGHT": str(self.in_flight),
            "PAYROUTER_PATIENCE_S": "0",
        }


@dataclass(frozen=True, slots=True)
class OverloadFigures:
    """The figures of one overload. Latencies in ms; those of the overload are of both loads together."""

    settled_per_s: float
    normal_per_s: float
    overload_per_s: float
    """Payments sent per second during the overload, as it really was."""
    accepted: int
    """During the overload, as are `refused` and `unanswered`."""
    refused: int
    unanswered: int
    normal_ms: dict[str, float]
    accepted_ms: dict[str, float]
    refused_ms: dict[str, float]
    recovered_s: float | None
    """From the end of the overload to the end of the first normal second; None if there was none."""
    after_ms: dict[str, float]
    """Of the steady load, from `recovered_s` on."""
    drained_s: float
    """From the end of the overload until everything accepted was settled."""
    services: dict[str, ServiceFigures]
    findings: list[str]

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.findings


ROWS: tuple[Row[OverloadFigures], ...] = (
    Row("can settle/s", lambda run: run.settled_per_s),
    Row("normal load/s", lambda run: run.normal_per_s),
    Row("sent/s during the overload", lambda run: run.overload_per_s),
    Row("accepted during the overload", lambda run: run.accepted),
    Row("refused during the overload", lambda run: run.refused),
    Row("unanswered", lambda run: run.unanswered),
    Row("p50 ms before", lambda run: run.normal_ms["p50"], 2),
    Row("p99 ms before", lambda run: run.normal_ms["p99"], 2),
    Row("p50 ms of 202 during the overload", lambda run: run.accepted_ms["p50"], 2),
    Row("p99 ms of 202 during the overload", lambda run: run.accepted_ms["p99"], 2),
    Row("max ms of 202 during the overload", lambda run: run.accepted_ms["max"], 1),
    Row("p99 ms of 503 during the overload", lambda run: run.refused_ms["p99"], 2),
    Row("p99 ratio, 202 during to before", lambda run: run.accepted_ms["p99"] / max(1e-9, run.normal_ms["p99"]), 2),
    Row("s until a normal second was over", lambda run: run.recovered_s, 0),
    Row("p99 ms after that", lambda run: run.after_ms["p99"], 2),
    Row("s until all was settled", lambda run: run.drained_s, 1),
    Row("findings", lambda run: len(run.findings)),
)


def run_overload(
    contender: Contender, directory: Path, plan: Plan, tell: Callable[[str], None], *, plots: Path | None = None
) -> OverloadFigures:
    """Measure what can be settled, overload, let it recover and drain, and compare the books; `plots`: as of a flood.

    Raises:
        LoadError, ChildError, CallError: if the test itself goes wrong.
    """
    with started_bed(contender, directory, FEES) as bed:
        since_s, used = time.time(), bed.used()
        bed.configure(delay_ms=plan.delay_ms)
        loads = Loads(bed)
        settled_per_s = _measure_settling(bed, loads, plan.queue_limit)
        tell(f"it can settle {settled_per_s:.0f}/s; {plan.times:g} times that for {plan.seconds:g} s")
        course = _load(loads, plan, settled_per_s, directory)
        drained = bed.target.wait_until_settled(len(loads.accepted), SETTLE_WITHIN_S)
        drained_s = time.monotonic() - course.ended_s
        findings = audit_books(bed, loads.accepted, loads.unanswered, AMOUNT, since_s=since_s).findings()
        if not drained:
            findings.append(f"not everything accepted was settled within {SETTLE_WITHIN_S:g} s")
        if plots is not None:
            _plot(plots, bed, course)
        figures = _figures(
            course,
            plan,
            settled_per_s=settled_per_s,
            drained_s=drained_s,
            services=bed.services(used),
            findings=findings,
        )
    figures.findings.extend(_judge(figures, plan, course.refusals))
    return figures


@dataclass(frozen=True, slots=True)
class _Course:
    """Every answer, by when its payment was sent: of the steady load before and after, of both loads in between."""

    before: list[Sample]
    during: list[Sample]
    after: list[Sample]
    begun_s: float
    ended_s: float
    """Monotonic seconds of the first and the last payment of the overload."""
    unanswered: int
    refusals: list[Refusal]


def _load(loads: Loads, plan: Plan, settled_per_s: float, directory: Path) -> _Course:
    """Run the steady load throughout and the other one in its middle."""
    files = directory / "steady.samples", directory / "overload.samples"
    normal_per_s = NORMAL_SHARE * settled_per_s
    more_per_s = plan.times * settled_per_s - normal_per_s
    steady_s = plan.before_s + plan.seconds + plan.after_s
    with loads.start(
        round(normal_per_s * steady_s),
        rate=normal_per_s,
        most_connections=STEADY_CONNECTIONS,
        samples=files[0],
        read_refusals=True,
    ) as steady:
        time.sleep(plan.before_s)
        with loads.start(
            round(more_per_s * plan.seconds),
            rate=more_per_s,
            most_connections=MORE_CONNECTIONS,
            samples=files[1],
            read_refusals=True,
        ) as flood:
            flooded = flood.outcome()
        steadied = steady.outcome()
    calm, rush = map(read_samples, files)
    begun_s, ended_s = flooded.first_sent_s, max(sample.sent_s for sample in rush)
    return _Course(
        before=_sent(calm, steadied.first_sent_s + _COLD_S, begun_s),
        during=[*_sent(calm, begun_s, ended_s), *rush],
        after=_sent(calm, ended_s),
        begun_s=begun_s,
        ended_s=ended_s,
        unanswered=len(steadied.unanswered) + len(flooded.unanswered),
        refusals=[*steadied.refusals, *flooded.refusals],
    )


def _plot(directory: Path, bed: Bed, course: _Course) -> None:
    """Draw the course from a few seconds before the overload on."""
    from payrouter_lab.bench.plots import write_plots  # noqa: PLC0415 - only who asked for plots waits for pygal

    samples = [*course.before, *course.during, *course.after]
    start_s = min(sample.sent_s for sample in samples)
    latencies = [(sample.sent_s - start_s, sample.latency_ms) for sample in samples if sample.status == 202]
    length_s = max(sample.sent_s for sample in samples) - start_s
    # What the monotonic clock calls `start_s`, as a Unix second.
    accepted, settled = read_ledger(bed, start_s + time.time() - time.monotonic())
    marks = [(course.begun_s - start_s, "overload"), (course.ended_s - start_s, "over")]
    name = "overload" + ("-cluster" if bed.contender.shape is not None else "")
    write_plots(directory, name, name, Course(length_s, latencies, accepted, settled, marks, "the overload"))


def _figures(  # noqa: PLR0913 - what was measured, piece by piece
    course: _Course,
    plan: Plan,
    *,
    settled_per_s: float,
    drained_s: float,
    services: dict[str, ServiceFigures],
    findings: list[str],
) -> OverloadFigures:
    normal_ms = _latency(course.before)
    recovered_s = recovery_s(course.after, course.ended_s, plan.normal_ratio * normal_ms["p99"])
    accepted = [one for one in course.during if one.status == 202]
    refused = [one for one in course.during if one.status != 202]
    return OverloadFigures(
        settled_per_s=settled_per_s,
        normal_per_s=NORMAL_SHARE * settled_per_s,
        overload_per_s=len(course.during) / (course.ended_s - course.begun_s),
        accepted=len(accepted),
        refused=len(refused),
        unanswered=course.unanswered,
        normal_ms=normal_ms,
        accepted_ms=_latency(accepted),
        refused_ms=_latency(refused),
        recovered_s=recovered_s,
        after_ms=_latency(_sent(course.after, course.ended_s + (recovered_s or 0.0))),
        drained_s=drained_s,
        services=services,
        findings=findings,
    )


def _measure_settling(bed: Bed, loads: Loads, payments: int) -> float:
    """Return the payments settled per second while so many wait at first."""
    with loads.start(payments) as run:
        outcome = run.outcome()
    if outcome.accepted < payments:
        raise LoadError(f"only {outcome.accepted} of {payments} payments were accepted by an empty queue")
    if not bed.target.wait_until_settled(payments, SETTLE_WITHIN_S, pause_s=0.02):
        raise LoadError(f"{payments} payments were not settled within {SETTLE_WITHIN_S:g} s")
    return payments / (time.monotonic() - outcome.first_sent_s)


def _sent(samples: Iterable[Sample], from_s: float, until_s: float = float("inf")) -> list[Sample]:
    return [sample for sample in samples if from_s <= sample.sent_s < until_s]


def _latency(samples: Iterable[Sample]) -> dict[str, float]:
    return quantiles(sample.latency_ms for sample in samples)


def recovery_s(after: Sequence[Sample], ended_s: float, limit_ms: float) -> float | None:
    """Return the seconds from `ended_s` to the end of the first second that is normal again; None if none is.

    Normal: everything sent in it was accepted, with a p99 of at most `limit_ms`. The last second, which may be cut
    short, does not count.
    """
    seconds: dict[int, list[Sample]] = {}
    for sample in after:
        seconds.setdefault(int(sample.sent_s - ended_s), []).append(sample)
    for second in sorted(seconds)[:-1]:
        found = seconds[second]
        if all(one.status == 202 for one in found) and _latency(found)["p99"] <= limit_ms:
            return second + 1.0
    return None


def _judge(figures: OverloadFigures, plan: Plan, refusals: Sequence[Refusal]) -> list[str]:
    """Return what is not as promised, a line each; the books are looked at elsewhere."""
    found = [finding for refusal in refusals if (finding := unclear(refusal))]
    if not figures.refused:
        found.append("nothing was refused: the queue bound was never reached, so this was no overload")
    if figures.unanswered:
        found.append(f"{figures.unanswered} payments were neither accepted nor refused")
    if figures.accepted_ms["p99"] > plan.p99_limit_ms:
        found.append(f"accept p99 was {figures.accepted_ms['p99']:.0f} ms, {plan.p99_limit_ms:g} at most are sound")
    if figures.recovered_s is None or figures.recovered_s > plan.recover_within_s:
        found.append(f"recovered after {figures.recovered_s} s, {plan.recover_within_s:g} at most are sound")
    return found


def unclear(refusal: Refusal) -> str:
    """Return why a refusal is not a clear 503; empty when it is: a problem document that says what to do, and when."""
    what = f"{refusal.count} refusals {refusal.status} {refusal.body[:200]!r}"
    if refusal.status != 503:
        return f"{what}: an overload is told as 503"
    if refusal.content_type != "application/problem+json" or not refusal.retry_after.isdecimal():
        return f"{what}: of type {refusal.content_type!r}, Retry-After {refusal.retry_after!r}"
    try:
        problem: Mapping[str, object] = msgspec.json.decode(refusal.body, type=dict[str, object])
    except msgspec.DecodeError as error:
        return f"{what}: {error}"
    if problem.get("status") != 503 or "try again" not in str(problem.get("detail")):
        return f"{what}: does not say what to do"
    return ""
