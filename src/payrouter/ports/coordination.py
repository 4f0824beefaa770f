"""What all dispatchers, and a restarted one, must agree on."""

from __future__ import annotations

from typing import Protocol


class HealthCalls(Protocol):
    """When each processor's health was last asked for (I8), kept across restarts."""

    async def last_call_us(self, processor: str) -> int:
        """Return UTC microseconds of the last call, 0 when there was none."""
        ...

    async def record_call(self, processor: str, at_us: int) -> None:
        """Remember a call, before it is made."""
        ...
