"""The filler of the summary benchmark: what it writes is what settling one by one would have."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

from contracts.settled_rows import opened
from contracts.test_summary_contract import naive
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.domain.window import Window
from payrouter_lab.bench.fill import filled_id
from payrouter_lab.bench.fill_postgres import fill_ledger

COUNT = 3_000
NEWEST = datetime(2025, 8, 1, 12, tzinfo=UTC)
# Days apart, so that all three widths of roll-ups have several buckets.
OLDEST = NEWEST - timedelta(days=5)
ROWS = (
    "SELECT requested_us, name, amount FROM payrouter.ledger "
    "JOIN payrouter.processor ON processor.id = ledger.processor ORDER BY requested_us"
)


def test_a_filled_ledger_has_the_roll_ups_of_its_rows(postgres_url: str) -> None:
    fill_ledger(postgres_url, COUNT, oldest=OLDEST, newest=NEWEST)

    async def compare() -> None:
        async with opened(postgres_url) as store:
            charges = [tuple(row) for row in await store.fetch(ROWS)]
            assert len(charges) == COUNT
            ids = await store.fetch("SELECT id FROM payrouter.ledger ORDER BY requested_us")
            assert [str(row["id"]) for row in ids] == [filled_id(number) for number in range(COUNT)]
            assert {name for _, name, _ in charges} == {"default", "fallback"}
            assert (charges[0][0], charges[-1][0]) == tuple(int(at.timestamp() * 1_000_000) for at in (OLDEST, NEWEST))
            ledger, chance = PostgresLedger(store), random.Random(1)
            bounds = [sorted(chance.randint(charges[0][0], charges[-1][0]) for _ in range(2)) for _ in range(30)]
            for window in [Window(), *(Window(first, last) for first, last in bounds)]:
                assert await ledger.summary(window) == naive(charges, window)

    asyncio.run(compare())
