"""Where processes tell of themselves, and whoever watches reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.snapshot import NodeSnapshot

SHOW_EVERY_S = 0.25
"""How often a process tells."""

GONE_AFTER_S = 5.0
"""A process that has not told for so long is gone."""


class NodeBoard(Protocol):
    """Snapshots of living processes. What hangs there is worth nothing after `GONE_AFTER_S`, and may be lost."""

    async def show(self, snapshot: Callable[[], NodeSnapshot]) -> None:
        """Tell of this process, in place of what it told before. `snapshot` is not called when nobody would hear it.

        Raises:
            StoreUnavailable: if nobody can be told.
        """
        ...

    async def leave(self, node: str) -> None:
        """This process ends: take its snapshot away.

        Raises:
            StoreUnavailable: if nobody can be told; it is gone soon by itself.
        """
        ...

    async def listen(self) -> None:
        """Keep what the others tell, for ever: to be run where `nodes` is asked."""
        ...

    async def nodes(self) -> list[NodeSnapshot]:
        """Return the newest snapshot of each living process, by role and slot, with how old it is.

        Raises:
            StoreUnavailable: if it cannot be read.
        """
        ...
