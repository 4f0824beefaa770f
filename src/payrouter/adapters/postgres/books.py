"""The settled side of our books, read from PostgreSQL, whether or not a router runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.statements import SETTLED, SLICE_END
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.ports.books import BookEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.window import Window

READ_WITHIN_S = 30.0


class PostgresBooks:
    """What `RouterBooks` says of settled payments; unresolved attempts are not in PostgreSQL."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._ledger = PostgresLedger(store)

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals of settled payments by processor; those without any are left out."""
        return await self._ledger.summary(window)

    async def slice_end_us(self, window: Window, most: int) -> int:
        """Return where to end a slice from the window's start on that holds about `most` settled payments."""
        found = await self._store.fetch(SLICE_END, window.first_us, window.last_us, most - 1)
        return int(found[0][0]) if found else window.last_us

    async def settled(self, window: Window) -> dict[str, dict[str, BookEntry]]:
        """Return the settled payments of a window, by processor and correlationId."""
        found: dict[str, dict[str, BookEntry]] = {}
        for name, number, amount, requested_us in await self._store.fetch(SETTLED, window.first_us, window.last_us):
            entry = BookEntry(str(number), amount, requested_us)
            found.setdefault(name, {})[entry.correlation_id] = entry
        return found

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return all we know of one payment that is settled; None for any other."""
        return await self._ledger.find(correlation_id)


@asynccontextmanager
async def open_books(url: str, *, within_s: float = 5.0) -> AsyncIterator[PostgresBooks]:
    """Give the books of a database, for reading only; a replica serves as well.

    Raises:
        StoreUnavailable: it did not answer within `within_s`.
        StoreMisconfigured, StoreIncompatible: it cannot be used, or is not ours.
    """
    access = Access(url, name="payrouter books", call_timeout_s=READ_WITHIN_S, writes=False)
    store = PostgresStore(access, connections=1)
    try:
        await store.open(within_s)
        yield PostgresBooks(store)
    finally:
        await store.close()
