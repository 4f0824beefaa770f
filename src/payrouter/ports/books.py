"""Two sets of books to hold against each other: each processor's own, and ours. Reading only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from payrouter.domain.errors import PayrouterError

if TYPE_CHECKING:
    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.window import Window


class BooksUnavailable(PayrouterError):
    """A processor's books cannot be read; the text says which, what came instead and what to do."""


class TokenRefused(BooksUnavailable):
    """The processor is there, but does not take our admin token."""


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One charged payment, as one side has it. `correlation_id` is in lower case."""

    correlation_id: str
    amount_minor: int
    requested_us: int


@dataclass(frozen=True, slots=True)
class BookPage:
    """Some entries, in no promised order; `cursor` leads to the next page, None after the last."""

    entries: list[BookEntry]
    cursor: str | None


class ProcessorBooks(Protocol):
    """What processors say they charged. Every method raises `BooksUnavailable` when one cannot be asked."""

    async def totals(self, processor: str, window: Window) -> Totals:
        """Return number and sum of the payments requested in a window, both bounds included."""
        ...

    async def page(self, processor: str, window: Window, cursor: str | None) -> BookPage | None:
        """Return one page of the payments of a window; None from a processor that does not list payments."""
        ...

    async def find(self, processor: str, correlation_id: str) -> BookEntry | None:
        """Return one payment, None when the processor does not know it."""
        ...


@dataclass(frozen=True, slots=True)
class UnresolvedAttempt:
    """An attempt without an outcome in our books yet: under way, pinned, or a dead letter still pinned."""

    processor: str
    entry: BookEntry
    state: str


class RouterBooks(Protocol):
    """What we say was charged. Every method raises `StoreUnavailable` when it cannot be read."""

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals of settled payments by processor; those without any are left out."""
        ...

    async def slice_end_us(self, window: Window, most: int) -> int:
        """Return where to end a slice from the window's start on that holds about `most` settled payments.

        The instant of the `most`-th one, so that no instant is torn apart; or the window's end.
        """
        ...

    async def settled(self, window: Window) -> dict[str, dict[str, BookEntry]]:
        """Return the settled payments of a window, by processor and correlationId."""
        ...

    async def unresolved(self, window: Window, limit: int) -> tuple[dict[str, Totals], list[UnresolvedAttempt]]:
        """Return unresolved attempts of a window: totals by processor, and the first `limit` by age."""
        ...

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return all we know of one payment."""
        ...
