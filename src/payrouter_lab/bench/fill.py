"""A data file full of settled payments, for measuring what a large ledger costs.

Written in bulk instead of payment by payment: the rows are what the ledger would hold, and the roll-ups are summed
from them.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from payrouter.adapters.sqlite.rows import ProcessorIds
from payrouter.adapters.sqlite.store import SqliteStore
from payrouter.domain.window import ROLLUP_SHIFTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

_INSERT = (
    "INSERT INTO payment (id, amount, accepted_us, state, attempts, processor, requested_us, settled_us, latency_us, "
    "reason) VALUES (?, ?, ?, 3, 1, ?, ?, ?, ?, 'cheapest|1.0|0|32|0.00|')"
)
_ROLL_UP = (
    "INSERT INTO rollup SELECT ?1, requested_us >> ?1, processor, count(*), sum(amount) FROM payment "
    "WHERE state = 3 GROUP BY requested_us >> ?1, processor"
)


def fill_ledger(path: Path, count: int, *, oldest: datetime, newest: datetime) -> None:
    """Write `count` settled payments into a new file, four in five by `default`, the rest by `fallback`."""
    store = SqliteStore(path)
    ids = ProcessorIds(store.connection, ("default", "fallback")).by_name
    first_us, last_us = (int(instant.timestamp() * 1_000_000) for instant in (oldest, newest))
    connection = store.connection
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.executemany(_INSERT, _rows(count, first_us, last_us, (ids["default"], ids["fallback"])))
    for shift in ROLLUP_SHIFTS:
        connection.execute(_ROLL_UP, (shift,))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()


def _rows(count: int, first_us: int, last_us: int, processors: tuple[int, int]) -> Iterator[tuple[object, ...]]:
    chance = random.Random(count)
    step_us = (last_us - first_us) / max(count - 1, 1)
    for number in range(count):
        requested_us = first_us + int(number * step_us)
        processor = processors[0] if chance.random() < 0.8 else processors[1]
        # Ids in order, so that filling is not a benchmark of random inserts.
        blob = number.to_bytes(6, "big") + b"\x40\x00\x80" + chance.randbytes(7)
        amount = chance.randrange(1, 100_000)
        yield blob, amount, requested_us - 2_000, processor, requested_us, requested_us + 1_500, 1_500
