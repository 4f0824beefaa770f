"""What the tests of the PostgreSQL ledger share: rows to settle, and a store that is open for a test."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from contracts.stores import AT_US, id_of
from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.ledger import SettledRow
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.ledger import AttemptRecord, Settlement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

REASON = "cheapest|10.0|1|32|0.10|"


def row(
    number: int,
    processor: str = "default",
    at_us: int = AT_US,
    amount_minor: int = 1990,
    *,
    attempts: int = 1,
    failures: tuple[AttemptRecord, ...] = (),
) -> SettledRow:
    """A numbered payment, charged 12.5 ms after it was sent."""
    delivery = Delivery(id_of(number), amount_minor, at_us - 2_000, receipt=number, attempts=attempts - 1)
    settlement = Settlement(Intent(delivery, processor, at_us, REASON), at_us + 12_500, 12.5)
    return SettledRow(settlement, attempts, failures)


def shuffled(numbers: Iterable[int], seed: int) -> list[SettledRow]:
    """Rows of these numbers in an order of chance, all of one instant and so of the same roll-ups."""
    rows = [row(number) for number in numbers]
    random.Random(seed).shuffle(rows)
    return rows


@asynccontextmanager
async def opened(
    url: str, *, connections: int = 2, call_timeout_s: float = 5.0, **access: bool
) -> AsyncIterator[PostgresStore]:
    """Give a store that is connected, and close it."""
    store = PostgresStore(Access(url, call_timeout_s=call_timeout_s, **access), connections=connections)
    try:
        await store.open(5.0)
        yield store
    finally:
        await store.close()
