"""Asking each processor for its health, politely: at most one call per 5 s (I8), whatever the endpoint does.

Where several processes share the duty, only the leader runs this (`leadership.py`), and `HealthCalls` decides.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import HealthCallFailed, StoreFailed
from payrouter.domain.health import CALL_PAUSE_S, LEAVES_WITHIN_S
from payrouter.ports.gateway import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from payrouter.domain.board import ProcessorBoard
    from payrouter.domain.health import HealthReport
    from payrouter.ports.clock import Clock
    from payrouter.ports.coordination import HealthCalls
    from payrouter.ports.events import EventSink
    from payrouter.ports.gateway import ProcessorGateway

RESERVED_WITHIN_S = LEAVES_WITHIN_S / 4
"""A reservation that took longer is not used: the rest of the time is the connection's to open in."""

STORE_RETRY_S = 1.0


class HealthPoller:
    """One task per processor. A hanging endpoint delays its own next call and nothing else.

    Reports go onto our own boards at once (`on_report` is called then), and to the other dispatchers by `post`.
    """

    def __init__(  # noqa: PLR0913 - what it asks with, and whom it tells
        self,
        gateway: ProcessorGateway,
        calls: HealthCalls,
        clock: Clock,
        events: EventSink,
        on_report: Callable[[], None],
        *,
        post: Callable[[str, HealthReport], Awaitable[object]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._calls = calls
        self._clock = clock
        self._events = events
        self._on_report = on_report
        self._post = post
        self._rest_until_s: dict[str, float] = {}

    async def run(self, boards: dict[str, ProcessorBoard]) -> None:
        """Poll every processor, until cancelled. May be run again afterwards."""
        async with asyncio.TaskGroup() as tasks:
            for name, board in boards.items():
                tasks.create_task(self._poll_forever(name, board))

    async def _poll_forever(self, name: str, board: ProcessorBoard) -> None:
        while True:
            # What we know ourselves holds even when the store has forgotten or its clock has jumped.
            now_s = self._clock.monotonic_s()
            await asyncio.sleep(self._rest_until_s.get(name, now_s) - now_s)
            asked_s = self._clock.monotonic_s()
            try:
                wait_s = await self._calls.reserve(name)
            except StoreUnavailable as error:
                self._events.publish(StoreFailed("reserving a health call", str(error)))
                wait_s = STORE_RETRY_S
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif self._clock.monotonic_s() - asked_s <= RESERVED_WITHIN_S:
                await self._call(name, board)
            # Else this process was stopped meanwhile, and by now another may be about to call.

    async def _call(self, name: str, board: ProcessorBoard) -> None:
        report = None
        try:
            report = await self._gateway.health(name)
        except GatewayError as error:
            # No news is no news: real payments teach what the endpoint does not say.
            self._events.publish(HealthCallFailed(name, str(error)))
        finally:
            # Counted from the answer: a call that was held has used up the window it was answered in.
            self._rest_until_s[name] = self._clock.monotonic_s() + CALL_PAUSE_S
        if report is not None:
            board.reported(report, self._clock.monotonic_s())
            self._on_report()
        try:
            await self._calls.answered(name)
            if report is not None and self._post is not None:
                await self._post(name, report)
        except StoreUnavailable as error:
            self._events.publish(StoreFailed("telling a health call's end", str(error)))
