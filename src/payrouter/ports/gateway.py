"""The way to a processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.attempt import Intent, Outcome
    from payrouter.domain.health import HealthReport


class ProcessorGateway(Protocol):
    """Sends attempts and asks for health. Never raises for what a processor does: outcomes are values."""

    def send(self, intent: Intent, done: Callable[[Outcome], None]) -> None:
        """Post an attempt; `done` is called exactly once, later, on the loop."""
        ...

    def prove(self, intent: Intent, done: Callable[[bool], None]) -> None:
        """Ask the processor for its record of an attempt; `done` is called exactly once, later, on the loop.

        True proves the charge: same payment, amount and instant. False proves nothing: the attempt may be asleep.
        """
        ...

    async def health(self, processor: str) -> HealthReport:
        """Ask for a health report.

        Raises:
            GatewayError: if none came: no answer in time, or something that is no report.
        """
        ...

    async def close(self) -> None:
        """Close every connection; attempts under way end as Unknown."""
        ...


class GatewayError(Exception):
    """A processor did not give what was asked for; the text says what came instead."""
