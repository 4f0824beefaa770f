"""Events as log lines, worded in one place. Routine ones (settled, refused) are debug: there are thousands."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, assert_never

from payrouter.domain.board import Standing
from payrouter.domain.events import (
    AttemptFailed,
    Event,
    HealthCallFailed,
    LeadershipChanged,
    PaymentBuried,
    PaymentsAccepted,
    PaymentsSettled,
    ProcessorPaused,
    Purged,
    Recovered,
    StandingChanged,
    StoreFailed,
    WebhookDelivered,
    WebhookFailed,
    WebhooksGivenUp,
)
from payrouter.domain.payment import PaymentEvent

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("payrouter")
_QUIET_S = 1.0
_ROUTINE = frozenset((Standing.USABLE, Standing.FULL))


class EventLog:
    """`EventSink` that writes log lines; the same failure is worded once a second at most."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._said: dict[str, float] = {}

    def publish(self, event: Event) -> None:  # noqa: PLR0912 - the table it reads as
        """Log one fact."""
        match event:
            case PaymentsAccepted(payments):
                _log.debug("%d payments handed in", len(payments))
            case PaymentsSettled():
                _log.debug("settled %d", event.count)
            case AttemptFailed(correlation_id, processor, outcome, detail):
                level = logging.WARNING if outcome == PaymentEvent.UNKNOWN else logging.DEBUG
                self._once(
                    f"attempt {processor} {outcome}",
                    level,
                    f"{correlation_id} at {processor}: {outcome}, {detail}",
                )
            case PaymentBuried(correlation_id, processor, reason):
                _log.error("%s is a dead letter: %s %s", correlation_id, processor, reason)
            case StandingChanged(processor, before, after, expected_ms):
                # A limit is reached and left many times a second when there is more to do than it lets through.
                level = logging.DEBUG if _ROUTINE.issuperset((before, after)) else logging.INFO
                _log.log(level, "%s is %s (was %s, expects %.0f ms)", processor, after, before, expected_ms)
            case HealthCallFailed(processor, detail):
                self._once(f"health {processor}", logging.WARNING, f"{processor}: {detail}")
            case StoreFailed(doing, detail):
                self._once(f"store {doing}", logging.ERROR, f"{doing} failed, will be tried again: {detail}")
            case Recovered(standing_intents, waiting):
                if standing_intents or waiting:
                    _log.info("recovered %d attempts to repeat, %d payments waiting", standing_intents, waiting)
            case Purged():
                _log.warning("everything was purged")
            case LeadershipChanged(node, leading):
                _log.info("%s %s", node, "leads: it makes the health calls" if leading else "does not lead any more")
            case ProcessorPaused(processor, paused):
                _log.warning("%s", f"{processor} is paused by an operator" if paused else f"{processor} goes on")
            case WebhookDelivered(correlation_id, what):
                _log.debug("the webhook %s of %s is delivered", what, correlation_id)
            case WebhookFailed(correlation_id, what, detail):
                line = f"the webhook {what} of {correlation_id} failed, will be tried again: {detail}"
                self._once("webhook", logging.WARNING, line)
            case WebhooksGivenUp(count, detail):
                _log.error("webhooks given up: %d (%s)", count, detail)
            case _:
                assert_never(event)

    def _once(self, topic: str, level: int, line: str) -> None:
        now_s = self._monotonic_s()
        if now_s - self._said.get(topic, float("-inf")) >= _QUIET_S:
            self._said[topic] = now_s
            _log.log(level, "%s", line)
