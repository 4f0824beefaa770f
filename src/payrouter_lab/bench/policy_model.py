"""What a routing profile earns under a schedule, worked out in virtual time: minutes of load in under a second.

The boards, breakers, limits and the policy are the router's own. Modelled around them are the users, the processors
(the delay counts from the arrival, the failure flag at its end), the health reports, and a dispatcher that sends the
oldest first and no faster than a real one. Time moves in ticks, and what is accepted or sent in one tick stays
together. Not modelled: stores, lost answers, the 429 of a crowded processor, the time to accept.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from payrouter.domain.attempt import Charged, Refusal, Refused
from payrouter.domain.board import ProcessorBoard, Standing
from payrouter.domain.health import HealthReport
from payrouter.domain.limiter import Limiter
from payrouter.domain.processor import Processor
from payrouter.domain.routing import LeastCost, Send
from payrouter_lab.bench.schedule import PROCESSORS, ProcessorState, Stage
from payrouter_lab.bench.score import FINE, Total, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from payrouter.domain.board import ProcessorView
    from payrouter.domain.breaker import Probes
    from payrouter.domain.routing import Decision
    from payrouter_lab.bench.schedule import Schedule

TICK_S = 0.005
"""Also the least time an answer takes."""

SENT_PER_TICK = 15
"""3 000 payments a second, which the router manages beside its load on two cores."""

POST_S = 0.003
HEALTH_EVERY_S = 5.05
FIRST_HEALTH_S = (1.0, 3.0)
AUDIT_BLUR_S = 0.004
"""How far apart, at an audit, the instants may lie for which our books and a processor's speak (embedded engine)."""

_CHARGED = Charged()
_FAILED = Refused(Refusal.FAILING, "answered 500")


@dataclass(frozen=True, slots=True)
class PerPaymentPatience(LeastCost):
    """The rule before: each payment waits its own patience, however long the outage has already lasted."""

    def route(self, age_s: float, backlog: int, views: Sequence[ProcessorView], now_s: float) -> Decision:
        """Return what to do with the payment."""
        views = [replace(view, since_s=now_s) if view.standing is Standing.DOWN else view for view in views]
        return LeastCost.route(self, age_s, backlog, views, now_s)


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings that decide where payments go; `per_payment` asks for the rule before."""

    patience_s: float = 10.0
    last_resort_s: float = 10.0
    latency_ceiling_ms: float = 1000.0
    max_in_flight: int = 256
    per_payment: bool = False

    def policy(self) -> LeastCost:
        """Return the policy with these settings."""
        rule = PerPaymentPatience if self.per_payment else LeastCost
        return rule(self.patience_s, self.last_resort_s)

    def board(self, name: str, fee: Decimal) -> ProcessorBoard:
        """Return a new board for a processor."""
        limiter = Limiter(most=self.max_in_flight)
        processor = Processor(name, f"http://{name}", fee)
        return ProcessorBoard(processor, latency_ceiling_ms=self.latency_ceiling_ms, limiter=limiter)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What became of a schedule. `settled` by processor, `waited_s` the mean wait in the queue.

    `audit_risk` is the chance, over all phases the auditor's clock could have, that an audit falls within the blur
    after a late charge (one whose `requestedAt` was already old enough to be compared) and finds a difference.
    """

    accepted: int
    settled: Mapping[str, int]
    margin: float
    longest_queue: int
    waited_s: float
    audit_risk: float

    @property
    def lag_percent(self) -> float:
        """What is not settled at the end, of what was accepted."""
        return 100 * (1 - sum(self.settled.values()) / self.accepted)

    @property
    def dear_percent(self) -> float:
        """What the dearer processor settled, of what was settled."""
        return 100 * self.settled["fallback"] / max(1, sum(self.settled.values()))

    @property
    def fined_margin(self) -> float:
        """The margin to expect after the fine."""
        return self.margin * (1 - FINE * self.audit_risk)


@dataclass(slots=True)
class _Sent:
    """Attempts that left in the same tick, of payments accepted in the same tick."""

    name: str
    count: int
    sent_s: float
    accepted_s: float
    probe: Probes | None


@dataclass(slots=True)
class _Model:
    """The state of one run. `waiting` is a heap of (accepted at, how many)."""

    schedule: Schedule
    policy: LeastCost
    boards: dict[str, ProcessorBoard]
    states: dict[str, ProcessorState] = field(default_factory=lambda: dict.fromkeys(PROCESSORS, ProcessorState()))
    waiting: list[tuple[float, int]] = field(default_factory=list)
    backlog: int = 0
    landing: dict[int, list[_Sent]] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PROCESSORS, 0))
    audit_blur_s: float = AUDIT_BLUR_S
    late_ticks: set[int] = field(default_factory=set)
    longest_queue: int = 0
    queue_ticks: int = 0

    def run(self) -> Forecast:
        schedule = self.schedule
        accepted = accepted_per_tick(schedule)
        changes = {math.ceil(stage.at_s / TICK_S - 1e-9): stage for stage in schedule.stages}
        health_s = dict(zip(PROCESSORS, FIRST_HEALTH_S, strict=True))
        for tick, count in enumerate(accepted):
            now_s = tick * TICK_S
            if tick in changes:
                self.states = _states(changes[tick])
            for sent in self.landing.pop(tick, ()):
                self._land(sent, now_s)
            for name, due_s in health_s.items():
                if now_s >= due_s:
                    health_s[name] += HEALTH_EVERY_S
                    state = self.states[name]
                    self.boards[name].reported(HealthReport(state.failing, state.delay_ms), now_s)
            self._wait(now_s, count)
            self._dispatch(tick, now_s)
            self.longest_queue = max(self.longest_queue, self.backlog)
            self.queue_ticks += self.backlog
        return self._forecast(sum(accepted))

    def _wait(self, accepted_s: float, count: int) -> None:
        if count:
            heapq.heappush(self.waiting, (accepted_s, count))
            self.backlog += count

    def _land(self, sent: _Sent, now_s: float) -> None:
        failing = self.states[sent.name].failing
        for _ in range(sent.count):
            self.boards[sent.name].ended(
                _FAILED if failing else _CHARGED, now_s, (now_s - sent.sent_s) * 1000, probe=sent.probe
            )
        if failing:
            self._wait(sent.accepted_s, sent.count)
            return
        self.settled[sent.name] += sent.count
        if now_s - sent.sent_s > self.schedule.audit.lag_s:
            self.late_ticks.add(round(now_s / TICK_S))

    def _dispatch(self, tick: int, now_s: float) -> None:
        room = SENT_PER_TICK
        while room > 0 and self.waiting:
            accepted_s, count = self.waiting[0]
            views = [board.view(now_s) for board in self.boards.values()]
            decision = self.policy.route(now_s - accepted_s, self.backlog, views, now_s)
            if not isinstance(decision, Send):
                return
            board = self.boards[decision.processor]
            taken = 1 if decision.probe else min(count, board.limiter.free, room)
            if taken == count:
                heapq.heappop(self.waiting)
            else:
                heapq.heapreplace(self.waiting, (accepted_s, count - taken))
            self.backlog -= taken
            room -= taken
            for _ in range(taken):
                probe = board.started(now_s, counts_as_probe=decision.probe)
            delay_s = self.states[decision.processor].delay_ms / 1000
            sent = _Sent(decision.processor, taken, now_s, accepted_s, probe)
            self.landing.setdefault(tick + 1 + round(delay_s / TICK_S), []).append(sent)

    def _forecast(self, accepted: int) -> Forecast:
        schedule = self.schedule
        totals = {name: Total(count, count * schedule.amount) for name, count in self.settled.items()}
        earned = score(totals, schedule.fees, accepted=accepted, amount=schedule.amount, p99_ms=1.0, inconsistent=False)
        waited_s = self.queue_ticks * TICK_S / accepted
        return Forecast(accepted, self.settled, earned.margin, self.longest_queue, waited_s, self._audit_risk())

    def _audit_risk(self) -> float:
        length = max(1, round(self.audit_blur_s / TICK_S))
        period = round(self.schedule.audit.period_s / TICK_S)
        blurred = {(tick + after) % period for tick in self.late_ticks for after in range(length)}
        return len(blurred) * self.audit_blur_s / (length * TICK_S) / period


def forecast(schedule: Schedule, profile: Profile, *, audit_blur_s: float = AUDIT_BLUR_S) -> Forecast:
    """Return what a router with this profile would have earned."""
    fees = sorted(schedule.fees.items(), key=lambda item: item[1])
    boards = {name: profile.board(name, fee) for name, fee in fees}
    return _Model(schedule, profile.policy(), boards, audit_blur_s=audit_blur_s).run()


def accepted_per_tick(schedule: Schedule) -> list[int]:
    """Return how many payments are accepted in each tick: users start evenly, post, and sleep a second."""
    counts = [0] * round(schedule.length_s / TICK_S)
    first, last = schedule.users.start, schedule.users.end
    for user in range(1, last + 1):
        at_s = schedule.length_s * (user - first) / (last - first) if user > first else 0.0
        while at_s < schedule.length_s:
            counts[min(int(at_s / TICK_S), len(counts) - 1)] += 1
            at_s += 1 + POST_S
    return counts


def best_margin(schedule: Schedule) -> float:
    """Return the margin of perfect foresight: every payment waits for the cheapest that will still take it in time.

    Capacity and patience are endless, and audits do not matter: no router can do better.
    """
    last_s = {name: _last_chance_s(schedule, name) for name in PROCESSORS}
    by_fee = sorted(schedule.fees.items(), key=lambda item: item[1])
    accepted = accepted_per_tick(schedule)
    settled = dict.fromkeys(PROCESSORS, 0)
    for tick, count in enumerate(accepted):
        taker = next((name for name, _ in by_fee if tick * TICK_S <= last_s[name]), None)
        if taker is not None:
            settled[taker] += count
    net = sum(count * (1 - schedule.fees[name]) for name, count in settled.items())
    return float(net / (sum(accepted) * (1 - by_fee[0][1])))


def _last_chance_s(schedule: Schedule, name: str) -> float:
    """Return the last second at which a payment can be sent to be charged in time; -1 when there is none."""
    for tick in reversed(range(round(schedule.length_s / TICK_S))):
        charged_s = tick * TICK_S + _states(schedule.stage_at(tick * TICK_S))[name].delay_ms / 1000
        if charged_s < schedule.length_s and not _states(schedule.stage_at(charged_s))[name].failing:
            return tick * TICK_S
    return -1.0


def _states(stage: Stage) -> dict[str, ProcessorState]:
    return {"default": stage.default, "fallback": stage.fallback}
