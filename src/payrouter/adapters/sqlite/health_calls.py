"""When each processor's health was last asked for, in the SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from payrouter.adapters.sqlite.store import SqliteStore


class SqliteHealthCalls:
    """`HealthCalls` on a `SqliteStore`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def last_call_us(self, processor: str) -> int:
        """Return UTC microseconds of the last call, 0 when there was none."""
        row = self._store.connection.execute(
            "SELECT at_us FROM health_call WHERE processor = ?", (processor,)
        ).fetchone()
        return row[0] if row else 0

    async def record_call(self, processor: str, at_us: int) -> None:
        """Remember a call, before it is made."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO health_call VALUES (?, ?) ON CONFLICT DO UPDATE SET at_us = excluded.at_us",
                (processor, at_us),
            )

        await self._store.submit(write, lambda _: None)
