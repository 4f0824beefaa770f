"""The composition root: the only place that knows which adapters are in use."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.http.books import HttpBooks
from payrouter.adapters.http.gateway import HttpGateway
from payrouter.adapters.sqlite.books import SqliteBooks, send_again
from payrouter.adapters.sqlite.file_report import FileReport, report_on
from payrouter.adapters.sqlite.health_calls import SqliteHealthCalls
from payrouter.adapters.sqlite.ledger import SqliteLedger
from payrouter.adapters.sqlite.queue import SqliteQueue
from payrouter.adapters.sqlite.rows import ProcessorIds
from payrouter.adapters.sqlite.store import SqliteStore, translated
from payrouter.application.accept import Acceptor
from payrouter.application.dispatch import Dispatcher, Ports
from payrouter.application.health import HealthPoller
from payrouter.domain.board import ProcessorBoard
from payrouter.domain.events import Purged
from payrouter.domain.limiter import Limiter
from payrouter.domain.processor import Processor, by_fee
from payrouter.domain.routing import LatencyRatio, LeastCost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.routing import Policy
    from payrouter.domain.window import Window
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.queue import PaymentQueue
    from payrouter.settings import Settings


FLUSH_WITHIN_S = 0.5
"""How long a reader waits for the latest answers to be durable; with the store away it reads what is there."""


@dataclass(slots=True)
class Router:
    """A running router, as its entrypoints see it. `processors` are in the operator's order."""

    processors: tuple[Processor, ...]
    queue_limit: int
    clock: Clock
    events: EventSink
    queue: PaymentQueue
    ledger: Ledger
    acceptor: Acceptor
    dispatcher: Dispatcher
    boards: dict[str, ProcessorBoard]

    @property
    def processor_names(self) -> tuple[str, ...]:
        """Names, in the operator's order."""
        return tuple(one.name for one in self.processors)

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name, every answer received so far included."""
        await self.dispatcher.flush(FLUSH_WITHIN_S)
        return await self.ledger.summary(window)

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, every answer received so far included."""
        await self.dispatcher.flush(FLUSH_WITHIN_S)
        return await self.ledger.find(correlation_id)

    async def purge(self) -> None:
        """Forget every payment, everywhere."""
        await self.queue.purge()
        self.dispatcher.forget()
        self.events.publish(Purged())


def policy_of(settings: Settings) -> Policy:
    """Return the routing policy that the settings name."""
    return LatencyRatio() if settings.policy == "latency-ratio" else LeastCost(settings.patience_s)


@asynccontextmanager
async def running_router(settings: Settings, events: EventSink) -> AsyncIterator[Router]:
    """Run a router on the embedded engine; at the end let what is in flight finish, within the stop bound.

    Raises:
        StoreInUse, StoreIncompatible, StoreUnavailable: the file cannot be used.
    """
    store = SqliteStore(settings.data)
    names = tuple(one.name for one in settings.processors)
    with translated(settings.data):
        ids = ProcessorIds(store.connection, names)
        queue = SqliteQueue(store, ids, limit=settings.queue_limit)
    ledger = SqliteLedger(store, ids, queue)
    clock = SystemClock()
    boards = {
        one.name: ProcessorBoard(
            one, latency_ceiling_ms=settings.latency_ceiling_ms, limiter=Limiter(most=settings.max_in_flight)
        )
        for one in by_fee(settings.processors)
    }
    gateway = HttpGateway(
        settings.processors,
        attempt_timeout_s=settings.attempt_timeout_s,
        # Repeats of pinned payments may exceed the limit by a few.
        connections=settings.max_in_flight + 16,
    )
    dispatcher = Dispatcher(Ports(queue, ledger, gateway, clock, events), boards, policy_of(settings))
    acceptor = Acceptor(queue, events, dispatcher.wake)
    poller = HealthPoller(gateway, SqliteHealthCalls(store), clock, events, dispatcher.wake)
    router = Router(
        settings.processors, settings.queue_limit, clock, events, queue, ledger, acceptor, dispatcher, boards
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(acceptor.run()),
                tasks.create_task(dispatcher.run()),
                tasks.create_task(poller.run(boards)),
                tasks.create_task(store.checkpoint_forever()),
            ]
            yield router
            await dispatcher.drain(settings.stop_timeout_s)
            for task in running:
                task.cancel()
    finally:
        await gateway.close()
        store.close()


# -- what the command line needs beside a router, running or not


def open_books(settings: Settings) -> SqliteBooks:
    """Return our books, for reading only; close them as a context manager does.

    Raises:
        StoreUnavailable, StoreIncompatible: there are none, or they are not ours.
    """
    return SqliteBooks(settings.data)


def data_report(settings: Settings) -> FileReport:
    """Return what can be said about the data file without writing to it."""
    return report_on(settings.data)


def retry_dead_letters(settings: Settings, correlation_ids: Sequence[str] | None) -> int:
    """Send dead letters again (all when None) and return how many; a running router notices within seconds.

    Raises:
        InvalidInput: if one of them is no dead letter; then nothing was changed.
    """
    return send_again(settings.data, correlation_ids)


@asynccontextmanager
async def processor_books(settings: Settings, *, within_s: float = 15.0) -> AsyncIterator[HttpBooks]:
    """Give the books of every configured processor; an answer may take `within_s`."""
    books = HttpBooks(settings.processors, within_s=within_s)
    try:
        yield books
    finally:
        await books.close()
