"""A question costs what its answer holds, not what was ever settled: every plan goes by an index, whatever is there.

Plans are made once per connection, so one made over empty tables must do for large ones.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.settled_rows import opened, row
from contracts.stores import AT_US
from payrouter.adapters.postgres import statements
from payrouter.adapters.postgres.connection import Access, open_connection
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from payrouter_lab.cluster.servers import PostgresServer

EDGE, ROLLUP, ID = "Index Only Scan using ledger_requested", "Index Scan using rollup_pkey", "using ledger_pkey"
QUERIES = {
    "a summary": (statements.SUMMARY, {EDGE, ROLLUP}),
    "the end of a slice": (statements.SLICE_END, {EDGE}),
    "settled payments of a slice": (statements.SETTLED, {"Index Scan using ledger_requested"}),
    "one payment": (statements.FIND, {ID}),
    "which are settled": (statements.KNOWN, {ID}),
}


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """Our tables, empty as after the installation and with as many rows as make a plan by size another one."""
    urls = {name: postgres_server.create_database(f"plans-{name}") for name in ("empty", "small")}
    for url in urls.values():
        asyncio.run(migrate(url))
    asyncio.run(_settle_some(urls["small"]))
    postgres_server.run_sql("VACUUM ANALYZE", database="plans-small")
    yield urls
    for name in urls:
        postgres_server.drop_database(f"plans-{name}")


async def _settle_some(url: str) -> None:
    async with opened(url) as store:
        ledger = PostgresLedger(store)
        for start in range(0, 2000, 500):
            rows = [row(number, at_us=AT_US + 500_000 * number) for number in range(start, start + 500)]
            await ledger.settle(rows)


async def _plan(url: str, sql: str) -> str:
    connection, _ = await open_connection(Access(url), 5.0)
    try:
        await connection.execute(f"PREPARE question AS {sql}")
        values = ", ".join(["NULL"] * len({word for number in range(1, 20) if (word := f"${number}") in sql}))
        rows = await connection.fetch(f"EXPLAIN EXECUTE question ({values})")
        [plans] = await connection.fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = 'question'"
        )
        assert tuple(plans) == (1, 0), "the plan holds for any parameters"
    finally:
        await connection.close()
    return "\n".join(one[0] for one in rows)


@pytest.mark.parametrize("database", ["empty", "small"])
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_goes_by_its_index(name: str, database: str, databases: dict[str, str]) -> None:
    sql, indexes = QUERIES[name]
    plan = asyncio.run(_plan(databases[database], sql))
    assert all(index in plan for index in indexes), plan
    for wrong in ("Seq Scan on ledger", "Seq Scan on rollup", "Hash Join", "Merge Join", "Gather"):
        assert wrong not in plan, plan
