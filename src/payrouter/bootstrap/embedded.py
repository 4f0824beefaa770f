"""The embedded engine: one SQLite file, one process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.local_nodes import LocalNodes
from payrouter.adapters.sqlite.health_calls import SqliteHealthCalls
from payrouter.adapters.sqlite.ledger import SqliteLedger
from payrouter.adapters.sqlite.notices import SqliteNotices
from payrouter.adapters.sqlite.pauses import SqlitePauses
from payrouter.adapters.sqlite.queue import SqliteQueue
from payrouter.adapters.sqlite.rows import ProcessorIds
from payrouter.adapters.sqlite.store import SqliteStore, translated
from payrouter.application.dispatch import Pace
from payrouter.bootstrap.engines import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter.ports.notices import Notices
    from payrouter.settings import Settings


@asynccontextmanager
async def embedded_engine(settings: Settings) -> AsyncIterator[Engine]:
    """Open the SQLite file.

    Raises:
        StoreError: if it cannot be used; the text says why.
    """
    store = SqliteStore(settings.data)
    try:
        with translated(settings.data):
            ids = ProcessorIds(store.connection, tuple(one.name for one in settings.processors))
            queue = SqliteQueue(store, ids, limit=settings.queue_limit, notices=bool(settings.webhook_url))
        ledger = SqliteLedger(store, ids, queue, notices=bool(settings.webhook_url))
        pace = Pace(gather_s=settings.gather_s)
        tasks = (store.checkpoint_forever,)
        with translated(settings.data):
            pauses = SqlitePauses(store, SystemClock())
            paused = frozenset(pauses.paused())
        yield Engine(
            queue, ledger, SqliteHealthCalls(store, SystemClock()), pace, str(settings.data), tasks,
            LocalNodes(SystemClock()), pauses.pause, paused, notices=_notices(settings, store),
        )  # fmt: skip
    finally:
        store.close()


def _notices(settings: Settings, store: SqliteStore) -> Notices | None:
    return SqliteNotices(store, SystemClock()) if settings.webhook_url else None
