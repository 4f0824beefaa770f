"""Pinned payments: attempts of unknown outcome, repeated where they are until the processor proves the charge (I6).

Few by nature: the breaker opens after a few unknown outcomes, and from then on a pinned payment is the probe.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

from payrouter.domain.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.attempt import Intent
    from payrouter.domain.board import ProcessorBoard
    from payrouter.ports.clock import Clock

FIRST_REPEAT_S = 0.1
LONGEST_REPEAT_S = 5.0
LOOK_EVERY_S = 0.05


class Pins:
    """Repeats pinned attempts, with a growing pause per payment, whenever their processor's breaker allows."""

    def __init__(self, boards: dict[str, ProcessorBoard], clock: Clock, send: Callable[[Intent], None]) -> None:
        self._boards = boards
        self._clock = clock
        self._send = send
        self._due: dict[str, list[tuple[float, int, Intent]]] = {name: [] for name in boards}
        # By payment: how often it was repeated, and the instant of its attempt.
        self._repeats: dict[str, tuple[int, int]] = {}
        self._order = 0
        self._wake = asyncio.Event()
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Pinned attempts that wait for their next repeat."""
        return sum(len(due) for due in self._due.values())

    @property
    def unresolved(self) -> tuple[int, int | None]:
        """Pinned attempts, those being repeated right now included, and the instant of the oldest (UTC us)."""
        return len(self._repeats), min((at_us for _, at_us in self._repeats.values()), default=None)

    def add(self, intent: Intent) -> None:
        """Take an attempt of unknown outcome; the first repeat comes soon, later ones less often."""
        repeats, _ = self._repeats.get(intent.delivery.correlation_id, (0, 0))
        self._repeats[intent.delivery.correlation_id] = repeats + 1, intent.requested_us
        pause_s = min(LONGEST_REPEAT_S, FIRST_REPEAT_S * 2**repeats)
        self._order += 1
        heapq.heappush(self._due[intent.processor], (self._clock.monotonic_s() + pause_s, self._order, intent))
        self._count(intent.processor)
        self._wake.set()

    def resolved(self, correlation_id: str) -> None:
        """Forget how often a payment was repeated: it is pinned no more."""
        self._repeats.pop(correlation_id, None)

    def clear(self) -> None:
        """Forget everything."""
        for name, due in self._due.items():
            due.clear()
            self._count(name)
        self._repeats.clear()

    def stop(self) -> None:
        """Repeat nothing more; what is pinned stays in the store."""
        self._stopping = True

    async def run(self) -> None:
        """Repeat what is due, for ever."""
        while True:
            await self._wake.wait()
            while self.waiting and not self._stopping:
                for name in self._due:
                    self._repeat_due(name)
                await asyncio.sleep(LOOK_EVERY_S)
            self._wake.clear()

    def _repeat_due(self, name: str) -> None:
        board, due = self._boards[name], self._due[name]
        while due:
            now_s = self._clock.monotonic_s()
            if not board.may_repeat(now_s):
                return
            # At a half-open breaker whichever is next is the probe, due or not.
            closed = board.breaker.state(now_s) is BreakerState.CLOSED
            if closed and (due[0][0] > now_s or board.limiter.free == 0):
                return
            intent = heapq.heappop(due)[2]
            self._count(name)
            self._send(intent)

    def _count(self, name: str) -> None:
        self._boards[name].pinned = len(self._due[name])
