"""What the command line needs beside a router, running or not."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from payrouter.adapters.http.books import HttpBooks
from payrouter.adapters.sqlite.books import SqliteBooks, send_again
from payrouter.adapters.sqlite.file_report import FileReport, report_on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from payrouter.settings import Settings


@asynccontextmanager
async def open_books(settings: Settings) -> AsyncIterator[SqliteBooks]:
    """Give our books, for reading only.

    Raises:
        StoreUnavailable, StoreIncompatible: there are none, or they are not ours.
    """
    with SqliteBooks(settings.data) as books:
        yield books


def data_report(settings: Settings) -> FileReport:
    """Return what can be said about the data file without writing to it."""
    return report_on(settings.data)


def retry_dead_letters(settings: Settings, correlation_ids: Sequence[str] | None) -> int:
    """Send dead letters again (all when None) and return how many; a running router notices within seconds.

    Raises:
        InvalidInput: if one of them is no dead letter; then nothing was changed.
    """
    return send_again(settings.data, correlation_ids)


@asynccontextmanager
async def processor_books(settings: Settings, *, within_s: float = 15.0) -> AsyncIterator[HttpBooks]:
    """Give the books of every configured processor; an answer may take `within_s`."""
    books = HttpBooks(settings.processors, within_s=within_s)
    try:
        yield books
    finally:
        await books.close()
