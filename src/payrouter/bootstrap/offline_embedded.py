"""An installation on the embedded engine, seen from outside."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from payrouter.adapters.sqlite.books import SqliteBooks, send_again
from payrouter.adapters.sqlite.file_report import report_on
from payrouter.adapters.sqlite.findings import look_at
from payrouter.adapters.sqlite.repairs import SqliteRepairs
from payrouter.bootstrap.offline import DeadLetters
from payrouter.domain.payment import PaymentState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from payrouter.domain.ledger import Totals
    from payrouter.domain.window import Window
    from payrouter.ports.findings import Finding
    from payrouter.ports.ledger import ChargeWriter
    from payrouter.settings import Settings


class EmbeddedInstallation:
    """`Installation` on one SQLite file."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.data
        self._notices = bool(settings.webhook_url)
        self.where = str(settings.data)

    @asynccontextmanager
    async def books(self) -> AsyncIterator[SqliteBooks]:
        """Give our books, for reading only."""
        with SqliteBooks(self._path) as books:
            yield books

    @asynccontextmanager
    async def charges(self) -> AsyncIterator[ChargeWriter]:
        """Give what writes proven charges into the file, beside a router that has it or alone."""
        yield SqliteRepairs(self._path, notices=self._notices)

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals of settled payments by processor; those without any are left out."""
        async with self.books() as books:
            return await books.summary(window)

    async def dead_letters(self, limit: int) -> DeadLetters:
        """Return the oldest dead letters, `limit` at most."""
        with SqliteBooks(self._path) as books:
            return DeadLetters(books.dead_letters(limit), books.unsettled().get(PaymentState.DEAD_LETTER, 0))

    async def retry_dead_letters(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many."""
        return send_again(self._path, correlation_ids)

    async def runs(self) -> bool:
        """Return whether a router has the file."""
        return report_on(self._path).in_use

    async def look(self) -> list[Finding]:
        """Return what there is to say about the file; changes nothing."""
        return look_at(self._path)

    async def migrate(self, tell: Callable[[str], None]) -> list[str]:  # noqa: ARG002
        """Say that there is nothing to do."""
        return [
            f"nothing to migrate: payments are kept in the SQLite file {self._path}, which payrouter serve creates; "
            "tables are PostgreSQL's (PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL)"
        ]
