"""The storm: fault after fault on one bed, each followed by a recovery that is measured and a comparison of the books.

A round goes: strike, wait, end, see payments accepted again and everything settled that was accepted before, let all
that was accepted by now settle, compare. A payment is compared in the round that it was accepted in, or in the next
one if it was not settled yet. What only the last comparison, of everything, finds wrong is put down to the round in
which the payment was sent first, or to the last row of the table if nobody sent it.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from payrouter_lab.bench.score import Total
from payrouter_lab.faults.bed import Bed, ClusterBed
from payrouter_lab.faults.books import Comparison
from payrouter_lab.faults.catalogue import both, cluster_faults, may_pair
from payrouter_lab.faults.watch import POLL_S, SETTLE_WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from payrouter_lab.faults.catalogue import Fault

ACCEPTING_WITHIN_S = 1.0
"""After the death of one process payments are accepted again within this."""

SETTLED_WITHIN_S = 5.0
"""After the death of one process everything accepted before it is settled within this."""

AT_THE_END = "at the end: everything"
_QUIET_S = 0.1
_PAIRS = 0.2

BedT = TypeVar("BedT", bound=Bed)


@dataclass
class Round:
    """What one fault did. Seconds count from the death of a killed process, from the end of any other fault."""

    fault: str
    began_s: float
    in_flight: int
    """Payments sent and not settled yet when the fault struck."""
    kill: bool = False
    refuses: bool = True
    accepting_s: float | None = None
    """Until payments were accepted and none refused any more; None: never, or nobody looked."""
    settled_s: float | None = None
    """Until everything was settled that was accepted before; None: never, or nobody looked."""
    refused: int = 0
    """Requests answered otherwise than `202`, each of which was repeated."""
    unanswered: int = 0
    """Requests whose connection ended without an answer, each of which was repeated."""
    lost: int = 0
    doubled: int = 0
    differing: int = 0
    stuck: int = 0
    """Accepted payments that were not settled in 30 s, or are in no store."""
    findings: list[str] = field(default_factory=list)
    """What the comparison found, a line each."""
    defects: list[str] = field(default_factory=list)
    """Processes that ended by themselves, and tracebacks; a line each."""

    @property
    def books_agree(self) -> bool:
        """Whether nothing is lost, doubled, different or stuck."""
        return not (self.lost or self.doubled or self.differing or self.stuck)

    @property
    def late(self) -> list[str]:
        """Return which bounds on recovery are broken, a line each; only the death of one process has bounds."""
        if not self.kill:
            return []
        found = []
        for what, took_s, bound_s in (
            ("accepting again", self.accepting_s, ACCEPTING_WITHIN_S),
            ("settled", self.settled_s, SETTLED_WITHIN_S),
        ):
            if took_s is None or took_s > bound_s:
                took = "never" if took_s is None else f"after {took_s:.2f} s"
                found.append(f"{self.fault}: {what} {took}, must be within {bound_s:g} s")
        return found

    def note(self, found: Comparison) -> None:
        """Add what a comparison found."""
        self.lost += len(found.lost)
        self.doubled += len(found.doubled)
        self.differing += len(found.differing)
        self.findings += found.findings()


class Storm(Generic[BedT]):
    """Faults on one bed. `say` gets a line per round; `rounds` is what came of them."""

    def __init__(self, bed: BedT, say: Callable[[str], None]) -> None:
        self.bed = bed
        self.rounds: list[Round] = []
        self._say = say
        self._begun_s = time.monotonic()
        self._wrong = Comparison()

    def strike(self, fault: Fault[BedT], lasts_s: float, detail: str = "") -> Round:
        """Go through one round."""
        bed, watch = self.bed, self.bed.watch
        time.sleep(_QUIET_S)
        ended = bed.revive()
        watch.refresh()
        stuck = len(watch.stuck)
        before = set(watch.unsettled)
        began_s = time.monotonic()
        one = Round(fault.name, began_s, watch.in_flight, fault.kill, fault.refuses, defects=ended)
        fault.strike(bed)
        struck_s = time.monotonic()
        time.sleep(lasts_s)
        fault.end(bed)
        if fault.kill:
            since_s, new_s = began_s, struck_s
        else:
            since_s = new_s = time.monotonic()
            watch.refresh()
            before = set(watch.unsettled)
        self._recover(one, before, since_s, new_s)
        one.stuck = len(watch.stuck) - stuck
        found = watch.compare_settled().without(self._wrong)
        self._wrong.add(found)
        one.note(found)
        refused = watch.journal.refused_since(began_s)
        one.refused = sum(attempt.status != 0 for attempt in refused)
        one.unanswered = len(refused) - one.refused
        self.rounds.append(one)
        self._say(f"{self._clock()}  {_line(one, lasts_s, detail)}")
        return one

    def _recover(self, one: Round, before: set[str], since_s: float, new_s: float) -> None:
        """Wait until all is well again, and note how long that took."""
        bed, watch = self.bed, self.bed.watch
        settled_s = watch.wait_until_settled(before)
        one.settled_s = None if settled_s is None else max(0.0, settled_s - since_s)
        one.defects += bed.revive()
        bed.wait_until_ready()
        deadline_s = time.monotonic() + SETTLE_WITHIN_S
        while watch.journal.accepting_since(new_s) is None and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
            watch.refresh()
        watch.wait_until_settled(set(watch.unsettled))
        accepting_s = watch.journal.accepting_since(new_s)
        one.accepting_s = None if accepting_s is None else accepting_s - since_s

    def finish(self) -> Round:
        """End the load, let everything settle, and compare all there is."""
        bed, watch = self.bed, self.bed.watch
        bed.calm()
        began_s = time.monotonic()
        watch.refresh()
        last = Round(AT_THE_END, began_s, watch.in_flight)
        bed.load.end()
        stuck = len(watch.stuck)
        watch.refresh()
        settled_s = watch.wait_until_settled(set(watch.unsettled))
        last.settled_s = None if settled_s is None else settled_s - began_s
        last.stuck = len(watch.stuck) - stuck
        self._put_down(watch.compare_all().without(self._wrong), last)
        last.findings += self._sums() + bed.leftovers()
        last.defects += bed.tracebacks()
        self.rounds.append(last)
        self._say(f"{self._clock()}  {_line(last, 0.0, '')}")
        return last

    def _put_down(self, found: Comparison, last: Round) -> None:
        """Note what is wrong with the rounds in which the payments were sent first."""
        watch = self.bed.watch
        rounds = {watch.job.id_of(number): self._round_of(at_s) for number, at_s in watch.journal.sent.items()}
        by_round: dict[int, tuple[Round, Comparison]] = {}
        for correlation_id in sorted(found.lost | found.doubled | found.differing.keys()):
            one = rounds.get(correlation_id) or last
            by_round.setdefault(id(one), (one, Comparison()))[1].add(found.only(correlation_id))
        for one, wrong in by_round.values():
            one.note(wrong)

    def _round_of(self, sent_s: float) -> Round | None:
        """Return the round in which something was sent; the first one if it was sent before."""
        return next((one for one in reversed(self.rounds) if one.began_s <= sent_s), next(iter(self.rounds), None))

    def _sums(self) -> list[str]:
        """Return how the summary that clients get differs from the processors' own, a line each."""
        ours = self.bed.target.summary()
        found = []
        for name, processor in self.bed.watch.processors.items():
            theirs = processor.total()
            if ours.get(name, Total(0, theirs.amount * 0)) != theirs:
                found.append(f"the summary says {ours.get(name)} by {name}, its own books {theirs}")
        return found

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._begun_s), 60)
        return f"{minutes:2}:{seconds:02}"


def run_cluster_storm(
    storm: Storm[ClusterBed], faults: Sequence[Fault[ClusterBed]], *, seconds: float, seed: int
) -> None:
    """Strike with every fault once, in turn, and then at random until the time is over."""
    until_s = time.monotonic() + seconds
    for fault in faults:
        storm.strike(fault, fault.least_s)
    chance = random.Random(seed)
    while time.monotonic() < until_s:
        fault, detail = chance.choice(faults), ""
        if chance.random() < _PAIRS and (others := [one for one in faults if may_pair(fault, one)]):
            other = chance.choice(others)
            detail = f"{fault.name} and {other.name}"
            fault = both(fault, other)
        storm.strike(fault, chance.uniform(fault.least_s, fault.most_s), detail)


def all_cluster_faults(pattern: str | None = None) -> list[Fault[ClusterBed]]:
    """Return the faults of a cluster whose names hold `pattern`; all without one."""
    return [one for one in cluster_faults() if pattern is None or pattern in one.name]


def _line(one: Round, lasts_s: float, detail: str) -> str:
    def seconds(value: float | None) -> str:
        return "never" if value is None else f"{value:.2f} s"

    lasted = f" for {lasts_s:.1f} s" if lasts_s and not one.kill else ""
    parts = [f"{detail or one.fault}{lasted}: {one.in_flight} in flight"]
    if one.accepting_s is not None:
        parts.append(f"accepting again after {seconds(one.accepting_s)}")
    parts.append(f"settled after {seconds(one.settled_s)}")
    if one.refused or one.unanswered:
        parts.append(f"{one.refused} refused and {one.unanswered} unanswered")
    return ", ".join([*parts, *one.defects, *one.findings, *one.late, *([f"{one.stuck} stuck"] if one.stuck else [])])
