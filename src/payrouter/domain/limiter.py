"""An adaptive limit on attempts in flight at one processor: additive increase, multiplicative decrease.

Source of the rule: Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance"
(1989); the doubling start is TCP's slow start. Timeouts shrink the limit but are never latency samples.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Limiter:
    """Permits in flight, between 1 and `most`."""

    most: int = 256
    limit: float = 32.0
    in_flight: int = 0
    _slow_start: bool = True
    _held_until_s: float = 0.0

    def __post_init__(self) -> None:
        self.limit = min(self.limit, float(self.most))

    @property
    def free(self) -> int:
        """How many more attempts may start now."""
        return max(0, int(self.limit) - self.in_flight)

    def acquire(self) -> None:
        """Take a permit. A repeat of a pinned payment may exceed the limit: it must never starve."""
        self.in_flight += 1

    def release(self) -> None:
        """Give a permit back."""
        self.in_flight -= 1

    def succeeded(self) -> None:
        """Grow, but only while the limit is what holds us back (called before the permit is released)."""
        if self.in_flight * 2 < self.limit:
            return
        self.limit = min(float(self.most), self.limit + (1.0 if self._slow_start else 1.0 / self.limit))

    def overloaded(self, now_s: float, *, latency_s: float) -> None:
        """Shrink by a third, at most once per round trip: one burst of refusals is one piece of news."""
        if now_s < self._held_until_s:
            return
        self._slow_start = False
        self.limit = max(1.0, self.limit * (2 / 3))
        self._held_until_s = now_s + max(latency_s, 0.05)
