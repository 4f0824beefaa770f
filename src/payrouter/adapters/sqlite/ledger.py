"""The ledger, its roll-ups and its summary in the SQLite file."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from payrouter.adapters.rows import from_blob, read_failures, to_blob
from payrouter.adapters.sqlite.notices import note
from payrouter.domain.ledger import PaymentRecord, Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import ROLLUP_SHIFTS, Cover, Window, cover

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from payrouter.adapters.sqlite.queue import SqliteQueue
    from payrouter.adapters.sqlite.rows import ProcessorIds
    from payrouter.adapters.sqlite.store import SqliteStore
    from payrouter.domain.ledger import Settlement

# The instant is part of the condition: an answer to an attempt from before a purge settles nothing new.
# A dead letter without a pin has none.
_SETTLE = (
    "UPDATE payment SET state = 3, settled_us = ?, latency_us = ? "
    "WHERE id = ? AND state IN (1, 2, 4) AND processor = ? AND requested_us = ?"
)
# `begin` has the same condition on the state, and one transaction at a time writes: never both.
_SETTLE_WAITING = (
    "UPDATE payment SET state = 3, settled_us = ?, latency_us = ?, processor = ?, requested_us = ?, reason = ?, "
    "attempts = attempts + 1 WHERE id = ? AND state = 0 AND amount = ?"
)
_IS_SETTLED = "SELECT 1 FROM payment WHERE id = ? AND state = 3"
_ROLL_UP = (
    "INSERT INTO rollup (shift, bucket, processor, count, amount) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET count = count + excluded.count, amount = amount + excluded.amount"
)
_BUCKETS = (
    "SELECT processor, sum(count), sum(amount) FROM rollup "
    "WHERE shift = ? AND bucket BETWEEN ? AND ? GROUP BY processor"
)
_EDGE = (
    "SELECT processor, count(*), sum(amount) FROM payment "
    "WHERE state = 3 AND requested_us BETWEEN ? AND ? GROUP BY processor"
)
_FIND = (
    "SELECT payment.id, amount, accepted_us, state, attempts, processor.name, requested_us, settled_us, latency_us, "
    "reason, failures FROM payment LEFT JOIN processor ON processor.id = payment.processor WHERE payment.id = ?"
)


class SqliteLedger:
    """`Ledger` on a `SqliteStore`. With `notices` on it writes one of each payment that settles."""

    def __init__(
        self, store: SqliteStore, processors: ProcessorIds, queue: SqliteQueue, *, notices: bool = False
    ) -> None:
        self._store = store
        self._processors = processors
        self._queue = queue
        self._notices = notices

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges whose attempts stand; False where there is no such attempt, as it was settled before."""

        def work(connection: sqlite3.Connection) -> tuple[list[bool], list[str]]:
            written = settle(connection, self._processors.by_name, settlements, notices=self._notices)
            return written, _over(connection, settlements, written)

        written, _ = await self._store.submit(work, lambda outcome: self._queue.settled(outcome[1]))
        return written

    async def settle_waiting(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges of payments that wait and of which no attempt stands."""

        def committed(written: list[bool]) -> None:
            new = (one for one, done in zip(settlements, written, strict=True) if done)
            self._queue.settled_waiting({one.intent.delivery.correlation_id for one in new})

        def work(connection: sqlite3.Connection) -> list[bool]:
            return settle_waiting(connection, self._processors.by_name, settlements, notices=self._notices)

        return await self._store.submit(work, committed)

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name; every processor with a settled payment in the window is in it.

        An answer already received from a processor is in it.
        """
        return await self._store.read(lambda connection: read_summary(connection, window))

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, settled or not."""
        return read_payment(self._store.connection, correlation_id)


def settle(
    connection: sqlite3.Connection,
    processors: Mapping[str, int],
    settlements: Sequence[Settlement],
    *,
    notices: bool = False,
) -> list[bool]:
    """Write charges whose attempts stand, inside the caller's transaction; `processors` are numbers by name."""
    written: list[bool] = []
    for one in settlements:
        intent = one.intent
        where = (to_blob(intent.delivery.correlation_id), processors[intent.processor], intent.requested_us)
        written.append(connection.execute(_SETTLE, (one.settled_us, _latency_us(one), *where)).rowcount == 1)
    _roll_up(connection, processors, settlements, written)
    if notices:
        _note_settled(connection, settlements, written)
    return written


def settle_waiting(
    connection: sqlite3.Connection,
    processors: Mapping[str, int],
    settlements: Sequence[Settlement],
    *,
    notices: bool = False,
) -> list[bool]:
    """Write charges of payments that wait, inside the caller's transaction; `processors` are numbers by name."""
    written: list[bool] = []
    for one in settlements:
        intent, delivery = one.intent, one.intent.delivery
        attempt = (processors[intent.processor], intent.requested_us, intent.reason)
        where = (to_blob(delivery.correlation_id), delivery.amount_minor)
        values = (one.settled_us, _latency_us(one), *attempt, *where)
        written.append(connection.execute(_SETTLE_WAITING, values).rowcount == 1)
    _roll_up(connection, processors, settlements, written)
    if notices:
        _note_settled(connection, settlements, written)
    return written


def _note_settled(connection: sqlite3.Connection, settlements: Sequence[Settlement], written: Sequence[bool]) -> None:
    new = (one for one, done in zip(settlements, written, strict=True) if done)
    note(connection, PaymentState.SETTLED, [(one.intent.delivery.correlation_id, one.settled_us) for one in new])


def _latency_us(settlement: Settlement) -> int:
    return int(settlement.latency_ms * 1000)


def _roll_up(
    connection: sqlite3.Connection,
    processors: Mapping[str, int],
    settlements: Sequence[Settlement],
    written: Sequence[bool],
) -> None:
    totals: defaultdict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for settlement, done in zip(settlements, written, strict=True):
        if done:
            intent = settlement.intent
            for shift in ROLLUP_SHIFTS:
                total = totals[shift, intent.requested_us >> shift, processors[intent.processor]]
                total[0] += 1
                total[1] += intent.delivery.amount_minor
    connection.executemany(_ROLL_UP, [(*key, count, amount) for key, (count, amount) in totals.items()])


def _over(connection: sqlite3.Connection, settlements: Sequence[Settlement], written: Sequence[bool]) -> list[str]:
    """Return the payments that are settled: now, or before by somebody else who writes to the file."""
    ids = [one.intent.delivery.correlation_id for one in settlements]
    return [
        one
        for one, done in zip(ids, written, strict=True)
        if done or connection.execute(_IS_SETTLED, (to_blob(one),)).fetchone()
    ]


def read_summary(connection: sqlite3.Connection, window: Window) -> dict[str, Totals]:
    """Return totals by processor name, from one snapshot of the file."""
    totals: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    connection.execute("BEGIN")
    try:
        for processor, count, amount in _pieces(connection, cover(window)):
            totals[processor][0] += count
            totals[processor][1] += amount
        names: dict[int, str] = dict(connection.execute("SELECT id, name FROM processor"))
    finally:
        connection.execute("COMMIT")
    return {names[number]: Totals(count, amount) for number, (count, amount) in totals.items()}


def _pieces(connection: sqlite3.Connection, covering: Cover) -> list[tuple[int, int, int]]:
    rows: list[tuple[int, int, int]] = []
    for buckets in covering.buckets:
        rows += connection.execute(_BUCKETS, (buckets.shift, buckets.first, buckets.last))
    for edge in covering.edges:
        rows += connection.execute(_EDGE, (edge.first_us, edge.last_us))
    return rows


def read_payment(connection: sqlite3.Connection, correlation_id: str) -> PaymentRecord | None:
    """Return what the file knows of a payment."""
    row = connection.execute(_FIND, (to_blob(correlation_id),)).fetchone()
    if row is None:
        return None
    (
        blob,
        amount,
        accepted_us,
        state,
        attempts,
        processor,
        requested_us,
        settled_us,
        latency_us,
        reason,
        failures,
    ) = row
    return PaymentRecord(
        correlation_id=from_blob(blob),
        amount_minor=amount,
        accepted_us=accepted_us,
        state=PaymentState(state),
        attempts=attempts,
        processor=processor,
        requested_us=requested_us,
        settled_us=settled_us,
        latency_ms=None if latency_us is None else latency_us / 1000,
        reason=reason,
        failures=read_failures(failures),
    )
