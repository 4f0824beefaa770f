"""Our side of the books while stores die and come back: every question has an answer, or None while nobody answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from payrouter.adapters.postgres.books import PostgresBooks
from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.adapters.sqlite.books import SqliteBooks
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.window import Window
from payrouter_lab.faults.books import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path
    from types import TracebackType

    from payrouter.ports.books import BookEntry

Answer = TypeVar("Answer")

_OPEN_WITHIN_S = 10.0
_CALL_WITHIN_S = 2.0


class Ledger(Protocol):
    """What is settled."""

    def settled_of(self, correlation_ids: list[str], since_us: int) -> set[str] | None:
        """Return those that are settled, if requested since then; None while the ledger does not answer."""

    def entries(self, since_us: int = 0) -> list[Entry] | None:
        """Return the settled payments requested since then; None while the ledger does not answer."""


class ClusterLedger:
    """The ledger in PostgreSQL, on one connection of our own."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._access = Access(url, name="payrouter faults", call_timeout_s=_CALL_WITHIN_S, writes=False)
        self._store = PostgresStore(self._access, connections=1)

    def __enter__(self) -> Self:
        self._runner.run(self._store.open(_OPEN_WITHIN_S))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._store.close())
        self._runner.close()

    def settled_of(self, correlation_ids: list[str], since_us: int) -> set[str] | None:  # noqa: ARG002 - found by id
        """Return those that are settled; None while PostgreSQL does not answer."""
        if not correlation_ids:
            return set()
        found = self._ask(lambda store: PostgresLedger(store).known(correlation_ids))
        return None if found is None else set(found)

    def entries(self, since_us: int = 0) -> list[Entry] | None:
        """Return the settled payments requested since then; None while PostgreSQL does not answer."""
        found = self._ask(lambda store: PostgresBooks(store).settled(Window(since_us)))
        return None if found is None else _entries(found)

    def _ask(self, question: Callable[[PostgresStore], Coroutine[Any, Any, Answer]]) -> Answer | None:
        try:
            return self._runner.run(question(self._store))
        except StoreUnavailable:
            # A store that has failed pauses before it tries again, which would be measured as recovery.
            self._runner.run(self._store.close())
            self._store = PostgresStore(self._access, connections=1)
            return None


class FileLedger:
    """The ledger in the router's SQLite file; opened anew for each question."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def settled_of(self, correlation_ids: list[str], since_us: int) -> set[str] | None:
        """Return those that are settled, if requested since then; None while the file cannot be read."""
        found = self.entries(since_us)
        return None if found is None else {one.correlation_id for one in found} & set(correlation_ids)

    def entries(self, since_us: int = 0) -> list[Entry] | None:
        """Return the settled payments requested since then; None while the file cannot be read."""
        try:
            with SqliteBooks(self._file) as books:
                return _entries(asyncio.run(books.settled(Window(since_us))))
        except StoreUnavailable:
            return None


def _entries(settled: Mapping[str, Mapping[str, BookEntry]]) -> list[Entry]:
    return [
        Entry(name, one.correlation_id, one.amount_minor, one.requested_us)
        for name, found in settled.items()
        for one in found.values()
    ]
