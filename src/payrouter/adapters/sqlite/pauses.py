"""Which processors an operator has paused, in the SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from payrouter.adapters.sqlite.store import SqliteStore
    from payrouter.ports.clock import Clock

_PAUSE = "INSERT INTO pause (processor, at_us) VALUES (?, ?) ON CONFLICT DO NOTHING"


class SqlitePauses:
    """Pauses on a `SqliteStore`: they outlast a restart."""

    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def pause(self, processor: str, *, paused: bool) -> None:
        """Write down that a processor is paused, or goes on.

        Raises:
            StoreUnavailable: if it cannot be written.
        """

        def write(connection: sqlite3.Connection) -> None:
            if paused:
                connection.execute(_PAUSE, (processor, self._clock.now_us()))
            else:
                connection.execute("DELETE FROM pause WHERE processor = ?", (processor,))

        await self._store.submit(write, lambda _: None, urgent=True)

    def paused(self) -> set[str]:
        """Return the processors that are paused."""
        return {name for (name,) in self._store.connection.execute("SELECT processor FROM pause")}
