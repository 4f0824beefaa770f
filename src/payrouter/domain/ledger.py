"""What the books hold: settlements, totals, and one payment's record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payrouter.domain.attempt import FailedAttempt, Intent
    from payrouter.domain.payment import PaymentState

KEPT_FAILURES = 20
"""Failed attempts kept of a payment, the newest."""


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
    """One attempt that did not charge, as kept for whoever asks about the payment; all instants UTC microseconds.

    `at_us`: when that was known. `requested_us` and `reason` are the attempt's (`Intent`), `latency_ms` is how long
    this POST of it took: None where nothing was sent, and in what earlier versions kept.
    """

    at_us: int
    processor: str
    outcome: str
    detail: str
    requested_us: int | None = None
    latency_ms: float | None = None
    reason: str | None = None

    @classmethod
    def of(cls, failure: FailedAttempt) -> AttemptRecord:
        """Return what is kept of a failed attempt."""
        intent = failure.intent
        return cls(
            failure.at_us,
            intent.processor,
            failure.event.value,
            failure.detail,
            intent.requested_us,
            round(failure.latency_ms, 1),
            intent.reason,
        )


@dataclass(frozen=True, slots=True)
class PaymentRecord:
    """Everything we know of one payment. What has not happened yet is None.

    `failures` are the attempts that did not charge, oldest first, the last `KEPT_FAILURES` at most.
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
