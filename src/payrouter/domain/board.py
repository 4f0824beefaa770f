"""One processor's standing, put together from breaker, latency and limit: what routing looks at.

Instants are monotonic seconds given by the caller. Everything here is a few attributes per processor: bounded.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from payrouter.domain.attempt import Charged, Invalid, Outcome, Refusal, Refused, Unknown
from payrouter.domain.breaker import Breaker, BreakerState, Probes
from payrouter.domain.latency import Latency
from payrouter.domain.limiter import Limiter

if TYPE_CHECKING:
    from payrouter.domain.health import HealthReport
    from payrouter.domain.processor import Processor


_INSTANT_S = 1e-6
QUIET_MS = 100.0
QUIET_TIMES = 2.0
"""An attempt out for `QUIET_MS` plus so many times what it should take: something has changed over there."""

LOOK_AGAIN_S = 0.5
"""How soon a payment with nowhere to go is looked at again, whatever is expected."""

OUTAGE_KNOWN_S = 2.0
"""How long we may hear nothing of a processor that is out of service and still believe its outage goes on."""


class Standing(StrEnum):
    """What a processor can take now. `PROBE`: exactly one payment, to find out. `FULL`: nothing more for a moment.

    `PAUSED`: an operator wants no payment to go there. Repeats of unknown outcome do (I6).
    """

    USABLE = "usable"
    PROBE = "probe"
    FULL = "full"
    SLOW = "slow"
    DOWN = "down"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class ProcessorView:
    """A processor at one instant. `retry_s` is when a `SLOW` or `DOWN` one may be probed next.

    `reported_ms` is its own least latency, 0 without a report. `since_s` is since when it has been in service, or out
    of it (down or slow); minus infinity if it always was in service.
    """

    processor: Processor
    standing: Standing
    expected_ms: float
    reported_ms: float
    in_flight: int
    limit: int
    retry_s: float
    since_s: float = float("-inf")

    @property
    def free(self) -> int:
        """Permits left."""
        return self.limit - self.in_flight

    @property
    def capacity_per_s(self) -> float:
        """Little's law: a limit of L in flight at latency t carries L / t payments a second."""
        return self.limit / max(self.expected_ms / 1000, 0.001)


@dataclass(slots=True)
class ProcessorBoard:
    """What we know of one processor, kept by what happens to attempts and by health reports."""

    processor: Processor
    latency_ceiling_ms: float = 1000.0
    slow_probe_every_s: float = 1.0
    breaker: Breaker = field(default_factory=Breaker)
    latency: Latency = field(default_factory=Latency)
    limiter: Limiter = field(default_factory=Limiter)
    slow_probes: Probes = field(default_factory=Probes)
    pinned: int = 0
    paused: bool = False
    reported_failing: bool = False
    _slow_retry_s: float = 0.0
    _since_s: float = float("-inf")
    _was_in_service: bool = True
    _last_heard_s: float = float("-inf")
    # When each attempt left that is out and that no answered one has overtaken, oldest first: at most all in flight.
    _unanswered_s: deque[float] = field(default_factory=deque)

    def view(self, now_s: float) -> ProcessorView:
        """Return the standing at an instant."""
        expected_ms = self.expected_ms(now_s)
        standing, retry_s = self._standing(now_s, expected_ms)
        self._note_service(now_s, expected_ms)
        return ProcessorView(
            self.processor,
            standing,
            expected_ms,
            self.latency.reported_ms,
            self.limiter.in_flight,
            int(self.limiter.limit),
            retry_s,
            self._since_s,
        )

    def standing(self, now_s: float) -> Standing:
        """Return the standing alone; nothing is noted."""
        return self._standing(now_s, self.expected_ms(now_s))[0]

    def expected_ms(self, now_s: float) -> float:
        """Return the latency the next attempt should expect."""
        return self.latency.expected_ms(now_s, silent_s=self._silent_s(now_s))

    def _silent_s(self, now_s: float) -> float:
        """For how long the oldest attempt is out that no later one has overtaken; 0 when there is none."""
        return now_s - self._unanswered_s[0] if self._unanswered_s else 0.0

    def _gone_quiet(self, now_s: float) -> bool:
        usual_ms = self.latency.expected_ms(now_s, silent_s=0.0)
        return self._silent_s(now_s) * 1000 > QUIET_MS + QUIET_TIMES * usual_ms

    def _note_service(self, now_s: float, expected_ms: float) -> None:
        closed = self.breaker.opened_s is None and self.pinned < self.limiter.most
        in_service = closed and expected_ms <= self.latency_ceiling_ms
        # Nobody has looked into this outage for a while: it may be over, so its age says nothing any more.
        forgotten = not in_service and not self.limiter.in_flight and now_s - self._last_heard_s > OUTAGE_KNOWN_S
        if in_service is not self._was_in_service or forgotten:
            self._since_s = now_s
        self._was_in_service = in_service

    def _standing(self, now_s: float, expected_ms: float) -> tuple[Standing, float]:
        if self.paused:
            return Standing.PAUSED, now_s + LOOK_AGAIN_S
        match self.breaker.state(now_s):
            case BreakerState.OPEN:
                return Standing.DOWN, max(self.breaker.retry_s, now_s + 0.05)
            case BreakerState.HALF_OPEN if self.pinned or not self.limiter.free:
                # An unresolved payment is the better probe: it has to go there anyway.
                return Standing.DOWN, now_s + 0.05
            case BreakerState.HALF_OPEN:
                return Standing.PROBE, now_s
            case BreakerState.CLOSED:
                return self._closed_standing(now_s, expected_ms)

    def _closed_standing(self, now_s: float, expected_ms: float) -> tuple[Standing, float]:
        may_probe = self.limiter.free and self.slow_probes.may_start(now_s)
        if self.pinned >= self.limiter.most:
            # I7: one that answers repeats but no first attempt gets no more until it has resolved some.
            return Standing.DOWN, now_s + 0.05
        if expected_ms > self.latency_ceiling_ms:
            if now_s < self._slow_retry_s or not may_probe:
                return Standing.SLOW, max(self._slow_retry_s, now_s + 0.05)
            return Standing.PROBE, now_s
        if self._gone_quiet(now_s):
            # What is sent now may get stuck behind those before it: one at a time until there is an answer.
            return Standing.PROBE if may_probe else Standing.FULL, now_s
        return Standing.FULL if self.limiter.free == 0 else Standing.USABLE, now_s

    def may_repeat(self, now_s: float) -> bool:
        """True when a pinned payment may be sent again: the breaker lets it through, be it as the probe."""
        return self.breaker.state(now_s) is not BreakerState.OPEN

    def started(self, now_s: float, *, counts_as_probe: bool = False) -> Probes | None:
        """Take a permit for an attempt. If it is a probe, return the probes it counts among, for `ended`.

        A repeat at a half-open breaker is always a probe; `counts_as_probe` is what routing decided.
        """
        probe = None
        if self.breaker.state(now_s) is BreakerState.HALF_OPEN:
            probe = self.breaker.probes
        elif counts_as_probe:
            probe = self.slow_probes
        if probe is not None:
            probe.start(now_s)
        self._unanswered_s.append(now_s)
        self.limiter.acquire()
        return probe

    def cancelled(self, *, probe: Probes | None) -> None:
        """An attempt never left (its intent could not be written): give its places back."""
        self.limiter.release()
        if self._unanswered_s:
            self._unanswered_s.pop()
        if probe is not None:
            probe.end()

    def ended(self, outcome: Outcome, now_s: float, latency_ms: float, *, probe: Probes | None) -> None:
        """An attempt came to an outcome after `latency_ms`. Learn from it and free its permit."""
        self._last_heard_s = now_s
        sent_s = now_s - latency_ms / 1000
        while self._unanswered_s and self._unanswered_s[0] <= sent_s + _INSTANT_S:
            self._unanswered_s.popleft()
        if probe is not None:
            probe.end()
        if probe is self.slow_probes and not self.latency.overtaken(now_s, latency_ms):
            self._slow_retry_s = now_s + self.slow_probe_every_s
        match outcome:
            # A processor says 422 only after its own check for failure: never a failure, and proof that it works.
            case Charged() | Invalid():
                if self.breaker.opened_s is not None:
                    # However slow this answer was, it left during the outage: find out how slow it is now.
                    self._slow_retry_s = min(self._slow_retry_s, now_s)
                # A slow probe went to find out whether it is quick again; if it is, what was before says no more.
                quick_again = probe is self.slow_probes and latency_ms <= self.latency_ceiling_ms
                self.latency.sampled(now_s, latency_ms, alone=quick_again)
                self.limiter.succeeded()
                self.breaker.succeeded(now_s)
            case Refused(Refusal.BUSY):
                if probe is self.breaker.probes:
                    self.breaker.turned_away(now_s)
                elif self.limiter.limit == 1:
                    # Even one at a time is too much for it: as good as down, and asked with growing pauses.
                    self.breaker.failed(now_s, probe=False)
                self.limiter.overloaded(now_s, latency_s=latency_ms / 1000)
            case Refused(refusal):
                if refusal is Refusal.FAILING:
                    self.latency.sampled(now_s, latency_ms)
                self.breaker.failed(now_s, probe=probe is self.breaker.probes)
            case Unknown():
                self.limiter.overloaded(now_s, latency_s=latency_ms / 1000)
                self.breaker.failed(now_s, probe=probe is self.breaker.probes)
        self.limiter.release()

    def reported(self, report: HealthReport, made_s: float) -> None:
        """A health report came, made at `made_s`: it may open the breaker or call for a probe; only payments prove.

        One that is older than the newest known is ignored.
        """
        if made_s < self.latency.reported_s:
            return
        self.reported_failing = report.failing
        self.latency.reported(made_s, float(report.min_response_ms))
        self.breaker.reported(made_s, failing=report.failing)
        if report.min_response_ms <= self.latency_ceiling_ms:
            self._slow_retry_s = min(self._slow_retry_s, made_s)

    def told(self, now_s: float, *, up: bool) -> None:
        """Another dispatcher's payments found this processor back, or down: a hint, see `Breaker.told`."""
        self.breaker.told(now_s, up=up)
