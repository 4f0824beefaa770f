"""PostgreSQL away, hanging, full or wrongly set up: a clear error within bounded time, and nothing counted twice."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from contracts.settled_rows import opened, row, shuffled
from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.errors import translate
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.migrate import migrate
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.domain.errors import StoreMisconfigured, StoreUnavailable, StoreUncertain
from payrouter.domain.ledger import Totals
from payrouter.domain.window import Window
from payrouter_lab.bench.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from payrouter_lab.cluster.servers import PostgresServer

EVER = Window()
AT_ONCE_S = 0.3


@pytest.fixture
def ledger_url(postgres_url: str) -> str:
    """A database with our tables."""
    asyncio.run(migrate(postgres_url))
    return postgres_url


@pytest.fixture
def server(own_postgres: Callable[..., PostgresServer]) -> PostgresServer:
    """A server of the test's own, with our tables in the database `postgres`."""
    server = own_postgres()
    asyncio.run(migrate(server.url))
    return server


@contextmanager
def fails_within(seconds: float, error: type[Exception], match: str) -> Iterator[None]:
    start_s = time.monotonic()
    with pytest.raises(error, match=match):
        yield
    assert time.monotonic() - start_s < seconds


async def until(condition: Callable[[], bool]) -> None:
    """Return once something holds that other tasks bring about."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - they have no event to set
            await asyncio.sleep(0.001)


async def until_served(ledger: PostgresLedger) -> None:
    """Return once a summary is answered again."""
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                await ledger.summary(EVER)
                return
            await asyncio.sleep(0.02)


# -- away, and back


def test_a_start_without_a_server_waits_says_so_and_then_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    store = PostgresStore(Access(f"postgresql://me:secret@127.0.0.1:{port}/books"))
    with fails_within(2.0, StoreUnavailable, f"cannot reach PostgreSQL at 127.0.0.1:{port}/books.*waited 1 s") as got:
        asyncio.run(store.open(1.0))
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"waiting for PostgreSQL: cannot reach PostgreSQL at 127.0.0.1:{port}/books")
    assert "secret" not in line + str(got)


def test_a_start_waits_for_a_server_that_comes_late(server: PostgresServer) -> None:
    server.stop()

    async def open_meanwhile() -> None:
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        async with opened(server.url) as store:
            assert await PostgresLedger(store).settle([row(1)]) == [True]
        await starting

    asyncio.run(open_meanwhile())


def test_calls_fail_at_once_while_it_is_away_and_work_again_by_themselves_when_it_is_back(
    server: PostgresServer,
) -> None:
    async def lose_it() -> None:
        async with opened(server.url) as store:
            ledger = PostgresLedger(store)
            await ledger.settle([row(1)])
            await asyncio.to_thread(server.stop)
            for _ in range(3):
                with fails_within(AT_ONCE_S, StoreUnavailable, "PostgreSQL at 127.0.0.1"):
                    await ledger.summary(EVER)
            await asyncio.to_thread(server.start)
            await until_served(ledger)
            assert await ledger.settle([row(1), row(2)]) == [False, True]
            assert await ledger.summary(EVER) == {"default": Totals(2, 3980)}

    asyncio.run(lose_it())


def test_a_restart_between_two_calls_goes_unnoticed(server: PostgresServer) -> None:
    async def restart() -> None:
        async with opened(server.url) as store:
            ledger = PostgresLedger(store)
            await ledger.settle([row(1)])
            await asyncio.to_thread(server.restart)
            await asyncio.sleep(0.05)
            assert await ledger.settle([row(2)]) == [True]

    asyncio.run(restart())


def test_names_learnt_from_a_database_are_not_used_in_the_one_that_replaces_it(server: PostgresServer) -> None:
    async def replace() -> None:
        async with opened(server.url) as store:
            ledger = PostgresLedger(store)
            await ledger.settle([row(1, "default"), row(2, "fallback")])
            server.run_sql("DROP SCHEMA payrouter CASCADE")
            await migrate(server.url)
            async with opened(server.url) as other:
                await PostgresLedger(other).settle([row(3, "fallback"), row(4, "third")])
            await asyncio.to_thread(server.restart)
            await asyncio.sleep(0.05)
            await ledger.settle([row(1, "default"), row(2, "fallback")])
            summary = await ledger.summary(EVER)
            assert {name: totals.count for name, totals in summary.items()} == {"default": 1, "fallback": 2, "third": 1}

    asyncio.run(replace())


# -- killed while it writes


def test_a_kill_in_the_middle_of_settling_leaves_each_batch_whole_or_away_and_it_can_be_repeated(
    server: PostgresServer,
) -> None:
    size, writers, turns = 200, 4, 12
    batches = [[row(n) for n in range(start, start + size)] for start in range(0, size * writers * turns, size)]
    said: dict[int, list[bool] | StoreUnavailable] = {}

    async def settle(ledger: PostgresLedger, numbers: range) -> None:
        for number in numbers:
            try:
                said[number] = await ledger.settle(batches[number])
            except StoreUnavailable as error:
                said[number] = error

    async def kill_it() -> None:
        async with opened(server.url, connections=writers) as store:
            ledger = PostgresLedger(store)
            async with asyncio.TaskGroup() as tasks:
                for writer in range(writers):
                    tasks.create_task(settle(ledger, range(writer, len(batches), writers)))
                await until(lambda: len(said) >= len(batches) // 4)
                await asyncio.to_thread(server.kill)
            assert any(isinstance(one, StoreUncertain) for one in said.values()), "it died while it wrote"
            await asyncio.to_thread(server.start)
            await until_served(ledger)
            for number, batch in enumerate(batches):
                ids = [one.settlement.intent.delivery.correlation_id for one in batch]
                known = len(await ledger.known(ids))
                assert known in ({size} if isinstance(said[number], list) else {0, size}), "all or nothing"
                assert await ledger.settle(batch) == [known == 0] * size
            count = size * len(batches)
            assert await ledger.summary(EVER) == {"default": Totals(count, count * 1990)}

    asyncio.run(kill_it())


def test_a_connection_ended_by_an_operator_in_the_middle_of_a_call_leaves_its_outcome_open(ledger_url: str) -> None:
    async def end_it() -> None:
        operator = await asyncpg.connect(ledger_url)
        async with opened(ledger_url, connections=1) as store:
            ledger = PostgresLedger(store)
            async with operator.transaction():
                await operator.execute("LOCK TABLE payrouter.ledger")
                settling = asyncio.create_task(ledger.settle([row(1)]))
                await asyncio.sleep(0.1)
                ended = (
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name = 'payrouter'"
                )
                assert await operator.fetchval(ended)
                with pytest.raises(StoreUncertain, match="terminating connection due to administrator command"):
                    await settling
            assert await ledger.settle([row(1)]) == [True]
        await operator.close()

    asyncio.run(end_it())


# -- hanging


def test_a_server_that_hangs_costs_a_call_its_time_and_no_more(server: PostgresServer) -> None:
    async def pause() -> None:
        async with opened(server.url, call_timeout_s=0.6) as store:
            ledger = PostgresLedger(store)
            await ledger.settle([row(1)])
            server.pause()
            try:
                # On the connections it has, and then on the way to new ones.
                for error, match in [(StoreUncertain, "did not answer within 0.6 s"), (StoreUnavailable, "PostgreSQL")]:
                    with fails_within(0.9, error, match):
                        await asyncio.gather(ledger.settle([row(2)]), ledger.summary(EVER))
                    with suppress(StoreUnavailable):
                        await ledger.summary(EVER)
                start_s = time.monotonic()
                results = await asyncio.gather(*(ledger.summary(EVER) for _ in range(50)), return_exceptions=True)
                assert {type(one) for one in results} == {StoreUnavailable}
                assert time.monotonic() - start_s < 0.9, "all of them together"
            finally:
                server.resume()
            await until_served(ledger)
            assert await ledger.settle([row(1), row(2), row(3)]) in ([False, True, True], [False, False, True])
            assert await ledger.summary(EVER) == {"default": Totals(3, 3 * 1990)}

    asyncio.run(pause())


def test_a_statement_we_gave_up_ends_on_the_server_too(ledger_url: str) -> None:
    async def give_up() -> None:
        blocker = await asyncpg.connect(ledger_url)
        async with blocker.transaction(), opened(ledger_url, connections=1, call_timeout_s=0.4) as store:
            await blocker.execute("LOCK TABLE payrouter.ledger")
            ledger = PostgresLedger(store)
            waiting = [asyncio.create_task(ledger.summary(EVER)) for _ in range(3)]
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(one, StoreUnavailable) for one in results)
            assert any("connections" in str(one) for one in results), "there was one connection for three"
            await asyncio.sleep(0.3)
            assert await blocker.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0
        await blocker.close()

    asyncio.run(give_up())


def test_a_caller_that_goes_away_does_not_spoil_the_connection_for_the_next(ledger_url: str) -> None:
    async def go_away() -> None:
        blocker = await asyncpg.connect(ledger_url)
        async with opened(ledger_url, connections=1) as store:
            ledger = PostgresLedger(store)
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE payrouter.ledger")
                waiting = asyncio.create_task(ledger.settle([row(1)]))
                await asyncio.sleep(0.1)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert await ledger.settle([row(2)]) == [True]
        await blocker.close()

    asyncio.run(go_away())


def test_a_closed_store_says_so(ledger_url: str) -> None:
    async def close() -> None:
        async with opened(ledger_url) as store:
            pass
        with pytest.raises(StoreUnavailable, match="were closed"):
            await PostgresLedger(store).summary(EVER)

    asyncio.run(close())


# -- too much of something


def test_too_many_connections_are_a_matter_of_waiting(postgres_server: PostgresServer, ledger_url: str) -> None:
    name = ledger_url.rpartition("/")[2]
    postgres_server.run_sql(f"CREATE ROLE {name}_app LOGIN CONNECTION LIMIT 1")
    postgres_server.run_sql(f"GRANT USAGE ON SCHEMA payrouter TO {name}_app", database=name)
    postgres_server.run_sql(f"GRANT ALL ON ALL TABLES IN SCHEMA payrouter TO {name}_app", database=name)
    url = ledger_url.replace("postgres@", f"{name}_app@")

    async def one_too_many() -> None:
        async with opened(url, connections=1) as first:
            second = PostgresStore(Access(url), connections=1)
            with fails_within(1.0, StoreUnavailable, "too many connections"):
                await second.open(0.5)
            await first.close()
            await second.open(5.0)
            assert await PostgresLedger(second).summary(EVER) == {}
            await second.close()

    asyncio.run(one_too_many())
    postgres_server.run_sql(f"DROP OWNED BY {name}_app", database=name)
    postgres_server.run_sql(f"DROP ROLE {name}_app")


@contextmanager
def small_disk(server: PostgresServer) -> Iterator[Any]:
    """A disk of a few MB that PostgreSQL may write to; the test is skipped where mounting one is not allowed."""
    folder = server.directory / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    options = f"size=16m,uid={server.data.stat().st_uid},gid={server.data.stat().st_gid},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        server.stop()
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_whole_batches_and_takes_them_once_there_is_room(
    own_postgres: Callable[..., PostgresServer],
) -> None:
    server = own_postgres()
    with small_disk(server) as folder:
        server.run_sql(f"CREATE TABLESPACE small LOCATION '{folder}'")
        server.run_sql("CREATE DATABASE books TABLESPACE small TEMPLATE template0")
        url = server.url_of("books")

        async def fill_up() -> None:
            await migrate(url)
            ballast = folder / "ballast"
            ballast.write_bytes(bytes(4 << 20))
            async with opened(url) as store:
                ledger = PostgresLedger(store)
                settled = 0
                refused: StoreUnavailable | None = None
                while refused is None:
                    try:
                        settled += sum(await ledger.settle([row(n) for n in range(settled, settled + 500)]))
                    except StoreUnavailable as error:
                        refused = error
                assert "No space left on device" in str(refused)
                assert not isinstance(refused, StoreUncertain)
                ever = {"default": Totals(settled, settled * 1990)}
                assert await ledger.summary(EVER) == ever
                ballast.unlink()
                assert sum(await ledger.settle([row(n) for n in range(settled, settled + 500)])) == 500

        asyncio.run(fill_up())


# -- wrongly set up


def open_once(url: str, **access: bool) -> None:
    async def open_and_close() -> None:
        async with opened(url, **access):
            pass

    asyncio.run(open_and_close())


def test_a_wrong_password_and_an_unknown_user_are_said_at_once(server: PostgresServer) -> None:
    server.run_sql("CREATE ROLE app LOGIN PASSWORD 'right'")
    (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    server.run_sql("SELECT pg_reload_conf()")
    for user in ("app:wrong", "nobody:right"):
        url = server.url.replace("postgres@", f"{user}@", 1)
        with fails_within(1.0, StoreMisconfigured, "password authentication failed.*correct user and password") as got:
            open_once(url)
        assert "wrong" not in str(got)


def test_no_such_database_is_said_at_once(postgres_server: PostgresServer) -> None:
    with fails_within(1.0, StoreMisconfigured, 'database "nowhere" does not exist; create the database'):
        open_once(postgres_server.url_of("nowhere"))


def test_a_user_who_may_not_read_the_ledger_is_told_so(postgres_server: PostgresServer, ledger_url: str) -> None:
    postgres_server.run_sql("CREATE ROLE stranger LOGIN")
    with fails_within(1.0, StoreMisconfigured, "permission denied.*grant the user what it needs"):
        open_once(ledger_url.replace("postgres@", "stranger@"))
    postgres_server.run_sql("DROP ROLE stranger")


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:port/books", "http://127.0.0.1/", "postgresql://h/?sslmode=x"])
def test_an_address_that_cannot_be_understood_is_said_at_once(url: str) -> None:
    with fails_within(1.0, StoreMisconfigured, "correct PAYROUTER_POSTGRES_URL"):
        open_once(url)


def test_something_else_that_listens_there_is_no_answer() -> None:
    async def listen() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            store = PostgresStore(Access(f"postgresql://postgres@127.0.0.1:{port}/books"))
            with fails_within(1.5, StoreUnavailable, f"PostgreSQL at 127.0.0.1:{port}"):
                await store.open(0.3)

    asyncio.run(listen())


def test_a_database_that_may_only_be_read_is_refused_for_writing_and_good_for_reading(
    postgres_server: PostgresServer, ledger_url: str
) -> None:
    name = ledger_url.rpartition("/")[2]
    postgres_server.run_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with fails_within(1.0, StoreMisconfigured, "can only be read .*lead to the primary"):
        open_once(ledger_url)
    open_once(ledger_url, writes=False)


def test_a_replica_is_refused_for_writing_and_good_for_reading(server: PostgresServer) -> None:
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    with fails_within(1.0, StoreMisconfigured, "can only be read .*lead to the primary"):
        open_once(server.url)
    open_once(server.url, writes=False)


def test_a_store_opened_for_reading_cannot_write(ledger_url: str) -> None:
    async def write() -> None:
        async with opened(ledger_url, writes=False) as store:
            with pytest.raises(StoreUnavailable, match="read-only transaction"):
                await PostgresLedger(store).settle([row(1)])

    asyncio.run(write())


# -- what may be lost in a crash


@pytest.mark.parametrize("option", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_payments_is_refused_unless_it_is_trusted(
    own_postgres: Callable[..., PostgresServer], option: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_postgres(options=[f"{option}=off"])
    asyncio.run(migrate(server.url))
    with fails_within(1.0, StoreMisconfigured, "may lose settled payments .*off; .*PAYROUTER_ALLOW_UNSAFE_STORES"):
        open_once(server.url)
    open_once(server.url, trust_settings=True)
    assert [record.levelno for record in caplog.records] == [logging.WARNING], "said once, for both connections"
    open_once(server.url, writes=False)


def test_unlogged_tables_are_refused(postgres_server: PostgresServer, ledger_url: str) -> None:
    postgres_server.run_sql("ALTER TABLE payrouter.rollup SET UNLOGGED", database=ledger_url.rpartition("/")[2])
    with fails_within(1.0, StoreMisconfigured, "table rollup is unlogged"):
        open_once(ledger_url)


def test_commits_are_made_to_wait_for_the_disk_where_the_server_would_not(
    postgres_server: PostgresServer, ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = ledger_url.rpartition("/")[2]
    postgres_server.run_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")

    async def setting(*, trust_settings: bool) -> str:
        async with opened(ledger_url, trust_settings=trust_settings) as store:
            return str((await store.fetch("SHOW synchronous_commit"))[0][0])

    assert asyncio.run(setting(trust_settings=False)) == "on"
    assert "synchronous_commit is off" in caplog.text
    assert asyncio.run(setting(trust_settings=True)) == "off"


# -- meanings


def test_a_defect_of_ours_is_not_taken_for_a_store_that_is_away(ledger_url: str) -> None:
    async def wrong() -> None:
        async with opened(ledger_url, connections=1) as store:
            with pytest.raises(asyncpg.PostgresSyntaxError):
                await store.fetch("SELECT FROM WHERE")
            with pytest.raises(asyncpg.DataError):
                await store.fetch("SELECT $1::bigint", "text")
            with pytest.raises(asyncpg.NumericValueOutOfRangeError):
                await store.fetch("SELECT 9223372036854775807 + 1")
            assert await PostgresLedger(store).settle(shuffled(range(3), 1)) == [True] * 3, "and it still serves"

    asyncio.run(wrong())


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (asyncpg.CannotConnectNowError("the database system is starting up"), StoreUnavailable),
        (asyncpg.AdminShutdownError("terminating connection"), StoreUnavailable),
        (asyncpg.OutOfMemoryError("out of memory"), StoreUnavailable),
        (asyncpg.DeadlockDetectedError("deadlock detected"), StoreUnavailable),
        (asyncpg.PostgresIOError("could not read block"), StoreUnavailable),
        (asyncpg.DataCorruptedError("invalid page"), StoreUnavailable),
        (ConnectionResetError(104, "Connection reset by peer"), StoreUnavailable),
        (socket.gaierror(-2, "Name or service not known"), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"), StoreMisconfigured),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT"), StoreMisconfigured),
        (asyncpg.UniqueViolationError("duplicate key"), None),
        (ValueError("a defect"), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_an_error_means(error: Exception, meaning: type[Exception] | None) -> None:
    found = translate(error, "PostgreSQL at db:5432/books")
    assert type(found) is (meaning or type(None))
    assert found is None or "PostgreSQL at db:5432/books" in str(found)
