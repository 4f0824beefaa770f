"""A data file full of settled payments, for measuring what a large ledger costs.

Written in bulk instead of payment by payment: the rows are what the ledger would hold, and the roll-ups are summed
from them.
"""

from __future__ import annotations

import random
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from payrouter.adapters.sqlite.rows import ProcessorIds
from payrouter.adapters.sqlite.store import SqliteStore
from payrouter.domain.window import ROLLUP_SHIFTS
from payrouter.entrypoints.cli.progress import quietly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from payrouter.entrypoints.cli.progress import Tell

_INSERT = (
    "INSERT INTO payment (id, amount, accepted_us, state, attempts, processor, requested_us, settled_us, latency_us, "
    "reason) VALUES (?, ?, ?, 3, 1, ?, ?, ?, ?, 'cheapest|1.0|0|32|0.00|')"
)
_NARROW = (
    "INSERT INTO rollup SELECT ?1, requested_us >> ?1, processor, count(*), sum(amount) FROM payment "
    "WHERE state = 3 GROUP BY requested_us >> ?1, processor"
)
_WIDE = (
    "INSERT INTO rollup SELECT ?1, bucket >> (?1 - ?2), processor, sum(count), sum(amount) FROM rollup "
    "WHERE shift = ?2 GROUP BY bucket >> (?1 - ?2), processor"
)
_PART = 100_000
SCATTER = 25_214_903_917
"""What a payment's number is multiplied with (modulo 2^48) for the rest of its id."""


def filled_id(number: int) -> str:
    """Return the id of the payment of that number, below 2^48: ids in order, so that filling is not random inserts."""
    return f"{number >> 16:08x}-{number & 0xFFFF:04x}-4000-8000-{_tail(number):012x}"


def _tail(number: int) -> int:
    return (number * SCATTER + 11) % (1 << 48)


def fill_ledger(path: Path, count: int, *, oldest: datetime, newest: datetime, tell: Tell = quietly) -> None:
    """Write `count` settled payments into a new file, four in five by `default`, the rest by `fallback`.

    `tell` is told how many are there.
    """
    store = SqliteStore(path)
    ids = ProcessorIds(store.connection, ("default", "fallback")).by_name
    first_us, last_us = (int(instant.timestamp() * 1_000_000) for instant in (oldest, newest))
    connection = store.connection
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    rows = _rows(count, first_us, last_us, (ids["default"], ids["fallback"]))
    for done in range(0, count, _PART):
        connection.executemany(_INSERT, islice(rows, _PART))
        tell(min(done + _PART, count))
    tell(count, "summing up")
    connection.execute(_NARROW, (ROLLUP_SHIFTS[0],))
    for narrow, wide in pairwise(ROLLUP_SHIFTS):
        connection.execute(_WIDE, (wide, narrow))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()


def _rows(count: int, first_us: int, last_us: int, processors: tuple[int, int]) -> Iterator[tuple[object, ...]]:
    chance = random.Random(count)
    step_us = (last_us - first_us) / max(count - 1, 1)
    for number in range(count):
        requested_us = first_us + int(number * step_us)
        processor = processors[0] if chance.random() < 0.8 else processors[1]
        blob = number.to_bytes(6, "big") + b"\x40\x00\x80\x00" + _tail(number).to_bytes(6, "big")
        amount = 1 + int(chance.random() * 99_999)
        yield blob, amount, requested_us - 2_000, processor, requested_us, requested_us + 1_500, 1_500
