"""A circuit breaker: closed, open until an instant, half-open with one real payment as the probe.

Time is monotonic seconds, given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Closed lets everything through, half-open one probe, open nothing."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class Breaker:
    """Opens after `threshold` failures in a row, or on a failing health report that no fresh success contradicts.

    Stays open `first_open_s`, doubling with each failed probe up to `longest_open_s`.
    """

    threshold: int = 3
    first_open_s: float = 0.25
    longest_open_s: float = 2.0
    success_outvotes_report_s: float = 1.0

    failures: int = 0
    opened_s: float | None = None
    retry_s: float = 0.0
    probing: bool = False
    _open_s: float = 0.0
    _last_success_s: float = float("-inf")

    def state(self, now_s: float) -> BreakerState:
        """Return the state at an instant."""
        if self.opened_s is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if now_s >= self.retry_s and not self.probing else BreakerState.OPEN

    def start_probe(self) -> None:
        """Take the one place a half-open breaker has."""
        self.probing = True

    def succeeded(self, now_s: float) -> None:
        """A real payment went through: close."""
        self._last_success_s = now_s
        self.failures = 0
        self.opened_s = None
        self.probing = False
        self._open_s = 0.0

    def failed(self, now_s: float, *, probe: bool) -> None:
        """An attempt failed. `probe` says whether it was the half-open one."""
        self.failures += 1
        if probe:
            self.probing = False
            self._open(now_s, min(self.longest_open_s, self._open_s * 2 or self.first_open_s))
        elif self.opened_s is None and self.failures >= self.threshold:
            self._open(now_s, self.first_open_s)

    def cancel_probe(self) -> None:
        """The probe never left: give its place back."""
        self.probing = False

    def reported(self, now_s: float, *, failing: bool) -> None:
        """A health report came. It may open the breaker, and call for a probe; only real payments close it."""
        if not failing:
            self.retry_s = min(self.retry_s, now_s)
        elif self.opened_s is None and now_s - self._last_success_s > self.success_outvotes_report_s:
            self._open(now_s, self.longest_open_s)

    def _open(self, now_s: float, open_s: float) -> None:
        if self.opened_s is None:
            self.opened_s = now_s
        self._open_s = open_s
        self.retry_s = now_s + open_s
