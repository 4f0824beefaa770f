"""Bringing a database up to date: once, whoever does it, and never one that is not ours or from a newer version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.settled_rows import opened, row
from payrouter.adapters.postgres import migrate as migration
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.migrate import migrate, migrations
from payrouter.adapters.postgres.server import SCHEMA_VERSION
from payrouter.domain.errors import StoreIncompatible, StoreMisconfigured, StoreUnavailable

if TYPE_CHECKING:
    from payrouter_lab.cluster.servers import PostgresServer

NEEDED = [name for _, name, _ in migrations()]


def open_once(url: str) -> None:
    async def open_and_close() -> None:
        async with opened(url):
            pass

    asyncio.run(open_and_close())


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


def test_an_empty_database_is_not_used_until_it_is_migrated(postgres_url: str) -> None:
    with pytest.raises(StoreIncompatible, match=r"has no tables of Payrouter yet.*run payrouter migrate"):
        open_once(postgres_url)
    assert asyncio.run(migrate(postgres_url)) == NEEDED
    open_once(postgres_url)
    assert asyncio.run(migrate(postgres_url)) == []


def test_steps_are_numbered_without_gaps_up_to_the_version_the_ledger_needs() -> None:
    assert [number for number, _, _ in migrations()] == list(range(1, SCHEMA_VERSION + 1))


def test_of_several_that_migrate_at_once_one_does_it(postgres_url: str) -> None:
    async def at_once() -> list[list[str]]:
        return await asyncio.gather(*(migrate(postgres_url) for _ in range(5)))

    assert sorted(asyncio.run(at_once())) == [[], [], [], [], NEEDED]
    open_once(postgres_url)


def test_a_step_that_fails_leaves_nothing_behind_and_is_done_next_time(
    postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [*migrations(), (SCHEMA_VERSION + 1, "broken", "CREATE TABLE payrouter.half (); SELECT 1 / 0")]
    monkeypatch.setattr(migration, "migrations", lambda: steps)
    with pytest.raises(Exception, match="division by zero"):
        asyncio.run(migrate(postgres_url))
    found = postgres_server.run_sql("SELECT to_regclass('payrouter.half')", database=database_of(postgres_url))
    assert found == ""
    monkeypatch.undo()
    assert asyncio.run(migrate(postgres_url)) == []
    open_once(postgres_url)


def test_a_newer_database_is_refused_by_both(postgres_server: PostgresServer, postgres_url: str) -> None:
    asyncio.run(migrate(postgres_url))
    insert = "INSERT INTO payrouter.migration (version, name) VALUES (99, 'from the future')"
    postgres_server.run_sql(insert, database=database_of(postgres_url))
    for attempt in (open_once, lambda url: asyncio.run(migrate(url))):
        with pytest.raises(StoreIncompatible, match=r"from a newer Payrouter: schema version 99.*update Payrouter"):
            attempt(postgres_url)


@pytest.mark.parametrize("table", ["theirs (id integer)", "migration (id integer)"])
def test_a_schema_of_that_name_that_is_not_ours_is_left_alone(
    postgres_server: PostgresServer, postgres_url: str, table: str
) -> None:
    name = database_of(postgres_url)
    postgres_server.run_sql("CREATE SCHEMA payrouter", database=name)
    postgres_server.run_sql(f"CREATE TABLE payrouter.{table}", database=name)
    for attempt in (open_once, lambda url: asyncio.run(migrate(url))):
        with pytest.raises(StoreIncompatible):
            attempt(postgres_url)
    tables = postgres_server.run_sql("SELECT relname FROM pg_stat_user_tables", database=name)
    assert tables == table.split(maxsplit=1)[0]


def test_a_user_without_rights_is_told_so_and_a_schema_made_for_it_is_enough(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = database_of(postgres_url)
    postgres_server.run_sql("CREATE ROLE plain LOGIN")
    url = postgres_url.replace("postgres@", "plain@")
    try:
        with pytest.raises(StoreMisconfigured, match=r"permission denied for database.*grant the user what it needs"):
            asyncio.run(migrate(url))
        postgres_server.run_sql("CREATE SCHEMA payrouter AUTHORIZATION plain", database=name)
        assert asyncio.run(migrate(url)) == NEEDED

        async def use() -> None:
            async with opened(url) as store:
                ledger = PostgresLedger(store)
                assert await ledger.settle([row(1)]) == [True]
                await ledger.purge()

        asyncio.run(use())
    finally:
        postgres_server.run_sql("DROP OWNED BY plain CASCADE", database=name)
        postgres_server.run_sql("DROP ROLE plain")


def test_a_replica_cannot_be_migrated(postgres_server: PostgresServer, postgres_url: str) -> None:
    name = database_of(postgres_url)
    postgres_server.run_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(StoreMisconfigured, match="can only be read"):
        asyncio.run(migrate(postgres_url))


def test_migrating_waits_for_a_server_that_is_starting_and_then_gives_up(postgres_server: PostgresServer) -> None:
    url = postgres_server.url.replace(f":{postgres_server.port}", ":1")
    with pytest.raises(StoreUnavailable, match=r"waited 0\.2 s"):
        asyncio.run(migrate(url, within_s=0.2))
