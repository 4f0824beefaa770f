"""The ledger of settled payments and its summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.ledger import PaymentRecord, Settlement, Totals
    from payrouter.domain.window import Window


class Ledger(Protocol):
    """Settled payments. Idempotent on the correlationId."""

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges; False where the payment was settled before or is no longer known.

        Only a charge of the attempt that stands is written, by whomever, in the dead letters too.

        Raises:
            StoreUnavailable: nothing of the batch was written; repeat it.
            StoreUncertain: all or nothing of it was written; repeat it. It says False then of what had been.
        """
        ...

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name; every processor with a settled payment in the window is in it."""
        ...

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, settled or not."""
        ...
