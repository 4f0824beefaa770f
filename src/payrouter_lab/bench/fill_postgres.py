"""A PostgreSQL ledger full of settled payments, for measuring what a large one costs.

Made by the server itself: the rows are what dispatchers would have written, and the roll-ups are summed from them.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import asyncpg

from payrouter.adapters.postgres.migrate import migrate
from payrouter.adapters.postgres.statements import NAME
from payrouter.domain.window import ROLLUP_SHIFTS
from payrouter.entrypoints.cli.progress import quietly
from payrouter_lab.bench.fill import SCATTER

if TYPE_CHECKING:
    from datetime import datetime

    from payrouter.entrypoints.cli.progress import Tell

LANES = 3
"""Dispatchers that the payments are spread over."""

_PART = 250_000
_INDEX = "ledger_requested"

# Ids in order, so that filling is not a benchmark of random inserts. Four in five by `default`.
_ROWS = """
INSERT INTO payrouter.ledger
       (id, amount, accepted_us, requested_us, settled_us, latency_us, processor, attempts, reason)
SELECT (lpad(to_hex(number), 12, '0') || '40008000'
        || lpad(to_hex((number * $7::bigint + 11) % (1::bigint << 48)), 12, '0'))::uuid,
       1 + (random() * 99998)::bigint, at_us - 2000, at_us, at_us + 1500, 1500,
       CASE WHEN random() < 0.8 THEN $5::integer ELSE $6::integer END, 1, 'cheapest|1.0|0|32|0.00|'
  FROM (SELECT number, $1::bigint + (number * $2::double precision)::bigint AS at_us
          FROM generate_series($3::bigint, $4::bigint) AS number) AS instants
"""
_NARROW = """
INSERT INTO payrouter.rollup (shift, bucket, processor, lane, count, amount)
SELECT $1::smallint, requested_us >> $1::smallint, processor, requested_us / 1000 % $2::integer, count(*), sum(amount)
  FROM payrouter.ledger GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
"""
_WIDE = """
INSERT INTO payrouter.rollup (shift, bucket, processor, lane, count, amount)
SELECT $1::smallint, bucket >> ($1::smallint - $2::smallint), processor, lane, sum(count), sum(amount)
  FROM payrouter.rollup WHERE shift = $2 GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
"""


def fill_ledger(url: str, count: int, *, oldest: datetime, newest: datetime, tell: Tell = quietly) -> None:
    """Write `count` settled payments into an empty database, their `requestedAt` spread over `oldest` to `newest`.

    Four in five by `default`, the rest by `fallback`; ids as of `filled_id`. `tell` is told how many are there.
    Takes some 5 s per million.
    """
    first_us, last_us = (int(instant.timestamp() * 1_000_000) for instant in (oldest, newest))
    asyncio.run(_fill(url, count, first_us, (last_us - first_us) / max(count - 1, 1), tell))


async def _fill(url: str, count: int, first_us: int, step_us: float, tell: Tell) -> None:
    await migrate(url)
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute("SET maintenance_work_mem = '256MB'")
        await connection.execute("SET work_mem = '128MB'")
        await connection.execute("SELECT setseed(0.25)")
        index = await connection.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = $1", _INDEX)
        await connection.execute(f"DROP INDEX payrouter.{_INDEX}")
        processors = await _processors(connection)
        for first in range(0, count, _PART):
            last = min(first + _PART, count) - 1
            await connection.execute(_ROWS, first_us, step_us, first, last, *processors, SCATTER)
            tell(last + 1)
        tell(count, "indexing")
        await connection.execute(index)
        tell(count, "summing up")
        await connection.execute(_NARROW, ROLLUP_SHIFTS[0], LANES)
        for narrow, wide in pairwise(ROLLUP_SHIFTS):
            await connection.execute(_WIDE, wide, narrow)
        # As autovacuum would have done over the days in which the ledger grew.
        tell(count, "vacuuming")
        await connection.execute("VACUUM (ANALYZE) payrouter.ledger")
        await connection.execute("VACUUM (ANALYZE) payrouter.rollup")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def _processors(connection: Any) -> tuple[int, int]:
    await connection.execute(NAME, ["default", "fallback"])
    found = dict(await connection.fetch("SELECT name, id FROM payrouter.processor"))
    return found["default"], found["fallback"]
