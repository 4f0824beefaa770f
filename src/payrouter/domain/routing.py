"""Routing: which processor takes a payment now, or until when it waits, and why. Pure.

Two policies by name. `least-cost` pays the lowest fee that time allows; `latency-ratio` is the rule of the system
this one started from: the dearer processor when the cheapest is failing or slower than 1.25 times its minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from payrouter.domain.board import LOOK_AGAIN_S, ProcessorView, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReasonCode(StrEnum):
    """Why a processor was chosen, or why a payment waits. Stored: never rename one."""

    CHEAPEST = "cheapest"
    CHEAPER_DOWN = "cheaper-down"
    CHEAPER_SLOW = "cheaper-slow"
    CHEAPER_FULL = "cheaper-full"
    CHEAPER_PAUSED = "cheaper-paused"
    PROBE = "probe"
    LEAST_BAD = "least-bad"
    RATIO = "ratio"
    WAIT_CHEAPEST = "wait-cheapest"
    WAIT_ALL = "wait-all"
    PROVEN = "proven"


@dataclass(frozen=True, slots=True)
class Reason:
    """A choice in numbers: at decision time it expected `expected_ms`, had `in_flight` of `limit` permits taken.

    `age_s` is how old the payment was; `passed_over` names processors and their standing, cheapest first: those
    cheaper than the one this is about (none when it is the cheapest), or, for `LEAST_BAD` and `WAIT_ALL`, which
    weigh them all, every other one. Nobody decided what is `PROVEN`; of it only `age_s` is known.
    """

    code: ReasonCode
    expected_ms: float
    in_flight: int
    limit: int
    age_s: float
    passed_over: tuple[tuple[str, str], ...] = ()

    def encode(self) -> str:
        """Return the short stored form."""
        passed = ",".join(f"{name}={standing}" for name, standing in self.passed_over)
        return f"{self.code}|{self.expected_ms:.1f}|{self.in_flight}|{self.limit}|{self.age_s:.2f}|{passed}"

    @classmethod
    def decode(cls, text: str) -> Reason:
        """Return the reason that `encode` wrote."""
        code, expected_ms, in_flight, limit, age_s, passed = text.split("|", 5)
        pairs = (pair.rpartition("=") for pair in passed.split(",") if pair)
        return cls(
            ReasonCode(code),
            float(expected_ms),
            int(in_flight),
            int(limit),
            float(age_s),
            tuple((name, standing) for name, _, standing in pairs),
        )

    def in_words(self, processor: str) -> str:
        """Return the choice as a sentence for people."""
        if self.code is ReasonCode.PROVEN:
            return f"{processor} {_WORDS[self.code]}: found {self.age_s:.1f} s after the payment was accepted"
        others = ", ".join(f"{name} was {standing}" for name, standing in self.passed_over)
        numbers = (
            f"expected {self.expected_ms:.0f} ms with {self.in_flight} of {self.limit} permits in use, "
            f"{self.age_s:.1f} s after the payment was accepted"
        )
        nobody = "there is no other" if self.code in _WEIGHS_ALL else "none was cheaper"
        return f"{processor} {_WORDS[self.code].format(others=others or nobody)}: {numbers}"


_WORDS = {
    ReasonCode.CHEAPEST: "was the cheapest and usable",
    ReasonCode.CHEAPER_DOWN: "was the next usable after patience ran out ({others})",
    ReasonCode.CHEAPER_SLOW: "was the next usable, as waiting for a slow one does not help ({others})",
    ReasonCode.CHEAPER_FULL: "was the next usable, as the queue for the cheaper was longer than patience ({others})",
    ReasonCode.CHEAPER_PAUSED: "was the next usable, as an operator has paused the cheaper ({others})",
    ReasonCode.PROBE: "was tried with this payment to find out whether it is back ({others})",
    ReasonCode.LEAST_BAD: "was slow, but nothing better came back in time ({others})",
    ReasonCode.RATIO: "was chosen by the latency ratio ({others})",
    ReasonCode.WAIT_CHEAPEST: "is worth waiting for ({others})",
    ReasonCode.WAIT_ALL: "is as unusable as all others ({others})",
    ReasonCode.PROVEN: "had charged it already, as its own record shows",
}

_WEIGHS_ALL = {ReasonCode.LEAST_BAD, ReasonCode.WAIT_ALL}


@dataclass(frozen=True, slots=True)
class Send:
    """Hand the payment to this processor. `probe`: it is the one that finds out."""

    processor: str
    reason: Reason
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Leave it in the queue; look again at `until_s` (monotonic) or on news. Its reason is about `processor`."""

    until_s: float
    reason: Reason
    processor: str


Decision = Send | Wait


class Policy(Protocol):
    """A routing rule: age of the payment, payments waiting, views cheapest first, monotonic now."""

    def route(self, age_s: float, backlog: int, views: Sequence[ProcessorView], now_s: float) -> Decision:
        """Return what to do with the payment."""
        ...


def _reason(code: ReasonCode, view: ProcessorView, age_s: float, passed_over: Sequence[ProcessorView]) -> Reason:
    passed = tuple((other.processor.name, other.standing.value) for other in passed_over)
    return Reason(code, view.expected_ms, view.in_flight, view.limit, age_s, passed)


_PASSED_FOR = {
    Standing.DOWN: ReasonCode.CHEAPER_DOWN,
    Standing.SLOW: ReasonCode.CHEAPER_SLOW,
    Standing.FULL: ReasonCode.CHEAPER_FULL,
    Standing.PAUSED: ReasonCode.CHEAPER_PAUSED,
}


@dataclass(frozen=True, slots=True)
class LeastCost:
    """The lowest fee that time allows.

    Cheapest first: usable takes it. Down: worth waiting for while its outage is younger than `patience_s`, and so is
    the payment; an outage that has lasted longer is expected to go on, so nobody waits for its end any more. Slow: the
    next one now, waiting would not help; so does paused, as nobody knows for how long. Full: worth waiting for, however
    old the payment is, unless the queue (backlog over capacity by Little's law) is longer than patience: after an
    outage the cheapest drains it. Nobody left: wait, and from the age of `last_resort_s` on take the fastest slow one,
    so that a world without fast processors still settles.

    So while any processor is usable, what waits is at most what was accepted within `patience_s`.

    After an outage of everything processors often come back together. One that has just come back is not paid more
    for until the cheaper ones had `notice_s` to be noticed (probes go about once a second), or the whole backlog
    would go to whichever was probed first.
    """

    patience_s: float = 10.0
    last_resort_s: float = 10.0
    notice_s: float = 1.5

    def route(self, age_s: float, backlog: int, views: Sequence[ProcessorView], now_s: float) -> Decision:
        """Return what to do with the payment."""
        for rank, view in enumerate(views):
            before = views[:rank]
            match view.standing:
                case Standing.USABLE if before and now_s < view.since_s + self.notice_s:
                    until_s = view.since_s + self.notice_s
                    return Wait(
                        until_s, _reason(ReasonCode.WAIT_CHEAPEST, views[0], age_s, ()), views[0].processor.name
                    )
                case Standing.USABLE:
                    code = _PASSED_FOR[before[-1].standing] if before else ReasonCode.CHEAPEST
                    return Send(view.processor.name, _reason(code, view, age_s, before))
                case Standing.PROBE:
                    return Send(view.processor.name, _reason(ReasonCode.PROBE, view, age_s, before), probe=True)
                case Standing.DOWN if (patient_s := self._patient_s(age_s, now_s - view.since_s)) > 0:
                    until_s = min(view.retry_s, now_s + patient_s)
                    return Wait(until_s, _reason(ReasonCode.WAIT_CHEAPEST, view, age_s, before), view.processor.name)
                case Standing.FULL if backlog <= self.patience_s * view.capacity_per_s:
                    return Wait(
                        now_s + LOOK_AGAIN_S,
                        _reason(ReasonCode.WAIT_CHEAPEST, view, age_s, before),
                        view.processor.name,
                    )
                case _:
                    continue
        return self._nobody_usable(age_s, views, now_s)

    def _patient_s(self, age_s: float, outage_s: float) -> float:
        """For how much longer a payment waits for a cheaper processor that has been out of service for `outage_s`."""
        return self.patience_s - max(age_s, outage_s)

    def _nobody_usable(self, age_s: float, views: Sequence[ProcessorView], now_s: float) -> Decision:
        slow = [view for view in views if view.standing is Standing.SLOW and view.free > 0]
        if slow and age_s >= self.last_resort_s:
            best = min(slow, key=lambda view: view.expected_ms)
            others = [view for view in views if view is not best]
            return Send(best.processor.name, _reason(ReasonCode.LEAST_BAD, best, age_s, others))
        until_s = min(max(min(view.retry_s for view in views), now_s + 0.01), now_s + LOOK_AGAIN_S)
        return Wait(until_s, _reason(ReasonCode.WAIT_ALL, views[0], age_s, views[1:]), views[0].processor.name)


@dataclass(frozen=True, slots=True)
class LatencyRatio:
    """The cheapest unless it is down, or slower than `ratio` times the least of a dearer one that is not down."""

    ratio: float = 1.25

    def route(self, age_s: float, backlog: int, views: Sequence[ProcessorView], now_s: float) -> Decision:  # noqa: ARG002
        """Return what to do with the payment."""
        up = [view for view in views if view.standing not in (Standing.DOWN, Standing.PAUSED)]
        if not up:
            until_s = min(max(min(view.retry_s for view in views), now_s + 0.01), now_s + LOOK_AGAIN_S)
            return Wait(until_s, _reason(ReasonCode.WAIT_ALL, views[0], age_s, views[1:]), views[0].processor.name)
        chosen = up[0]
        for view in up[1:]:
            if max(chosen.reported_ms, chosen.expected_ms) > self.ratio * max(view.reported_ms, 1.0):
                chosen = view
            else:
                break
        before = views[: views.index(chosen)]
        if chosen.free <= 0:
            return Wait(
                now_s + LOOK_AGAIN_S, _reason(ReasonCode.WAIT_CHEAPEST, chosen, age_s, before), chosen.processor.name
            )
        code = ReasonCode.RATIO if before else ReasonCode.CHEAPEST
        return Send(
            chosen.processor.name,
            _reason(code, chosen, age_s, before),
            probe=chosen.standing is Standing.PROBE,
        )
