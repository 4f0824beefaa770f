"""What an operator works with: the desk, the audit in the background, pausing processors."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.event_log import EventLog
from payrouter.application.audit import Books
from payrouter.application.books_watch import BooksWatch
from payrouter.application.desk import Desk, Watched
from payrouter.bootstrap.engines import opened_engine
from payrouter.bootstrap.offline import installation, processor_books
from payrouter.domain.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter.bootstrap.engines import Engine, Pause
    from payrouter.domain.processor import Processor
    from payrouter.settings import Settings


@dataclass(frozen=True, slots=True)
class Operations:
    """Everything the operator's pages need. `where` is the place of what is not settled, for people."""

    desk: Desk
    books: BooksWatch
    pause: Pause
    processors: tuple[Processor, ...]
    where: str
    clustered: bool


@asynccontextmanager
async def operations(
    settings: Settings, engine: Engine, pause: Pause, *, dispatched_elsewhere: bool
) -> AsyncIterator[Operations]:
    """Look at an installation through an open engine, for as long as somebody may want to see it."""
    clock = SystemClock()
    books = BooksWatch(
        partial(_both_books, settings), clock, EventLog(clock.monotonic_s), every_s=settings.audit_every_s
    )
    webhooks = engine.notices.waiting if engine.notices is not None else None
    watched = Watched(
        engine.nodes, engine.queue, engine.ledger, books, settings.processors, dispatched_elsewhere, webhooks
    )
    desk = Desk(watched, clock)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one()) for one in (engine.nodes.listen, desk.run, books.run)]
        yield Operations(desk, books, pause, settings.processors, engine.where, settings.clustered)
        for task in running:
            task.cancel()


@asynccontextmanager
async def running_operations(settings: Settings) -> AsyncIterator[Operations]:
    """Look at a cluster from a process of its own.

    Raises:
        InvalidSettings: on the embedded engine, which one process has to itself.
        StoreError: if the engine cannot be used.
    """
    if not settings.clustered:
        raise InvalidSettings(
            [
                "PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL must be set for payrouter admin: on a SQLite file "
                "payrouter serve shows the operator's pages itself"
            ]
        )
    async with (
        opened_engine(settings, dispatches=False) as engine,
        operations(settings, engine, engine.pause, dispatched_elsewhere=True) as running,
    ):
        yield running


@asynccontextmanager
async def _both_books(settings: Settings) -> AsyncIterator[Books]:
    async with installation(settings).books() as ours, processor_books(settings) as theirs:
        yield Books(ours, theirs, tuple(one.name for one in settings.processors))
