"""Time, so that nothing else has to know where it comes from."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for records, one for durations."""

    def now_us(self) -> int:
        """Return UTC microseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        ...
