"""The node board of a router that is one process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.snapshot import NodeSnapshot
    from payrouter.ports.clock import Clock


class LocalNodes:
    """`NodeBoard` in memory: there is one process, and it can be seen for as long as it lives."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[str, NodeSnapshot] = {}

    async def show(self, snapshot: Callable[[], NodeSnapshot]) -> None:
        """Tell of this process."""
        told = snapshot()
        self._nodes[told.node] = told

    async def listen(self) -> None:
        """There is nobody else to listen to."""
        await asyncio.get_running_loop().create_future()

    async def leave(self, node: str) -> None:
        """This process ends."""
        self._nodes.pop(node, None)

    async def nodes(self) -> list[NodeSnapshot]:
        """Return what it told last."""
        now_us = self._clock.now_us()
        return [replace(one, seen_s_ago=max(0, now_us - one.at_us) / 1_000_000) for one in self._nodes.values()]
