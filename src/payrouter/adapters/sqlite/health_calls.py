"""When each processor's health was last asked for, in the SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.domain.health import CALL_PAUSE_S, call_turn

if TYPE_CHECKING:
    import sqlite3

    from payrouter.adapters.sqlite.store import SqliteStore
    from payrouter.ports.clock import Clock

_REMEMBER = "INSERT INTO health_call VALUES (?, ?) ON CONFLICT DO UPDATE SET at_us = excluded.at_us"


class SqliteHealthCalls:
    """`HealthCalls` on a `SqliteStore`, by this machine's clock. The file has one router, so one caller."""

    def __init__(self, store: SqliteStore, clock: Clock, *, pause_s: float = CALL_PAUSE_S) -> None:
        self._store = store
        self._clock = clock
        self._pause_s = pause_s

    async def reserve(self, processor: str) -> float:
        """Ask for a turn: 0.0, or seconds until it is worth asking again."""

        def write(connection: sqlite3.Connection) -> float:
            row = connection.execute("SELECT at_us FROM health_call WHERE processor = ?", (processor,)).fetchone()
            turn = call_turn(row[0] if row else None, self._clock.now_us(), pause_s=self._pause_s)
            connection.execute(_REMEMBER, (processor, turn.newest_us))
            return turn.wait_s

        return await self._store.submit(write, lambda _: None)

    async def answered(self, processor: str) -> None:
        """Our call ended just now: the pause counts from here."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(_REMEMBER, (processor, self._clock.now_us()))

        await self._store.submit(write, lambda _: None)
