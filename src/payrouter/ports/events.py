"""Where facts go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from payrouter.domain.events import Event


class EventSink(Protocol):
    """Takes facts; must be quick and must not raise."""

    def publish(self, event: Event) -> None:
        """Take one fact."""
        ...
