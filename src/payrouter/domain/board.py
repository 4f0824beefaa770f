"""One processor's standing, put together from breaker, latency and limit: what routing looks at.

Instants are monotonic seconds given by the caller. Everything here is a few attributes per processor: bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from payrouter.domain.attempt import Charged, Invalid, Outcome, Refusal, Refused, Unknown
from payrouter.domain.breaker import Breaker, BreakerState
from payrouter.domain.latency import Latency
from payrouter.domain.limiter import Limiter

if TYPE_CHECKING:
    from payrouter.domain.health import HealthReport
    from payrouter.domain.processor import Processor


class Standing(StrEnum):
    """What a processor can take now. `PROBE`: exactly one payment, to find out."""

    USABLE = "usable"
    PROBE = "probe"
    FULL = "full"
    SLOW = "slow"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ProcessorView:
    """A processor at one instant. `retry_s` is when a `SLOW` or `DOWN` one may be probed next.

    `reported_ms` is its own least latency, 0 without a report.
    """

    processor: Processor
    standing: Standing
    expected_ms: float
    reported_ms: float
    in_flight: int
    limit: int
    retry_s: float

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
    pinned: int = 0
    _silent_from_s: float = 0.0
    _slow_retry_s: float = 0.0
    _slow_probing: bool = False

    def view(self, now_s: float) -> ProcessorView:
        """Return the standing at an instant."""
        expected_ms = self.expected_ms(now_s)
        standing, retry_s = self._standing(now_s, expected_ms)
        return ProcessorView(
            self.processor,
            standing,
            expected_ms,
            self.latency.reported_ms,
            self.limiter.in_flight,
            int(self.limiter.limit),
            retry_s,
        )

    def expected_ms(self, now_s: float) -> float:
        """Return the latency the next attempt should expect."""
        silent_s = now_s - self._silent_from_s if self.limiter.in_flight else 0.0
        return self.latency.expected_ms(now_s, silent_s=silent_s)

    def _standing(self, now_s: float, expected_ms: float) -> tuple[Standing, float]:
        match self.breaker.state(now_s):
            case BreakerState.OPEN:
                return Standing.DOWN, max(self.breaker.retry_s, now_s + 0.05)
            case BreakerState.HALF_OPEN if self.pinned:
                # An unresolved payment is the better probe: it has to go there anyway.
                return Standing.DOWN, now_s + 0.05
            case BreakerState.HALF_OPEN:
                return Standing.PROBE, now_s
            case BreakerState.CLOSED if expected_ms > self.latency_ceiling_ms:
                if self._slow_probing or now_s < self._slow_retry_s:
                    return Standing.SLOW, max(self._slow_retry_s, now_s + 0.05)
                return Standing.PROBE, now_s
            case _ if self.limiter.free == 0:
                return Standing.FULL, now_s
        return Standing.USABLE, now_s

    def may_repeat(self, now_s: float) -> bool:
        """True when a pinned payment may be sent again: the breaker lets it through, be it as the probe."""
        return self.breaker.state(now_s) is not BreakerState.OPEN

    def started(self, now_s: float, *, counts_as_probe: bool = False) -> bool:
        """Take a permit for an attempt; True if it is the probe.

        A repeat at a half-open breaker is always the probe; `counts_as_probe` is what routing decided.
        """
        probe = counts_as_probe or self.breaker.state(now_s) is BreakerState.HALF_OPEN
        if probe and self.breaker.state(now_s) is BreakerState.HALF_OPEN:
            self.breaker.start_probe()
        elif probe:
            self._slow_probing = True
        if self.limiter.in_flight == 0:
            self._silent_from_s = now_s
        self.limiter.acquire()
        return probe

    def cancelled(self, *, probe: bool) -> None:
        """An attempt never left (its intent could not be written): give its places back."""
        self.limiter.release()
        if probe:
            self.breaker.cancel_probe()
            self._slow_probing = False

    def ended(self, outcome: Outcome, now_s: float, latency_ms: float, *, probe: bool) -> None:
        """An attempt came to an outcome after `latency_ms`. Learn from it and free its permit."""
        self._silent_from_s = now_s
        if probe:
            self._slow_probing = False
            self._slow_retry_s = now_s + self.slow_probe_every_s
        match outcome:
            # A 422 is an earlier success: no breaker event, but an answer all the same.
            case Charged() | Invalid():
                self.latency.sampled(now_s, latency_ms)
                self.limiter.succeeded()
                self.breaker.succeeded(now_s)
            case Refused(Refusal.BUSY):
                self.limiter.overloaded(now_s, latency_s=latency_ms / 1000)
                if probe:
                    self.breaker.cancel_probe()
            case Refused(refusal):
                if refusal is Refusal.FAILING:
                    self.latency.sampled(now_s, latency_ms)
                self.breaker.failed(now_s, probe=probe)
            case Unknown():
                self.limiter.overloaded(now_s, latency_s=latency_ms / 1000)
                self.breaker.failed(now_s, probe=probe)
        self.limiter.release()

    def reported(self, report: HealthReport, now_s: float) -> None:
        """A health report came: it may open the breaker or call for a probe; only payments prove anything."""
        self.latency.reported(now_s, float(report.min_response_ms))
        self.breaker.reported(now_s, failing=report.failing)
        if report.min_response_ms <= self.latency_ceiling_ms:
            self._slow_retry_s = min(self._slow_retry_s, now_s)
