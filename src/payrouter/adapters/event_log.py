"""Events as log lines, worded in one place.

Information is what an operator wants to read of normal life, warnings and errors are failures. What happens to every
payment is debug: there are thousands.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from payrouter.adapters.log_lines import batch, fact
from payrouter.domain.board import Standing
from payrouter.domain.events import (
    AttemptFailed,
    BooksCompared,
    Event,
    HealthCallFailed,
    LeadershipChanged,
    PaymentBuried,
    PaymentsAccepted,
    PaymentsSettled,
    ProcessorPaused,
    Purged,
    Recovered,
    RequestRefused,
    StandingChanged,
    StoreFailed,
    WebhookDelivered,
    WebhookFailed,
    WebhooksGivenUp,
)
from payrouter.domain.money import format_minor
from payrouter.domain.payment import PaymentEvent
from payrouter.domain.trace import trace_id
from payrouter.domain.window import format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from payrouter.adapters.log_lines import Line
    from payrouter.domain.ledger import Settlement

_log = logging.getLogger("payrouter")
_QUIET_S = 1.0
_ROUTINE = frozenset((Standing.USABLE, Standing.FULL))
_HANDED_IN = {
    "accepted": ("payment_accepted", "accepted"),
    "duplicate": ("payment_duplicate", "handed in again"),
    "conflict": ("payment_conflict", "handed in with another amount, refused"),
    "full": ("payment_refused", "refused: too many payments wait"),
    "unavailable": ("payment_refused", "refused: it could not be made durable"),
}
_COMPARED = {
    "agree": (logging.INFO, "the books agree with the processors'"),
    "differ": (logging.ERROR, "the books differ from the processors'"),
    "unavailable": (logging.WARNING, "the books cannot be compared with the processors'"),
}


class EventLog:
    """`EventSink` that writes log lines; the same failure is worded once a second at most, with how often it was not.

    At debug level what was not worded is there all the same, as debug.
    """

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._said: dict[str, tuple[float, int]] = {}

    def publish(self, event: Event) -> None:
        """Log one fact."""
        match event:
            case PaymentsAccepted():
                if _log.isEnabledFor(logging.DEBUG):
                    batch(_log, logging.DEBUG, len(event.payments), partial(_accepted, event))
            case PaymentsSettled():
                if _log.isEnabledFor(logging.DEBUG):
                    batch(_log, logging.DEBUG, 2 * len(event.settlements), partial(_settled, event))
            case AttemptFailed():
                self._attempt_failed(event)
            case HealthCallFailed(processor, detail):
                fields = {"processor": processor, "detail": detail}
                self._once(f"health {processor}", logging.WARNING, f"{processor}: {detail}", "health_failed", fields)
            case StoreFailed(doing, detail):
                text = f"{doing} failed, will be tried again: {detail}"
                self._once(f"store {doing}", logging.ERROR, text, "store_failed", {"doing": doing, "detail": detail})
            case WebhookDelivered(correlation_id, webhook):
                text = f"the webhook {webhook} of {correlation_id} was delivered"
                _say(logging.DEBUG, text, "webhook_delivered", {"correlationId": correlation_id, "webhook": webhook})
            case WebhookFailed(correlation_id, webhook, detail):
                fields = {"correlationId": correlation_id, "webhook": webhook, "detail": detail}
                text = f"the webhook {webhook} of {correlation_id} failed, will be tried again: {detail}"
                self._once("webhook", logging.WARNING, text, "webhook_failed", fields)
            case RequestRefused(reason, client):
                text, fields = f"refused a request of {client}: {reason}", {"reason": reason, "client": client}
                self._once(f"refused {reason}", logging.WARNING, text, "request_refused", fields)
            case _:
                _say_rare(event)

    def _attempt_failed(self, event: AttemptFailed) -> None:
        unknown = event.outcome == PaymentEvent.UNKNOWN
        if not (unknown or _log.isEnabledFor(logging.DEBUG)):
            return
        fields = {
            "correlationId": event.correlation_id,
            "processor": event.processor,
            "outcome": event.outcome,
            "detail": event.detail,
            "latencyMs": round(event.latency_ms, 1),
        }
        text = f"{event.correlation_id} at {event.processor}: {event.outcome}, {event.detail}"
        if unknown:
            self._once(f"attempt {event.processor}", logging.WARNING, text, "attempt_failed", fields)
        else:
            _say(logging.DEBUG, text, "attempt_failed", fields)

    def _once(self, topic: str, level: int, text: str, name: str, fields: dict[str, Any]) -> None:
        now_s = self._monotonic_s()
        said_s, unsaid = self._said.get(topic, (float("-inf"), 0))
        if now_s - said_s < _QUIET_S:
            self._said[topic] = said_s, unsaid + 1
            _say(logging.DEBUG, text, name, fields)
            return
        self._said[topic] = now_s, 0
        if unsaid:
            text, fields = f"{text} ({unsaid} more like it since the last time)", {**fields, "unsaid": unsaid}
        _say(level, text, name, fields)


def _say(level: int, text: str, name: str, fields: dict[str, Any]) -> None:
    if _log.isEnabledFor(level):
        _log.log(level, "%s", text, extra=fact(name, **fields))


def _say_rare(
    event: PaymentBuried
    | StandingChanged
    | Recovered
    | Purged
    | LeadershipChanged
    | ProcessorPaused
    | WebhooksGivenUp
    | BooksCompared,
) -> None:
    match event:
        case PaymentBuried(correlation_id, processor, reason):
            fields: dict[str, Any] = {"correlationId": correlation_id, "processor": processor, "reason": reason}
            text = f"{correlation_id} is a dead letter: {processor} {reason}"
            _say(logging.ERROR, text, "dead_letter", fields)
        case StandingChanged(processor, before, after, expected_ms):
            # A limit is reached and left many times a second when there is more to do than it lets through.
            level = logging.DEBUG if _ROUTINE.issuperset((before, after)) else logging.INFO
            text = f"{processor} is {after} (was {before}, expects {expected_ms:.0f} ms)"
            fields = {"processor": processor, "before": before, "after": after, "expectedMs": round(expected_ms, 1)}
            _say(level, text, "standing_changed", fields)
        case Recovered(standing_intents, waiting):
            if standing_intents or waiting:
                text = f"recovered {standing_intents} attempts to repeat, {waiting} payments waiting"
                _say(logging.INFO, text, "recovered", {"attempts": standing_intents, "waiting": waiting})
        case Purged():
            _say(logging.WARNING, "everything was purged", "purged", {})
        case LeadershipChanged(node, leading):
            text = f"{node} {'leads: it makes the health calls' if leading else 'does not lead any more'}"
            _say(logging.INFO, text, "leader_changed", {"node": node, "leads": leading})
        case ProcessorPaused(processor, paused):
            text = f"{processor} is paused by an operator" if paused else f"{processor} goes on"
            _say(logging.WARNING, text, "processor_paused" if paused else "processor_resumed", {"processor": processor})
        case WebhooksGivenUp(count, detail):
            text = f"{count} webhooks were given up: {detail}"
            _say(logging.ERROR, text, "webhooks_given_up", {"count": count, "detail": detail})
        case BooksCompared(state, differences, detail):
            level, words = _COMPARED[state]
            text = f"{words}: {detail}" if detail else words
            _say(level, text, "books_compared", {"state": state, "differences": differences, "detail": detail})
        case _:
            assert_never(event)


def _accepted(event: PaymentsAccepted) -> Iterator[Line]:
    for payment, result in zip(event.payments, event.results, strict=True):
        name, words = _HANDED_IN[result]
        amount = format_minor(payment.amount_minor)
        fields: dict[str, Any] = {"correlationId": payment.correlation_id, "amount": amount, "result": result}
        if payment.trace:
            fields["traceId"] = trace_id(payment.trace)
        yield event.now_us, name, f"{payment.correlation_id} over {amount}: {words}", fields


def _settled(event: PaymentsSettled) -> Iterator[Line]:
    for settlement, written in zip(event.settlements, event.written, strict=True):
        yield _attempt_charged(settlement)
        intent = settlement.intent
        correlation_id, processor = intent.delivery.correlation_id, intent.processor
        fields: dict[str, Any] = {
            "correlationId": correlation_id,
            "processor": processor,
            "amount": format_minor(intent.delivery.amount_minor),
        }
        if intent.delivery.trace:
            fields["traceId"] = trace_id(intent.delivery.trace)
        if written:
            yield event.now_us, "payment_settled", f"{correlation_id} is settled by {processor}", fields
        else:
            text = f"{correlation_id}: its charge by {processor} was in the books, or has no payment any more"
            yield event.now_us, "charge_known", text, fields


def _attempt_charged(settlement: Settlement) -> Line:
    intent = settlement.intent
    correlation_id, latency_ms = intent.delivery.correlation_id, round(settlement.latency_ms, 1)
    fields = {
        "correlationId": correlation_id,
        "processor": intent.processor,
        "latencyMs": latency_ms,
        "requestedAt": format_instant(intent.requested_us),
        "reason": intent.reason.partition("|")[0],
    }
    text = f"{correlation_id} at {intent.processor}: charged after {latency_ms} ms"
    return settlement.settled_us, "attempt_charged", text, fields
