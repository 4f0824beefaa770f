"""Asking each processor for its health, politely: at most one call per 5 s (I8), whatever the endpoint does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import HealthCallFailed, StoreFailed
from payrouter.ports.gateway import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.board import ProcessorBoard
    from payrouter.ports.clock import Clock
    from payrouter.ports.coordination import HealthCalls
    from payrouter.ports.events import EventSink
    from payrouter.ports.gateway import ProcessorGateway

BETWEEN_CALLS_S = 5.0
MARGIN_S = 0.05


class HealthPoller:
    """One task per processor. A hanging endpoint delays its own next call and nothing else."""

    def __init__(
        self,
        gateway: ProcessorGateway,
        calls: HealthCalls,
        clock: Clock,
        events: EventSink,
        on_report: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._calls = calls
        self._clock = clock
        self._events = events
        self._on_report = on_report

    async def run(self, boards: dict[str, ProcessorBoard]) -> None:
        """Poll every processor, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for name, board in boards.items():
                tasks.create_task(self._poll_forever(name, board))

    async def _poll_forever(self, name: str, board: ProcessorBoard) -> None:
        since_last_s = (self._clock.now_us() - await self._calls.last_call_us(name)) / 1_000_000
        # Never longer than one pause: a clock that was set back must not silence us.
        await asyncio.sleep(min(max(0.0, BETWEEN_CALLS_S + MARGIN_S - since_last_s), BETWEEN_CALLS_S + MARGIN_S))
        while True:
            await self._poll_once(name, board)
            # Counted from the answer: a call that was held has used up the window it was answered in.
            await asyncio.sleep(BETWEEN_CALLS_S + MARGIN_S)

    async def _poll_once(self, name: str, board: ProcessorBoard) -> None:
        try:
            await self._calls.record_call(name, self._clock.now_us())
            report = await self._gateway.health(name)
        except GatewayError as error:
            # No news is no news: real payments teach what the endpoint does not say.
            self._events.publish(HealthCallFailed(name, str(error)))
        except StoreUnavailable as error:
            self._events.publish(StoreFailed("recording a health call", str(error)))
        else:
            board.reported(report, self._clock.monotonic_s())
            self._on_report()
