"""How a payment looks to whoever asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payrouter.domain.money import fee_minor
from payrouter.domain.routing import Reason
from payrouter.domain.window import format_instant
from payrouter.entrypoints.numbers import money

if TYPE_CHECKING:
    from payrouter.domain.ledger import PaymentRecord
    from payrouter.domain.processor import Processor


def _instant(instant_us: int | None) -> str | None:
    return None if instant_us is None else format_instant(instant_us)


def payment_view(record: PaymentRecord, processors: tuple[Processor, ...]) -> dict[str, Any]:
    """Return what `GET /payments/{correlationId}` answers."""
    return {
        "correlationId": record.correlation_id,
        "amount": money(record.amount_minor),
        "state": record.state.label,
        "acceptedAt": _instant(record.accepted_us),
        "processor": record.processor,
        "requestedAt": _instant(record.requested_us),
        "settledAt": _instant(record.settled_us),
        "latencyMs": record.latency_ms,
        "attempts": record.attempts,
        "reason": _reason_view(record, processors),
        "failedAttempts": [
            {
                "at": _instant(failure.at_us),
                "processor": failure.processor,
                "outcome": failure.outcome,
                "detail": failure.detail,
                "requestedAt": _instant(failure.requested_us),
                "latencyMs": failure.latency_ms,
                "reason": Reason.decode(failure.reason).in_words(failure.processor) if failure.reason else None,
            }
            for failure in record.failures
        ],
    }


def _reason_view(record: PaymentRecord, processors: tuple[Processor, ...]) -> dict[str, Any] | None:
    """Return why the payment went where it went, in words and numbers; None before its first attempt."""
    if record.reason is None or record.processor is None:
        return None
    reason = Reason.decode(record.reason)
    return {
        "text": reason.in_words(record.processor),
        "code": reason.code,
        "expectedMs": reason.expected_ms,
        "inFlight": reason.in_flight,
        "limit": reason.limit,
        "ageSeconds": reason.age_s,
        "passedOver": [{"processor": name, "standing": standing} for name, standing in reason.passed_over],
        **_fees(record, processors),
    }


def _fees(record: PaymentRecord, processors: tuple[Processor, ...]) -> dict[str, Any]:
    """Return the fee, and what the choice saved against the dearest and cost against the cheapest."""
    fees = {one.name: fee_minor(record.amount_minor, one.fee) for one in processors}
    if record.processor not in fees:
        return {}
    fee = fees[record.processor]
    return {
        "fee": money(fee),
        "savedAgainstDearest": money(max(fees.values()) - fee),
        "lostAgainstCheapest": money(fee - min(fees.values())),
    }
