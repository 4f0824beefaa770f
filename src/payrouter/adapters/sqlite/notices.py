"""Notices in the SQLite file: written in the transaction of what they tell of, forgotten once told.

Claims need no row: one router has the file, and after a crash nobody holds anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.rows import from_blob, to_blob
from payrouter.adapters.sqlite.store import translated
from payrouter.domain.notice import LEASE_S, Notice
from payrouter.domain.payment import PaymentState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from payrouter.adapters.sqlite.store import SqliteStore
    from payrouter.ports.clock import Clock

TRIM_AT_ONCE = 1000

_NOTE = (
    "INSERT INTO notice (id, event, at_us, due_us) VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET at_us = excluded.at_us, due_us = excluded.due_us, tries = 0"
)
_DUE = "SELECT id, event, at_us, tries FROM notice WHERE due_us <= ? ORDER BY due_us LIMIT ?"
_END = "DELETE FROM notice WHERE id = ? AND event = ? AND at_us = ?"
_PUT_OFF = "UPDATE notice SET due_us = ?, tries = tries + 1 WHERE id = ? AND event = ? AND at_us = ?"
_WAITING = "SELECT count(*), min(at_us) FROM notice"
_TRIM = (
    "DELETE FROM notice WHERE (id, event) IN "
    "(SELECT id, event FROM notice ORDER BY due_us LIMIT max(min((SELECT count(*) FROM notice) - ?, ?), 0))"
)


def note(connection: sqlite3.Connection, event: PaymentState, told: Iterable[tuple[str, int]]) -> None:
    """Write notices of payments with the instants of what happened to them, inside the caller's transaction."""
    rows = [(to_blob(correlation_id), int(event), at_us, at_us) for correlation_id, at_us in told]
    if rows:
        connection.executemany(_NOTE, rows)


class SqliteNotices:
    """`Notices` on a `SqliteStore`."""

    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._claimed: dict[tuple[str, int, int], float] = {}
        """Until which monotonic second: by payment, event and instant."""

    async def claim(self, limit: int) -> list[Notice]:
        """Take up to `limit` notices that are due, those due longest first."""
        now_s = self._clock.monotonic_s()
        self._claimed = {key: until_s for key, until_s in self._claimed.items() if until_s > now_s}
        claimed: list[Notice] = []
        most = max(limit, 0) + len(self._claimed)
        with translated(self._store.path):
            rows = self._store.connection.execute(_DUE, (self._clock.now_us(), most)).fetchall()
        for blob, event, at_us, tries in rows:
            notice = Notice(from_blob(blob), PaymentState(event), at_us, tries)
            if len(claimed) < limit and _key(notice) not in self._claimed:
                self._claimed[_key(notice)] = now_s + LEASE_S
                claimed.append(notice)
        return claimed

    async def delivered(self, notices: Sequence[Notice]) -> None:
        """Forget claimed notices: they were told, or given up."""
        rows = [(to_blob(one.correlation_id), int(one.event), one.at_us) for one in notices]

        def ended(_: object) -> None:
            for one in notices:
                self._claimed.pop(_key(one), None)

        await self._store.submit(lambda connection: connection.executemany(_END, rows), ended)

    async def failed(self, notice: Notice, again_in_s: float) -> None:
        """Make a claimed notice due in so many seconds, with one failed try more."""
        due_us = self._clock.now_us() + round(again_in_s * 1_000_000)
        row = (due_us, to_blob(notice.correlation_id), int(notice.event), notice.at_us)

        def ended(_: object) -> None:
            self._claimed.pop(_key(notice), None)

        await self._store.submit(lambda connection: connection.execute(_PUT_OFF, row), ended)

    async def waiting(self) -> tuple[int, int | None]:
        """Return how many there are, and since when (UTC us) the oldest waits."""
        with translated(self._store.path):
            count, oldest_us = await self._store.read(lambda connection: connection.execute(_WAITING).fetchone())
        return count, oldest_us

    async def trim(self, keep: int) -> int:
        """Give up those due longest until `keep` are left, some thousand a call; return how many."""
        return await self._store.submit(
            lambda connection: connection.execute(_TRIM, (keep, TRIM_AT_ONCE)).rowcount, lambda _: None
        )


def _key(notice: Notice) -> tuple[str, int, int]:
    return notice.correlation_id, int(notice.event), notice.at_us
