"""The SQLite file: opening it safely, and committing in groups.

Everything that must become durable goes through one connection. What is waiting when a commit starts goes into
the same transaction, so accepts, intents and settlements share one fsync (`synchronous=FULL`). Commits run on the
event loop: handing them to a thread costs two wake-ups per accept (figures in `docs/decisions.md`).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from payrouter.adapters.log_lines import fact
from payrouter.domain.errors import StoreIncompatible, StoreInUse, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPLICATION_ID = 0x50617972  # "Payr"
SCHEMA_VERSION = 2


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection with the pragmas every part relies on.

    Raises:
        StoreUnavailable: if the file cannot be opened.
        StoreIncompatible: if it is to be written and is not ours.
    """
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _prepare(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise StoreIncompatible(f"{path} is not a Payrouter file; choose another PAYROUTER_DATA") from error
        raise StoreUnavailable(f"cannot open {path}: {error}") from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    if not read_only:
        # Before the journal mode, which would be written into somebody else's file.
        check_schema(connection, path)
        # Small pages: a commit changes a few bytes on each of some scattered ones, and logs them whole.
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    # The checkpointer does this, off the accept path.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA temp_store = MEMORY")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise whatever SQLite says inside as `StoreUnavailable`."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot use {path}: {error}; check its permissions and its disk") from error


def check_schema(connection: sqlite3.Connection, path: Path) -> bool:
    """Return False for an empty file, True for one of ours, be it of an earlier version.

    Raises:
        StoreIncompatible: for anything else.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not tables:
        return False
    if application != APPLICATION_ID:
        raise StoreIncompatible(f"{path} is not a Payrouter file; choose another PAYROUTER_DATA")
    if not 1 <= version <= SCHEMA_VERSION:
        raise StoreIncompatible(f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}; upgrade it")
    return True


class SqliteStore:
    """One router's file, held exclusively while open. Give submitted work with `submit`."""

    linger_s = 0.004
    """How long work that nobody waits for (intents, settlements) may wait for an accept to share its commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opened, translated(path):
            self._lock = _lock_file(path)
            opened.callback(os.close, self._lock)
            self.connection = opened.enter_context(closing(connect(path)))
            self._bring_up_to_date(is_ours=check_schema(self.connection, path))
            _preallocate(Path(f"{path}-wal"))
            self._reader = opened.enter_context(closing(connect(path)))
            self._reader.execute("PRAGMA query_only = 1")
            opened.pop_all()  # all went well: `close` closes them
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="payrouter-read")
        self._waiting: list[_Job] = []
        self._timer: asyncio.TimerHandle | None = None
        self._make_room_s = 0.0
        self.commits = 0

    def _bring_up_to_date(self, *, is_ours: bool) -> None:
        """Create the tables, or change those of an earlier version, in one transaction: all of it or nothing."""
        version = self.connection.execute("PRAGMA user_version").fetchone()[0] if is_ours else 0
        steps = [f"upgrade_{number}.sql" for number in range(version + 1, SCHEMA_VERSION + 1)] if version else []
        if version == SCHEMA_VERSION:
            return
        folder = resources.files(__package__)
        sql = "".join(folder.joinpath(name).read_text() for name in steps or ["schema.sql"])
        try:
            self.connection.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};{sql} COMMIT;"
            )
        except sqlite3.Error as error:
            raise StoreUnavailable(f"cannot create or upgrade the tables in {self.path}: {error}") from error

    def submit(
        self,
        work: Callable[[sqlite3.Connection], T],
        committed: Callable[[T], None],
        *,
        urgent: bool = False,
    ) -> asyncio.Future[T]:
        """Run `work` in the next transaction; the future gives its result once that is durable.

        `committed` runs right after the commit, before anything else on the loop can look: the place to bring
        what is in memory up to date. Urgent work commits at once and takes along all that waits. The future fails
        with `StoreUnavailable` when nothing of the transaction was kept.

        Any other exception is a defect and fails the future of the job that raised it, no other. Work may be run
        again after a rollback, so it must leave nothing behind but what it writes.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, committed, future))
        if urgent:
            self.commit()
        elif self._timer is None:
            self._timer = loop.call_later(self.linger_s, self.commit)
        return future

    def commit(self) -> None:
        """Commit everything that waits, in one transaction."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group, self._waiting = self._waiting, []
        if group:
            self._commit(group)

    def _commit(self, group: list[_Job]) -> None:
        try:
            results = self._transact(group)
        except sqlite3.DatabaseError as error:
            self._make_room()
            failure = StoreUnavailable(f"{self.path}: {error}")
            for _, _, future in group:
                if not future.done():
                    future.set_exception(failure)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for the job
            if len(group) == 1:
                _fail(group[0], error)
                return
            # Only the job with the defect may fail, and alone each shows whether it is the one.
            for job in group:
                self._commit([job])
        else:
            self._publish(group, results)

    def _make_room(self) -> None:
        """After a failed commit, try to empty the log, at most once a second: it may be what fills the disk."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._make_room_s:
            self._make_room_s = now_s + 1.0
            _checkpoint(self.connection)

    def _transact(self, group: list[_Job]) -> list[Any]:
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [work(connection) for work, _, _ in group]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.commits += 1
        return results

    def _publish(self, group: list[_Job], results: list[Any]) -> None:
        for job, result in zip(group, results, strict=True):
            _, committed, future = job
            try:
                committed(result)
            except Exception as error:  # noqa: BLE001 - as above; what it wrote is durable and stays
                _fail(job, error)
                continue
            if not future.done():
                future.set_result(result)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on a thread of its own, after committing what waits: it sees every answer received so far."""
        self.commit()
        return await asyncio.get_running_loop().run_in_executor(self._reading, query, self._reader)

    async def checkpoint_forever(self) -> None:
        """Move what the write-ahead log holds into the file, on a thread, whenever enough has gathered."""
        connection = connect(self.path)
        try:
            behind = 0
            while True:
                await asyncio.sleep(0.25)
                changes = self.connection.total_changes - behind
                if changes < CHECKPOINT_CHANGES:
                    continue
                behind = self.connection.total_changes
                # Twice: the second finds only the few frames that came during the first.
                for _ in range(2):
                    await asyncio.to_thread(_checkpoint, connection)
                # Between two commits nothing is written, so this one catches up and the log starts over.
                _checkpoint(self.connection)
        finally:
            connection.close()

    def close(self) -> None:
        """Commit what waits and close. The file is whole at any time; this only tidies."""
        self.commit()
        _checkpoint(self.connection)
        self._reading.shutdown()
        self._reader.close()
        self.connection.close()
        os.close(self._lock)


T = TypeVar("T")
_Job = tuple["Callable[[sqlite3.Connection], Any]", "Callable[[Any], None]", "asyncio.Future[Any]"]
PREALLOCATED_BYTES = 32 * 1024 * 1024
CHECKPOINT_CHANGES = 20_000
"""Row changes between checkpoints: some 20 MB of log, a second of full load or ten of an ordinary one."""


def _fail(job: _Job, error: Exception) -> None:
    """Show a defect to whoever waits for the job, or in the log when nobody does any more."""
    future = job[2]
    if future.done():
        logging.getLogger(__name__).error(
            "a job of the store failed, and nobody waits for it", exc_info=error, extra=fact("store_job_failed")
        )
    else:
        future.set_exception(error)


def _checkpoint(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.OperationalError as error:
        # A full disk shows at the next commit, which is where somebody waits for an answer.
        logging.getLogger(__name__).warning(
            "checkpoint failed (%s); the log keeps everything", error, extra=fact("checkpoint_failed")
        )


def _preallocate(log: Path) -> None:
    """Extend the write-ahead log with zeros, which is what it ends in for SQLite (an invalid frame).

    Overwriting needs no change of the file's size, so that an fsync writes data only.
    """
    size = log.stat().st_size
    if size >= PREALLOCATED_BYTES:
        return
    try:
        _append_zeros(log, PREALLOCATED_BYTES - size)
    except OSError as error:
        os.truncate(log, size)
        logging.getLogger(__name__).warning(
            "cannot preallocate %s (%s); commits will be slower", log, error, extra=fact("preallocation_failed")
        )


def _append_zeros(log: Path, count: int) -> None:
    with log.open("ab", buffering=0) as file:
        if file.write(bytes(count)) < count:
            # A disk fills up without an error, and what did fit would be the last room on it.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())


def _lock_file(path: Path) -> int:
    """Take the file for this process.

    Raises:
        StoreInUse: if another router has it.
        StoreUnavailable: if the folder cannot be written.
    """
    try:
        lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"cannot write beside {path}: {error.strerror}; is the folder there?") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreInUse(f"{path} is in use by another router; stop it or choose another PAYROUTER_DATA") from None
    return lock
