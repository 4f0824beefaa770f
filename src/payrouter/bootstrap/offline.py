"""An installation seen from outside, whether or not its processes run: for the command line."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from payrouter.domain.ledger import Totals
    from payrouter.domain.window import Window
    from payrouter.ports.books import ProcessorBooks, RouterBooks
    from payrouter.ports.findings import Finding
    from payrouter.ports.ledger import ChargeWriter
    from payrouter.ports.queue import DeadLetter
    from payrouter.settings import Settings

# Imports inside functions: this module is loaded by servers too, which have little memory and one engine.
# ruff: noqa: PLC0415


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The oldest dead letters, and how many there are; the same of poison, which only a cluster can have.

    Poison was put aside because nobody can send it: entries in the queue that are no payments, by their place in it,
    and payments whose record somebody spoilt, by their id. The text says how it begins. Not all that is
    counted is kept.
    """

    letters: list[DeadLetter]
    count: int
    poison: dict[str, str] = field(default_factory=dict)
    poison_count: int = 0


class Installation(Protocol):
    """What the settings name. `where` is the place of what is not settled, for people.

    Every method raises `StoreError` if a store cannot be used; the text says why and what to do.
    """

    where: str

    def books(self) -> AbstractAsyncContextManager[RouterBooks]:
        """Give our books, for reading only."""
        ...

    def charges(self) -> AbstractAsyncContextManager[ChargeWriter]:
        """Give what writes proven charges into our books, beside a router that runs or alone."""
        ...

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals of settled payments by processor; those without any are left out."""
        ...

    async def dead_letters(self, limit: int) -> DeadLetters:
        """Return dead letters, `limit` of a kind at most."""
        ...

    async def retry_dead_letters(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many; a running router notices within seconds.

        Raises:
            InvalidInput: if one of them is no dead letter; then nothing was changed.
        """
        ...

    async def runs(self) -> bool:
        """Return whether somebody hands payments to processors."""
        ...

    async def look(self) -> list[Finding]:
        """Return what there is to say about the stores; changes nothing."""
        ...

    async def migrate(self, tell: Callable[[str], None]) -> list[str]:
        """Bring tables up to what this version needs; return what was done, in words, a line each.

        `tell` gets what is about to be done, as each may take long.
        """
        ...


def installation(settings: Settings) -> Installation:
    """Return the installation that the settings name; nothing is opened yet."""
    if settings.clustered:
        from payrouter.bootstrap.offline_cluster import ClusterInstallation

        return ClusterInstallation(settings)
    from payrouter.bootstrap.offline_embedded import EmbeddedInstallation

    return EmbeddedInstallation(settings)


@asynccontextmanager
async def processor_books(settings: Settings, *, within_s: float = 15.0) -> AsyncIterator[ProcessorBooks]:
    """Give the books of every configured processor; an answer may take `within_s`."""
    from payrouter.adapters.http.books import HttpBooks

    books = HttpBooks(settings.processors, within_s=within_s)
    try:
        yield books
    finally:
        await books.close()
