"""What only a file can do: be locked, be somebody else's, be full, be written to by another process, grow a log."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contracts.stores import (
    AT_US,
    SqliteEngine,
    begun,
    buried,
    buried_while_pinned,
    failed,
    id_of,
    ids,
    intent,
    numbered,
    payment,
    payments,
    settled,
    settlement,
)
from payrouter.adapters.sqlite.queue import requeue_dead_letters
from payrouter.adapters.sqlite.store import APPLICATION_ID, SCHEMA_VERSION, SqliteStore, connect
from payrouter.domain.errors import StoreIncompatible, StoreInUse, StoreUnavailable
from payrouter.domain.ledger import Totals
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.domain.window import Window
from payrouter.ports.queue import Acceptance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from payrouter.domain.attempt import Intent


def on_sqlite(test: Callable[[SqliteEngine], Awaitable[None]]) -> Callable[[Path], None]:
    """Run an async test over an open SQLite engine."""

    async def over(folder: Path) -> None:
        engine = SqliteEngine(folder, 100_000)
        try:
            await test(engine)
        finally:
            await engine.close()

    def run(tmp_path: Path) -> None:
        asyncio.run(asyncio.wait_for(over(tmp_path), 20))

    run.__name__ = test.__name__
    return run


def fill_disk(engine: SqliteEngine) -> None:
    """Let the file grow no more, as on a full disk."""
    pages = engine.store.connection.execute("PRAGMA page_count").fetchone()[0]
    engine.store.connection.execute(f"PRAGMA max_page_count = {pages}")


def free_disk(engine: SqliteEngine) -> None:
    engine.store.connection.execute("PRAGMA max_page_count = 1000000000")


async def accept_until_full(engine: SqliteEngine) -> int:
    """Accept batches until one fails; return how many payments were accepted."""
    first = 1
    while True:
        try:
            await engine.queue.accept([payment(number) for number in range(first, first + 20)])
        except StoreUnavailable:
            return first - 1
        first += 20


# -- a full disk


@on_sqlite
async def test_on_a_full_disk_accepting_fails_and_works_again_once_there_is_room(
    engine: SqliteEngine,
) -> None:
    fill_disk(engine)
    count = await accept_until_full(engine)
    assert (await engine.queue.backlog()).waiting == count
    with pytest.raises(StoreUnavailable, match="full"):
        await engine.queue.accept([payment(number) for number in range(1000, 1100)])
    assert await engine.ledger.find(id_of(1000)) is None
    free_disk(engine)
    assert await engine.queue.accept([payment(1000)]) == [Acceptance.ACCEPTED]
    assert ids(await engine.queue.claim(10_000)) == numbered(*range(1, count + 1), 1000)


@on_sqlite
async def test_a_full_disk_loses_nothing_that_was_accepted(engine: SqliteEngine) -> None:
    fill_disk(engine)
    count = await accept_until_full(engine)
    await engine.restart()
    assert ids(await engine.queue.claim(10_000)) == numbered(*range(1, count + 1))


@on_sqlite
async def test_a_charge_that_cannot_be_written_on_a_full_disk_can_be_written_later(
    engine: SqliteEngine,
) -> None:
    await engine.queue.accept(payments(2000))
    intents = [
        intent(one, requested_us=AT_US + (number << 20)) for number, one in enumerate(await engine.queue.claim(2000))
    ]
    await engine.queue.begin(intents)
    fill_disk(engine)
    with pytest.raises(StoreUnavailable):
        await engine.ledger.settle([settlement(one) for one in intents])
    assert await engine.ledger.summary(Window()) == {}
    free_disk(engine)
    assert all(await engine.ledger.settle([settlement(one) for one in intents]))
    assert await engine.ledger.summary(Window()) == {"default": Totals(2000, 2000 * 1990)}


@on_sqlite
async def test_intents_that_cannot_be_written_leave_their_payments_claimed_and_unsent(
    engine: SqliteEngine,
) -> None:
    await engine.queue.accept(payments(500))
    deliveries = await engine.queue.claim(500)
    fill_disk(engine)
    wordy = [replace(intent(one), reason="x" * 3000) for one in deliveries]
    with pytest.raises(StoreUnavailable):
        await engine.queue.begin(wordy)
    assert (await engine.queue.backlog()).waiting == 500
    await engine.queue.release(deliveries)
    free_disk(engine)
    assert ids(await engine.queue.claim(500)) == numbered(*range(1, 501))


@on_sqlite
async def test_everything_in_a_failed_group_fails_together(engine: SqliteEngine) -> None:
    one = await begun(engine, 1)
    fill_disk(engine)
    settling = asyncio.ensure_future(engine.ledger.settle([settlement(one)]))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await engine.queue.accept([payment(number) for number in range(1000, 3000)])
    with pytest.raises(StoreUnavailable):
        await settling
    free_disk(engine)
    assert (await engine.ledger.find(id_of(1))).state is PaymentState.ATTEMPTING
    assert await engine.ledger.settle([settlement(one)]) == [True]


@on_sqlite
async def test_a_failure_in_the_middle_of_a_group_undoes_what_came_before_it(engine: SqliteEngine) -> None:
    await settled(engine, 1)
    engine.store.linger_s = 60.0
    purging = engine.store.submit(lambda connection: connection.execute("DELETE FROM payment"), lambda _: None)
    with pytest.raises(StoreUnavailable):
        await engine.store.submit(
            lambda connection: connection.execute("INSERT INTO payment (id) VALUES (NULL)"),
            lambda _: None,
            urgent=True,
        )
    with pytest.raises(StoreUnavailable):
        await purging
    assert (await engine.ledger.find(id_of(1))).state is PaymentState.SETTLED


def broken(_: object) -> None:
    raise RuntimeError("a defect")


@on_sqlite
async def test_a_defect_in_one_job_fails_that_job_and_the_others_of_its_group_are_kept(engine: SqliteEngine) -> None:
    before, after = await begun(engine, 1), await begun(engine, 2)
    engine.store.linger_s = 60.0
    first = asyncio.ensure_future(engine.ledger.settle([settlement(before)]))
    await asyncio.sleep(0)
    faulty = engine.store.submit(lambda connection: broken(connection.execute("DELETE FROM payment")), lambda _: None)
    last = asyncio.ensure_future(engine.ledger.settle([settlement(after)]))
    await asyncio.sleep(0)
    assert await engine.queue.accept([payment(3), payment(3)]) == [Acceptance.ACCEPTED, Acceptance.DUPLICATE]
    assert await first == await last == [True]
    with pytest.raises(RuntimeError, match="a defect"):
        await faulty
    assert (await engine.ledger.find(id_of(1))).state is PaymentState.SETTLED
    assert await engine.ledger.summary(Window()) == {"default": Totals(2, 2 * 1990)}
    assert (await engine.queue.backlog()).waiting == 1
    assert ids(await engine.queue.claim(9)) == numbered(3)


@on_sqlite
async def test_a_defect_in_a_job_of_its_own_is_seen_and_the_work_is_not_repeated(engine: SqliteEngine) -> None:
    calls: list[object] = []
    with pytest.raises(RuntimeError, match="a defect"):
        await engine.store.submit(lambda connection: broken(calls.append(1)), lambda _: None, urgent=True)
    assert calls == [1]
    assert await engine.queue.accept([payment(1)]) == [Acceptance.ACCEPTED]


@on_sqlite
async def test_beside_a_defect_a_job_the_store_refuses_fails_as_unavailable(engine: SqliteEngine) -> None:
    engine.store.linger_s = 60.0
    faulty = engine.store.submit(broken, lambda _: None)
    refused = engine.store.submit(
        lambda connection: connection.execute("INSERT INTO payment (id) VALUES (NULL)"), lambda _: None
    )
    assert await engine.queue.accept([payment(1)]) == [Acceptance.ACCEPTED]
    with pytest.raises(RuntimeError):
        await faulty
    with pytest.raises(StoreUnavailable):
        await refused


@on_sqlite
async def test_a_defect_after_the_commit_is_its_job_s_alone_and_nothing_is_written_twice(engine: SqliteEngine) -> None:
    engine.store.linger_s = 60.0
    runs: list[int] = []
    faulty = engine.store.submit(lambda _: runs.append(1), broken)
    unwell = engine.store.submit(
        lambda _: runs.append(2), lambda _: engine.store.connection.execute("SELECT * FROM nowhere")
    )
    before = engine.store.commits
    assert await engine.queue.accept([payment(1)]) == [Acceptance.ACCEPTED]
    with pytest.raises(RuntimeError, match="a defect"):
        await faulty
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await unwell
    assert runs == [1, 2]
    assert engine.store.commits == before + 1


def test_a_defect_in_a_job_nobody_waits_for_any_more_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def cancel(engine: SqliteEngine) -> None:
        engine.store.linger_s = 60.0
        engine.store.submit(broken, lambda _: None).cancel()
        engine.store.commit()

    on_sqlite(cancel)(tmp_path)
    assert "a defect" in caplog.text


def test_ram_holds_a_bounded_head_of_the_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payrouter.adapters.sqlite.queue.HEAD", 8)
    monkeypatch.setattr("payrouter.adapters.sqlite.queue._REFILL", 4)

    async def hold() -> None:
        engine = SqliteEngine(tmp_path, 100_000)
        assert await engine.queue.claim(1) == []
        for number in range(1, 101):
            await engine.queue.accept([payment(number), payment(number + 1000)])
            assert len(engine.queue._ready) <= 8
        while deliveries := await engine.queue.claim(5):
            assert len(engine.queue._ready) <= 8
            assert len(deliveries) == 5
        await engine.close()

    asyncio.run(hold())


# -- whose file it is


def test_a_second_router_on_the_same_file_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "payrouter.db"
    with closing(SqliteStore(path)), pytest.raises(StoreInUse, match="in use by another router"):
        SqliteStore(path)
    SqliteStore(path).close()


def test_a_router_that_was_turned_away_does_not_disturb_the_first(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path, 10)
    for _ in range(3):
        with pytest.raises(StoreInUse):
            SqliteStore(engine.path)
    assert asyncio.run(engine.queue.accept([payment(1)])) == [Acceptance.ACCEPTED]
    asyncio.run(engine.close())


def test_another_program_s_database_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(StoreIncompatible, match="not a Payrouter file"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"shopping list\n" * 500)
    before = path.read_bytes()
    with pytest.raises(StoreIncompatible, match="not a Payrouter file"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_file_from_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "payrouter.db"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreIncompatible, match=f"schema version {SCHEMA_VERSION + 1}, this program knows"):
        SqliteStore(path)


def columns(connection: sqlite3.Connection) -> dict[str, set[tuple[object, ...]]]:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    rows = {
        name: connection.execute(f"SELECT name, type, [notnull], pk FROM pragma_table_info('{name}')") for name in names
    }
    return {name: set(found) for name, found in rows.items()}


def test_a_file_of_an_earlier_version_is_brought_up_to_date_and_keeps_its_payments(tmp_path: Path) -> None:
    earlier, new = tmp_path / "earlier.db", tmp_path / "new.db"
    with closing(sqlite3.connect(earlier)) as connection:
        connection.executescript((Path(__file__).parent / "sqlite_v1.sql").read_text())
        connection.execute("INSERT INTO payment (id, amount, accepted_us, state) VALUES (x'00', 1990, 7, 0)")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    with closing(SqliteStore(earlier)) as store, closing(SqliteStore(new)) as fresh:
        assert columns(store.connection) == columns(fresh.connection)
        assert store.connection.execute("SELECT amount, accepted_us, trace FROM payment").fetchall() == [
            (1990, 7, None)
        ]
        assert store.connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    SqliteStore(earlier).close()


def test_a_file_that_was_refused_can_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "payrouter.db"
    path.write_bytes(b"shopping list\n" * 500)
    with pytest.raises(StoreIncompatible):
        SqliteStore(path)
    path.unlink()
    SqliteStore(path).close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is the folder there"):
        SqliteStore(tmp_path / "missing" / "payrouter.db")


def test_a_new_file_has_small_pages(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "payrouter.db")) as store:
        assert store.connection.execute("PRAGMA page_size").fetchone()[0] == 1024
        assert store.connection.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL: every commit is an fsync"


def test_an_empty_file_becomes_ours(tmp_path: Path) -> None:
    path = tmp_path / "payrouter.db"
    path.touch()
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID


def test_refused_files_leave_no_descriptor_open(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"shopping list\n" * 500)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(StoreIncompatible):
            SqliteStore(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_cannot_be_created_leaves_no_descriptor_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "payrouter.db"
    before = len(os.listdir("/proc/self/fd"))
    errors: list[StoreUnavailable] = []  # held, as a caller may: what a traceback refers to is not collected
    with monkeypatch.context() as patch:
        patch.setattr("payrouter.adapters.sqlite.store.SCHEMA_VERSION", "1; CREATE NONSENSE")
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="cannot create") as raised:
                SqliteStore(path)
            errors.append(raised.value)
    assert len(os.listdir("/proc/self/fd")) == before
    SqliteStore(path).close()


def test_a_file_that_cannot_be_opened_for_reading_leaves_no_descriptor_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "payrouter.db"
    before = len(os.listdir("/proc/self/fd"))
    connections = iter([connect(path)])

    def only_once(path: Path) -> sqlite3.Connection:
        for connection in connections:
            return connection
        raise StoreUnavailable("no more")

    with monkeypatch.context() as patch:
        patch.setattr("payrouter.adapters.sqlite.store.connect", only_once)
        with pytest.raises(StoreUnavailable, match="no more") as raised:
            SqliteStore(path)
    assert raised.value.__traceback__ is not None
    assert len(os.listdir("/proc/self/fd")) == before
    SqliteStore(path).close()


# -- another process writes to it


@on_sqlite
async def test_dead_letters_sent_again_from_outside_are_picked_up(engine: SqliteEngine) -> None:
    await buried(engine, 1)
    await buried_while_pinned(engine, 2, AT_US + 2)
    await engine.queue.accept([payment(3)])
    assert ids(await engine.queue.claim(9)) == numbered(3)
    assert await engine.queue.orphans() == []
    with closing(connect(engine.path)) as outside:
        assert requeue_dead_letters(outside, None) == 2
    [found] = await engine.queue.orphans()
    assert (found.delivery.correlation_id, found.requested_us) == (id_of(2), AT_US + 2)
    assert (await engine.queue.backlog()).waiting == 2
    assert ids(await engine.queue.claim(9)) == numbered(1)
    assert await engine.queue.orphans() == []


@on_sqlite
async def test_nothing_held_is_given_out_again_when_somebody_else_wrote_to_the_file(
    engine: SqliteEngine,
) -> None:
    await buried(engine, 1)
    await begun(engine, 2)
    await engine.queue.accept([payment(number) for number in (3, 4, 5, 6)])
    unsent, _, given_back = await engine.queue.claim(3)
    await engine.queue.release([given_back])
    with closing(connect(engine.path)) as outside:
        requeue_dead_letters(outside, None)
    assert await engine.queue.orphans() == []
    assert ids(await engine.queue.claim(9)) == numbered(1, 5, 6)
    assert await engine.queue.begin([intent(unsent)]) == [True]


@on_sqlite
async def test_while_somebody_reads_outside_the_router_goes_on(engine: SqliteEngine) -> None:
    await settled(engine, 1)
    with closing(connect(engine.path, read_only=True)) as outside:
        outside.execute("BEGIN")
        assert outside.execute("SELECT count(*) FROM payment").fetchone()[0] == 1
        await settled(engine, 2)
        assert outside.execute("SELECT count(*) FROM payment").fetchone()[0] == 1
        outside.execute("COMMIT")
        assert outside.execute("SELECT count(*) FROM payment").fetchone()[0] == 2


# -- commits and the log


@on_sqlite
async def test_what_waits_shares_the_commit_of_the_next_accept(engine: SqliteEngine) -> None:
    engine.store.linger_s = 60.0
    await engine.queue.accept(payments(2))
    first, second = await engine.queue.claim(2)
    before = engine.store.commits
    beginning = asyncio.ensure_future(engine.queue.begin([intent(first)]))
    other = asyncio.ensure_future(engine.queue.begin([intent(second)]))
    await asyncio.sleep(0)
    await engine.queue.accept([payment(3)])
    assert await beginning == await other == [True]
    assert engine.store.commits == before + 1


@on_sqlite
async def test_work_whose_caller_was_cancelled_is_written_all_the_same(engine: SqliteEngine) -> None:
    one = await begun(engine, 1)
    engine.store.linger_s = 60.0
    impatient = asyncio.ensure_future(engine.queue.conclude([failed(one, PaymentEvent.UNKNOWN)]))
    await asyncio.sleep(0)
    impatient.cancel()
    with suppress(asyncio.CancelledError):
        await impatient
    assert await engine.queue.accept([payment(2)]) == [Acceptance.ACCEPTED]
    assert (await engine.ledger.find(id_of(1))).state is PaymentState.PINNED


@on_sqlite
async def test_closing_writes_what_still_waits(engine: SqliteEngine) -> None:
    engine.store.linger_s = 60.0
    one = await begun_at_once(engine)
    settling = asyncio.ensure_future(engine.ledger.settle([settlement(one)]))
    await asyncio.sleep(0)
    engine.store.close()
    assert await settling == [True]
    engine._open()
    assert await engine.ledger.summary(Window()) == {"default": Totals(1, 1990)}


async def begun_at_once(engine: SqliteEngine) -> Intent:
    await engine.queue.accept([payment(1)])
    [delivery] = await engine.queue.claim(1)
    one = intent(delivery)
    beginning = asyncio.ensure_future(engine.queue.begin([one]))
    await asyncio.sleep(0)
    engine.store.commit()
    assert await beginning == [True]
    return one


def log_starts(engine: SqliteEngine) -> int:
    """How often the log has started over: its header counts (source: SQLite's "WAL File Format")."""
    with (engine.path.parent / f"{engine.path.name}-wal").open("rb") as log:
        return int.from_bytes(log.read(16)[12:16], "big")


def test_the_log_is_moved_into_the_file_and_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payrouter.adapters.sqlite.store.CHECKPOINT_CHANGES", 50)

    async def accept_until_it_has_started_over(engine: SqliteEngine) -> int:
        count, file_bytes, starts = 0, engine.path.stat().st_size, log_starts(engine)
        while log_starts(engine) < starts + 2:
            await engine.queue.accept([payment(number) for number in range(count + 1, count + 11)])
            count += 10
            await asyncio.sleep(0.01)
        assert engine.path.stat().st_size > file_bytes
        return count

    async def grow() -> None:
        engine = SqliteEngine(tmp_path, 100_000)
        checkpointing = asyncio.create_task(engine.store.checkpoint_forever())
        try:
            count = await accept_until_it_has_started_over(engine)
            await engine.restart()
            assert len(await engine.queue.claim(100_000)) == count
        finally:
            checkpointing.cancel()
            with suppress(asyncio.CancelledError):
                await checkpointing
            await engine.close()

    asyncio.run(asyncio.wait_for(grow(), 10))
