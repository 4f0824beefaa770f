"""Accepting payments: whatever came while the last group was being made durable goes into the next one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import PaymentsAccepted, StoreFailed
from payrouter.ports.queue import Acceptance

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.payment import Payment
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink
    from payrouter.ports.queue import PaymentTaker


class Acceptor:
    """Groups payments, makes each group durable, and only then answers (I1).

    `on_accepted` is called after each group that brought something new.
    """

    largest_group = 256

    def __init__(self, queue: PaymentTaker, events: EventSink, clock: Clock, on_accepted: Callable[[], None]) -> None:
        self._queue = queue
        self._clock = clock
        self._events = events
        self._on_accepted = on_accepted
        self._waiting: list[tuple[Payment, Callable[[Acceptance | StoreUnavailable], None]]] = []
        self._wake = asyncio.Event()

    def accept(self, payment: Payment, answer: Callable[[Acceptance | StoreUnavailable], None]) -> None:
        """Take a payment; `answer` is called once it is durable, or is known not to be."""
        self._waiting.append((payment, answer))
        self._wake.set()

    async def run(self) -> None:
        """Make group after group durable, for ever."""
        while True:
            await self._wake.wait()
            group = self._waiting[: self.largest_group]
            del self._waiting[: self.largest_group]
            if not self._waiting:
                self._wake.clear()
            await self._make_durable(group)

    async def _make_durable(self, group: list[tuple[Payment, Callable[[Acceptance | StoreUnavailable], None]]]) -> None:
        payments = [payment for payment, _ in group]
        try:
            results = await self._queue.accept(payments)
        except StoreUnavailable as error:
            self._events.publish(StoreFailed("accepting payments", str(error)))
            for _, answer in group:
                answer(error)
            self._events.publish(PaymentsAccepted(payments, ["unavailable"] * len(group), self._clock.now_us()))
            return
        for (_, answer), result in zip(group, results, strict=True):
            answer(result)
        self._events.publish(PaymentsAccepted(payments, results, self._clock.now_us()))
        if Acceptance.ACCEPTED in results:
            self._on_accepted()
