"""Writing outcomes into the books, in batches, until it has worked.

After a charge the ledger write may fail. The charge is a fact then: it is written again and again, never re-sent
as new and never dropped; should we die first, the standing intent is repeated and answered `422`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import PaymentsSettled, StoreFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.attempt import FailedAttempt
    from payrouter.domain.ledger import Settlement
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.queue import PaymentQueue

RETRY_S = 0.25

LATE_US = 1_000_000
"""An attempt that took longer may be in a window that somebody is comparing right now: it does not gather."""


class Recorder:
    """Outcomes waiting to be durable. The dispatcher bounds how many.

    Nobody waits for them, so they gather for `gather_s`: one batch touches each roll-up and index page once.
    `on_concluded` is called once failed attempts are durable: their payments may be back in the queue.
    """

    def __init__(  # noqa: PLR0913 - what it writes to, and when
        self,
        queue: PaymentQueue,
        ledger: Ledger,
        events: EventSink,
        clock: Clock,
        on_concluded: Callable[[], None],
        *,
        gather_s: float = 0.02,
    ) -> None:
        self._gather_s = gather_s
        self._queue = queue
        self._ledger = ledger
        self._events = events
        self._clock = clock
        self._on_concluded = on_concluded
        self._settlements: list[Settlement] = []
        self._failures: list[FailedAttempt] = []
        self._writing = 0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._flushed: list[asyncio.Future[None]] = []

    @property
    def unrecorded(self) -> int:
        """Outcomes that are not durable yet."""
        return len(self._settlements) + len(self._failures) + self._writing

    def settle(self, settlement: Settlement) -> None:
        """Take a charge."""
        self._settlements.append(settlement)
        self._wake.set()
        if settlement.settled_us - settlement.intent.requested_us > LATE_US:
            self._hurry.set()

    def fail(self, failure: FailedAttempt) -> None:
        """Take an attempt that did not charge. Its payment can only be sent again once that is written: hurry."""
        self._failures.append(failure)
        self._wake.set()
        self._hurry.set()

    async def flush(self, within_s: float) -> None:
        """Return once every outcome received so far is durable, or after `within_s` when the store is away."""
        if not self.unrecorded:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushed.append(done)
        self._wake.set()
        self._hurry.set()
        await asyncio.wait((done,), timeout=within_s)

    async def run(self) -> None:
        """Write batch after batch, for ever."""
        while True:
            await self._wake.wait()
            await self._gather()
            settlements, self._settlements = self._settlements, []
            failures, self._failures = self._failures, []
            flushed, self._flushed = self._flushed, []
            self._writing = len(settlements) + len(failures)
            await asyncio.gather(self._until_written(settlements), self._until_concluded(failures))
            self._writing = 0
            for future in flushed:
                if not future.done():
                    future.set_result(None)

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(self._gather_s):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        self._hurry.clear()

    async def _until_written(self, settlements: list[Settlement]) -> None:
        while settlements:
            try:
                written = await self._ledger.settle(settlements)
            except StoreUnavailable as error:
                self._events.publish(StoreFailed("settling", str(error)))
                await asyncio.sleep(RETRY_S)
            else:
                self._events.publish(PaymentsSettled(settlements, written, self._clock.now_us()))
                return

    async def _until_concluded(self, failures: list[FailedAttempt]) -> None:
        while failures:
            try:
                await self._queue.conclude(failures)
            except StoreUnavailable as error:
                self._events.publish(StoreFailed("recording failed attempts", str(error)))
                await asyncio.sleep(RETRY_S)
            else:
                self._on_concluded()
                return
