"""Processes of an installation in made-up time: what each is made of, its clock, and how it ends."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from payrouter_lab.simulation.universe import START_US, NodeLoop

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from payrouter_lab.simulation.universe import Universe


class HostClock:
    """`Clock` of one host: `ahead_us` is how wrong it is."""

    def __init__(self, universe: Universe, *, ahead_us: int = 0, up_for_s: float = 0.0) -> None:
        self._universe = universe
        self._up_for_s = up_for_s
        self.ahead_us = ahead_us

    def now_us(self) -> int:
        """Return what this host takes for UTC microseconds."""
        return START_US + round(self._universe.now_s * 1_000_000) + self.ahead_us

    def monotonic_s(self) -> float:
        """Return seconds since this host was started."""
        return self._universe.now_s + self._up_for_s


class Process:
    """One process. It can be killed at a step, by the step's label (`redis.begin:after`), or at any moment.

    `on_step` is told every step that is taken.
    """

    def __init__(
        self,
        universe: Universe,
        name: str,
        clock: HostClock,
        on_step: Callable[[Process, str], bool],
        on_death: Callable[[Process], None],
    ) -> None:
        self._universe = universe
        self.name = name
        self.clock = clock
        self.loop = NodeLoop(universe, name)  # type: ignore[abstract]
        self.doomed = False
        self._on_step = on_step
        self._on_death = on_death
        self._main: asyncio.Task[None] | None = None

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Begin its life with a coroutine that ends with it."""
        self._main = self.loop.create_task(main)
        self._main.add_done_callback(self._ended_by_itself)

    def _ended_by_itself(self, main: asyncio.Task[None]) -> None:
        if not self.loop.dead and not main.cancelled():
            error = main.exception()
            if error is not None:
                shown = "".join(traceback.format_exception(error, limit=-8))
                self._universe.defects.append(f"{self.name} ended by itself:\n{shown}")

    @property
    def alive(self) -> bool:
        """Whether anything it does can still be seen outside."""
        return not (self.doomed or self.loop.dead)

    def ended(self, step: str) -> bool:
        """Take a step; True when the process is no more, or dies here."""
        if not self.alive:
            return True
        if self._on_step(self, step):
            self.doom()
            return True
        return False

    def doom(self) -> None:
        """Kill it: from here on nothing of it reaches anybody."""
        if self.alive:
            self.doomed = True
            self._universe.network.call_soon(self._die)

    def _die(self) -> None:
        self.loop.kill()
        self._on_death(self)
