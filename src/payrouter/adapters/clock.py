"""The machine's clocks. The only module that reads them."""

from __future__ import annotations

import time


class SystemClock:
    """`Clock` of this machine."""

    def now_us(self) -> int:
        """Return UTC microseconds since 1970."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
