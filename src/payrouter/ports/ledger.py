"""The ledger of settled payments and its summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.ledger import PaymentRecord, Settlement, Totals
    from payrouter.domain.window import Window


class ChargeWriter(Protocol):
    """Writes charges. Idempotent on the correlationId. Receipts do not matter: a charge is a fact, whoever tells."""

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges whose attempts stand, in the dead letters too.

        False where the payment was settled before, is no longer known, or has another attempt or none.

        Raises:
            StoreUnavailable: nothing of the batch was written; repeat it.
            StoreUncertain: all or nothing of it was written; repeat it. It says False then of what had been.
        """
        ...

    async def settle_waiting(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges of payments that wait and of which no attempt stands; for one that a processor's record proves.

        Fenced against `begin` by the payment itself: either the attempt somebody begins finds it gone, or this
        finds the attempt and says False. False as well where the amount differs.

        Raises:
            StoreUnavailable: a payment of the batch waits as before, or is a dead letter with this attempt, which
                nobody sends and `settle` settles; or it is settled.
        """
        ...


class Ledger(ChargeWriter, Protocol):
    """Settled payments."""

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name; every processor with a settled payment in the window is in it."""
        ...

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, settled or not."""
        ...
