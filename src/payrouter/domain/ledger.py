"""What the books hold: settlements, totals, and one payment's record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payrouter.domain.attempt import Intent
    from payrouter.domain.payment import PaymentState


@dataclass(frozen=True, slots=True)
class Settlement:
    """A charge to write into the ledger: the attempt, when its answer came (UTC us) and after how long."""

    intent: Intent
    settled_us: int
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Number and sum (minor units) of payments."""

    count: int = 0
    amount_minor: int = 0


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt that did not charge, as kept for whoever asks about the payment."""

    at_us: int
    processor: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """Everything we know of one payment. What has not happened yet is None.

    `failures` are the attempts that did not charge, oldest first, the last twenty at most.
    """

    correlation_id: str
    amount_minor: int
    accepted_us: int
    state: PaymentState
    attempts: int
    processor: str | None
    requested_us: int | None
    settled_us: int | None
    latency_ms: float | None
    reason: str | None
    failures: tuple[AttemptRecord, ...]
