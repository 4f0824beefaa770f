"""Servers as processes see them: near or slow, away, hanging, losing answers; and a process's wire to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payrouter.domain.errors import StoreError, StoreUnavailable, StoreUncertain

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

    from payrouter_lab.simulation.processes import Process
    from payrouter_lab.simulation.universe import Universe

NEAR_S = (0.0002, 0.002)
STRAYS_FOR_S = 3.0
"""A call whose connection broke may still be on its way for so long."""


class Site:
    """A server. `near_s` bounds one way there; `slow_s` comes on top of it at most.

    `lossy`: the chance of each call that its connection breaks, before it arrived or after it was done.
    """

    def __init__(self, universe: Universe, chance: random.Random, name: str) -> None:
        self.universe = universe
        self.chance = chance
        self.name = name
        self.away = False
        self.lossy = 0.0
        self.slow_s = 0.0
        self.hangs_until_s = 0.0
        self.wires: list[Wire] = []

    def one_way_s(self) -> float:
        """Draw how long something takes to get there, or back."""
        draw = self.chance.random
        return NEAR_S[0] + (NEAR_S[1] - NEAR_S[0]) * draw() + (self.slow_s * draw() if self.slow_s else 0.0)

    def go_away(self) -> None:
        """Be killed: what is under way gets no answer, and nobody can connect."""
        self.away = True
        self.cut()

    def come_back(self) -> None:
        """Serve again."""
        self.away = False

    def cut(self) -> None:
        """Break every connection."""
        for wire in self.wires:
            wire.cut()


class _Call:
    """One call under way. `executes`: it will be done when it arrives."""

    __slots__ = ("answer", "executes", "label", "work")

    def __init__(self, label: str, work: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        self.label = label
        self.work = work
        self.answer = answer
        self.executes = True


class Wire:
    """A process's connection to a store. `ordered`: calls are done and answered in the order they were made in."""

    def __init__(self, process: Process, site: Site, *, ordered: bool, timeout_s: float = 2.0) -> None:
        self._process = process
        self._site = site
        self._ordered = ordered
        self._timeout_s = timeout_s
        self._under_way: dict[_Call, None] = {}
        self._arrives_s = 0.0
        self._answers_s = 0.0
        self._down_until_s = 0.0
        self.connections = 1
        site.wires.append(self)

    def ask(self, label: str, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Have `work` done at the other end, where the fate of this process changes nothing."""
        process, site = self._process, self._site
        answer = process.loop.create_future()
        if process.ended(f"{label}:before"):
            if process.loop.dead:
                _fail(answer, StoreUnavailable("this process is no more"))
            return answer
        now_s = site.universe.now_s
        if site.away or now_s < self._down_until_s:
            _fail(answer, StoreUnavailable(f"no connection to {site.name}"))
            return answer
        call = _Call(label, work, answer)
        self._under_way[call] = None
        arrives_s = max(now_s + site.one_way_s(), site.hangs_until_s)
        if self._ordered:
            arrives_s = self._arrives_s = max(arrives_s, self._arrives_s)
        site.universe.network.call_at(arrives_s, self._arrived, call)
        if arrives_s - now_s > self._timeout_s / 2:
            process.loop.call_at(now_s + self._timeout_s, self._too_late, call)
        if site.lossy and site.chance.random() < site.lossy:
            site.universe.network.call_at(now_s + site.chance.uniform(0, 2 * (arrives_s - now_s)), self.cut)
        return answer

    def _arrived(self, call: _Call) -> None:
        site = self._site
        if not call.executes:
            return
        if site.away:
            self._lose(call)
            return
        failed: StoreError | None = None
        done: Any = None
        try:
            done = call.work()
        except StoreError as error:
            failed = error
        call.executes = False
        if call not in self._under_way:
            return
        answers_s = site.universe.now_s + site.one_way_s()
        if self._ordered:
            answers_s = self._answers_s = max(answers_s, self._answers_s)
        self._process.loop.call_at(answers_s, self._answered, call, done, failed)

    def _answered(self, call: _Call, done: Any, failed: StoreError | None) -> None:
        if self._under_way.pop(call, 0) == 0 or self._process.ended(f"{call.label}:after"):
            return
        if failed is not None:
            _fail(call.answer, failed)
        elif not call.answer.done():
            call.answer.set_result(done)

    def _too_late(self, call: _Call) -> None:
        if call in self._under_way:
            self._lose(call)

    def cut(self) -> None:
        """Break the connection. What has not arrived never will, or does so late."""
        self.connections += 1
        site = self._site
        now_s, draw = site.universe.now_s, site.chance.random
        for call in list(self._under_way):
            if call.executes:
                call.executes = False
                if draw() < 0.5:
                    stray = _Call(call.label, call.work, call.answer)
                    site.universe.network.call_at(now_s + STRAYS_FOR_S * draw() ** 3, self._arrived, stray)
            self._lose(call)
        self._arrives_s = self._answers_s = now_s
        self._down_until_s = now_s + 0.2 * draw() ** 2

    def _lose(self, call: _Call) -> None:
        self._under_way.pop(call, None)
        if not self._process.loop.dead:
            error = StoreUncertain(f"lost the connection to {self._site.name}")
            self._process.loop.call_soon(_fail, call.answer, error)


def _fail(answer: asyncio.Future[Any], error: StoreError) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # nobody has to wait for it
