"""A circuit breaker: closed, open until an instant, half-open with a real payment as the probe.

Time is monotonic seconds, given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class BreakerState(StrEnum):
    """Closed lets everything through, half-open one probe, open nothing."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(slots=True)
class Probes:
    """Real payments out to find something out: one at a time, unless one takes long to come back.

    A probe that hangs must not keep us from noticing a recovery: after `patience_s` the next may go, up to `most`.
    """

    patience_s: float = 0.5
    most: int = 4
    out: int = 0
    last_s: float = float("-inf")

    def may_start(self, now_s: float) -> bool:
        """True when a probe may go now."""
        return self.out == 0 or (self.out < self.most and now_s >= self.last_s + self.patience_s)

    def start(self, now_s: float) -> None:
        """A probe goes."""
        self.out += 1
        self.last_s = now_s

    def end(self) -> None:
        """A probe came back, or never left."""
        self.out -= 1


@dataclass(slots=True)
class Breaker:
    """Opens after `threshold` failures in a row, or on a failing health report that no fresh success contradicts.

    Stays open `first_open_s`, doubling with each failed probe up to `longest_open_s`. `first_hand` says whether a
    failed attempt of our own opened it or has confirmed it since.
    """

    threshold: int = 3
    first_open_s: float = 0.25
    longest_open_s: float = 1.0
    success_outvotes_report_s: float = 1.0

    failures: int = 0
    opened_s: float | None = None
    retry_s: float = 0.0
    probes: Probes = field(default_factory=Probes)
    first_hand: bool = False
    _open_s: float = 0.0
    _last_success_s: float = float("-inf")

    def state(self, now_s: float) -> BreakerState:
        """Return the state at an instant."""
        if self.opened_s is None:
            return BreakerState.CLOSED
        if now_s >= self.retry_s and self.probes.may_start(now_s):
            return BreakerState.HALF_OPEN
        return BreakerState.OPEN

    def succeeded(self, now_s: float) -> None:
        """A real payment went through: close."""
        self._last_success_s = now_s
        self.failures = 0
        self.opened_s = None
        self.first_hand = False
        self._open_s = 0.0

    def failed(self, now_s: float, *, probe: bool) -> None:
        """An attempt failed. `probe` says whether it was sent as one.

        One that hung until another had closed the breaker tells how it was, and counts as any failure does.
        """
        self.failures += 1
        if self.opened_s is None:
            if self.failures >= self.threshold:
                self.first_hand = True
                self._open(now_s, self.first_open_s)
        elif probe:
            self.first_hand = True
            self._open(now_s, min(self.longest_open_s, self._open_s * 2))

    def turned_away(self, now_s: float) -> None:
        """A probe was answered that it is too busy: neither failure nor success, but leave it in peace for a moment."""
        self.retry_s = max(self.retry_s, now_s + self.first_open_s)

    def reported(self, made_s: float, *, failing: bool) -> None:
        """A health report came. It may open the breaker, and call for a probe; only real payments close it.

        `made_s` is when it was made: one from before the breaker opened says nothing about now.
        """
        if not failing:
            if self.opened_s is None or made_s >= self.opened_s:
                self.retry_s = min(self.retry_s, made_s)
        elif self.opened_s is None and made_s - self._last_success_s > self.success_outvotes_report_s:
            self._open(made_s, self.longest_open_s)

    def told(self, now_s: float, *, up: bool) -> None:
        """Another dispatcher's payments found the processor back, or down: a hint, as its own network may be broken.

        It never closes the breaker, and costs at most a probe as soon as a breaker just opened would send one, or
        a rest as short as the first; nothing where an own payment went through a moment ago.
        """
        if up:
            self.retry_s = min(self.retry_s, max(now_s, self.probes.last_s + self.first_open_s))
        elif self.opened_s is None and now_s - self._last_success_s > self.success_outvotes_report_s:
            self._open(now_s, self.first_open_s)

    def _open(self, now_s: float, open_s: float) -> None:
        if self.opened_s is None:
            self.opened_s = now_s
        self._open_s = open_s
        self.retry_s = now_s + open_s
