"""Our books read from outside the router, whether or not one runs; and sending dead letters again."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from payrouter.adapters.rows import from_blob, to_blob
from payrouter.adapters.sqlite.ledger import read_payment, read_summary
from payrouter.adapters.sqlite.queue import read_dead_letters, requeue_dead_letters
from payrouter.adapters.sqlite.store import check_schema, connect, translated
from payrouter.domain.errors import InvalidInput, StoreUnavailable
from payrouter.domain.ledger import Totals
from payrouter.domain.payment import PaymentState
from payrouter.ports.books import BookEntry, UnresolvedAttempt

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from payrouter.domain.ledger import PaymentRecord
    from payrouter.domain.window import Window
    from payrouter.ports.queue import DeadLetter

T = TypeVar("T")

_SLICE_END = (
    "SELECT requested_us FROM payment WHERE state = 3 AND requested_us BETWEEN ? AND ? "
    "ORDER BY requested_us LIMIT 1 OFFSET ?"
)
_SETTLED = (
    "SELECT processor.name, payment.id, amount, requested_us FROM payment "
    "JOIN processor ON processor.id = payment.processor WHERE state = 3 AND requested_us BETWEEN ? AND ?"
)
# `state <> 3` lets SQLite use the partial index. A dead letter with a processor keeps its pin (I6).
_UNRESOLVED = (
    "FROM payment JOIN processor ON processor.id = payment.processor "
    "WHERE state <> 3 AND state IN (1, 2, 4) AND requested_us BETWEEN ? AND ?"
)
_UNSETTLED = "SELECT state, count(*) FROM payment WHERE state <> 3 GROUP BY state"


class SqliteBooks:
    """`RouterBooks` on a data file, opened for reading only; a context manager. Reads on a thread, one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_existing(path, read_only=True)

    def __enter__(self) -> SqliteBooks:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals of settled payments by processor; those without any are left out."""
        return await self._reading(lambda: read_summary(self._connection, window))

    async def slice_end_us(self, window: Window, most: int) -> int:
        """Return where to end a slice from the window's start on that holds about `most` settled payments."""
        rows = await self._reading(lambda: self._rows(_SLICE_END, (window.first_us, window.last_us, most - 1)))
        return rows[0][0] if rows else window.last_us

    async def settled(self, window: Window) -> dict[str, dict[str, BookEntry]]:
        """Return the settled payments of a window, by processor and correlationId."""
        return await self._reading(lambda: self._settled(window))

    def _settled(self, window: Window) -> dict[str, dict[str, BookEntry]]:
        found: dict[str, dict[str, BookEntry]] = {}
        for name, blob, amount, requested_us in self._rows(_SETTLED, (window.first_us, window.last_us)):
            entry = BookEntry(from_blob(blob), amount, requested_us)
            found.setdefault(name, {})[entry.correlation_id] = entry
        return found

    async def unresolved(self, window: Window, limit: int) -> tuple[dict[str, Totals], list[UnresolvedAttempt]]:
        """Return unresolved attempts of a window: totals by processor, and the first `limit` by age."""
        return await self._reading(lambda: self._unresolved(window, limit))

    def _unresolved(self, window: Window, limit: int) -> tuple[dict[str, Totals], list[UnresolvedAttempt]]:
        bounds = (window.first_us, window.last_us)
        totals = self._rows(f"SELECT processor.name, count(*), sum(amount) {_UNRESOLVED} GROUP BY 1", bounds)
        columns = "processor.name, payment.id, amount, requested_us, state"
        first = self._rows(f"SELECT {columns} {_UNRESOLVED} ORDER BY seq LIMIT ?", (*bounds, limit))
        return {name: Totals(count, amount) for name, count, amount in totals}, [
            UnresolvedAttempt(name, BookEntry(from_blob(blob), amount, requested_us), PaymentState(state).label)
            for name, blob, amount, requested_us, state in first
        ]

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return all we know of one payment."""
        return await self._reading(lambda: read_payment(self._connection, correlation_id))

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first."""
        with translated(self._path):
            return read_dead_letters(self._connection, limit)

    def unsettled(self) -> dict[PaymentState, int]:
        """Return how many payments are in each state but settled; states without any are left out."""
        return {PaymentState(state): count for state, count in self._rows(_UNSETTLED)}

    async def _reading(self, read: Callable[[], T]) -> T:
        def translating() -> T:
            with translated(self._path):
                return read()

        reading = asyncio.ensure_future(asyncio.to_thread(translating))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            # The thread reads on, and whoever gave up is about to close the connection.
            await asyncio.wait([reading])
            raise

    def _rows(self, sql: str, values: tuple[int, ...] = ()) -> list[Any]:
        with translated(self._path):
            return self._connection.execute(sql, values).fetchall()


def send_again(path: Path, correlation_ids: Sequence[str] | None) -> int:
    """Send dead letters again, all that are given or none (None: every one), and return how many.

    A router that runs on the file notices.

    Raises:
        InvalidInput: if one of them is no dead letter; says what it is instead.
    """
    with closing(open_existing(path, read_only=False)) as connection, translated(path):
        connection.execute("BEGIN IMMEDIATE")
        wrong = [finding for one in correlation_ids or () if (finding := _no_dead_letter(connection, one))]
        if wrong:
            raise InvalidInput("nothing was sent again, as there are ids of no dead letter:\n" + "\n".join(wrong))
        count = requeue_dead_letters(connection, correlation_ids)
        connection.execute("COMMIT")
        return count


def _no_dead_letter(connection: sqlite3.Connection, correlation_id: str) -> str | None:
    """Return what a payment is when it is no dead letter."""
    row = connection.execute("SELECT state FROM payment WHERE id = ?", (to_blob(correlation_id),)).fetchone()
    if row is None:
        return f"  - {correlation_id} is unknown here"
    state = PaymentState(row[0])
    return None if state is PaymentState.DEAD_LETTER else f"  - {correlation_id} is {state.label}"


def open_existing(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open an existing file of ours.

    Raises:
        StoreUnavailable: if there is none, or it cannot be read.
        StoreIncompatible: if it is not ours.
    """
    if not path.is_file():
        raise StoreUnavailable(f"there is no data file {path}; PAYROUTER_DATA names it, payrouter serve creates it")
    connection = connect(path, read_only=read_only)
    try:
        with translated(path):
            ours = check_schema(connection, path)
    except BaseException:
        connection.close()
        raise
    if not ours:
        connection.close()
        raise StoreUnavailable(f"{path} is empty; payrouter serve fills it")
    return connection
