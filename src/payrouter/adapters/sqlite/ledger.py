"""The ledger, its roll-ups and its summary in the SQLite file."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from payrouter.adapters.rows import from_blob, read_failures, to_blob
from payrouter.domain.ledger import PaymentRecord, Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import ROLLUP_SHIFTS, Cover, Window, cover

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from payrouter.adapters.sqlite.queue import SqliteQueue
    from payrouter.adapters.sqlite.rows import ProcessorIds
    from payrouter.adapters.sqlite.store import SqliteStore
    from payrouter.domain.ledger import Settlement

# The instant is part of the condition: an answer to an attempt from before a purge settles nothing new. Nor
# does one to an attempt that was resolved: a dead letter has a processor only while its attempt is not.
_SETTLE = (
    "UPDATE payment SET state = 3, settled_us = ?, latency_us = ? "
    "WHERE id = ? AND state IN (1, 2, 4) AND processor = ? AND requested_us = ?"
)
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
    """`Ledger` on a `SqliteStore`."""

    def __init__(self, store: SqliteStore, processors: ProcessorIds, queue: SqliteQueue) -> None:
        self._store = store
        self._processors = processors
        self._queue = queue

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges; False where the payment was settled before or is no longer known."""

        def committed(written: list[bool]) -> None:
            new = (one for one, done in zip(settlements, written, strict=True) if done)
            self._queue.settled(one.intent.delivery.correlation_id for one in new)

        return await self._store.submit(lambda connection: self._settle(connection, settlements), committed)

    def _settle(self, connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> list[bool]:
        ids, execute = self._processors.by_name, connection.execute
        totals: defaultdict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0])
        written: list[bool] = []
        for settlement in settlements:
            intent = settlement.intent
            processor, requested_us = ids[intent.processor], intent.requested_us
            blob = to_blob(intent.delivery.correlation_id)
            latency_us = int(settlement.latency_ms * 1000)
            done = execute(_SETTLE, (settlement.settled_us, latency_us, blob, processor, requested_us)).rowcount == 1
            written.append(done)
            if done:
                for shift in ROLLUP_SHIFTS:
                    total = totals[shift, requested_us >> shift, processor]
                    total[0] += 1
                    total[1] += intent.delivery.amount_minor
        connection.executemany(_ROLL_UP, [(*key, count, amount) for key, (count, amount) in totals.items()])
        return written

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name; every processor with a settled payment in the window is in it.

        An answer already received from a processor is in it.
        """
        return await self._store.read(lambda connection: read_summary(connection, window))

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, settled or not."""
        return read_payment(self._store.connection, correlation_id)


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
