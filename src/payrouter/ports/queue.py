"""The durable queue of payments and the intents that guard them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.attempt import Delivery, FailedAttempt, Intent
    from payrouter.domain.payment import Payment


class Acceptance(StrEnum):
    """What became of a payment handed in. `ACCEPTED` and `DUPLICATE` are durable; `CONFLICT` has another amount."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A payment that can never succeed as it is. `pinned_to` names where an earlier attempt is unresolved."""

    correlation_id: str
    amount_minor: int
    accepted_us: int
    reason: str
    pinned_to: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: how many, unclaimed or claimed and unsent, and when the next claimable one was accepted.

    `oldest_us` is UTC microseconds, None when nothing can be claimed.
    """

    waiting: int
    oldest_us: int | None


class PaymentTaker(Protocol):
    """Accepting, as far as those who hand payments in need it."""

    async def accept(self, payments: Sequence[Payment]) -> list[Acceptance]:
        """Make payments durable; one answer per payment, in order.

        Raises:
            StoreUnavailable: if none of them is.
        """
        ...


class PaymentQueue(Protocol):
    """Every method that changes something returns only once it is durable, or raises `StoreUnavailable`.

    A receipt is fenced: whatever is done with one that is not the newest for its payment has no effect.
    """

    async def accept(self, payments: Sequence[Payment]) -> list[Acceptance]:
        """Make payments durable; one answer per payment, in order."""
        ...

    async def claim(self, limit: int) -> list[Delivery]:
        """Take up to `limit` waiting payments, oldest first; empty when none waits."""
        ...

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give claimed payments back unsent; they keep their place in the queue."""
        ...

    async def begin(self, intents: Sequence[Intent]) -> list[bool]:
        """Write intents before they are sent. False where the receipt is stale or an intent already stands."""
        ...

    async def conclude(self, failures: Sequence[FailedAttempt]) -> None:
        """Write down attempts that did not charge and move their payments as `payment.TRANSITIONS` says.

        Refused: the intent goes, the payment is back in its place. Unknown: the intent stands. Invalid: dead letter.
        """
        ...

    async def orphans(self) -> list[Intent]:
        """Claim every unresolved attempt that nobody holds, oldest first, with fresh receipts.

        At start that is what a dead predecessor left; later, what an operator sent again. Cheap when empty.
        """
        ...

    async def backlog(self) -> Backlog:
        """Return what waits at this moment."""
        ...

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first."""
        ...

    async def dead_letter_counts(self) -> tuple[int, int]:
        """Return how many dead letters there are, and how often something nobody can read was put aside."""
        ...

    async def poison(self, limit: int) -> dict[str, str]:
        """Return what was put aside because nobody can read it, by its place or id, with how it begins."""
        ...

    async def retry_dead_letters(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many; a pinned one repeats its attempt."""
        ...

    async def purge(self) -> None:
        """Forget every payment, intent, ledger row and claim."""
        ...
