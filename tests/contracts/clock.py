"""A clock of which a test can skip a while."""

from __future__ import annotations

from payrouter.adapters.clock import SystemClock


class SkippingClock(SystemClock):
    """The real one, `ahead_s` later."""

    ahead_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + round(self.ahead_s * 1_000_000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s
