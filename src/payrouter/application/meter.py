"""Counting what happens: an `EventSink` that keeps numbers, a few additions per payment.

Every metric is in `domain/metrics.py`. Bounded: the labels' values are processors, outcomes and our own words.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, assert_never

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
from payrouter.domain.metrics import BY_NAME
from payrouter.domain.money import fee_minor
from payrouter.domain.payment import PaymentEvent
from payrouter.domain.snapshot import Count, Distribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.ledger import Settlement
    from payrouter.domain.processor import Processor
    from payrouter.ports.events import EventSink

OUTCOMES = {PaymentEvent.REFUSED: "refused", PaymentEvent.UNKNOWN: "unknown", PaymentEvent.INVALID: "invalid"}
CHARGED = "charged"

Labels = tuple[str, ...]


class _Histogram:
    """Observations per bucket, and their sum."""

    __slots__ = ("bounds_us", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds_us = [bound * 1_000_000 for bound in bounds]
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds_us, value * 1_000_000)] += 1
        self.sum += value


class Meter:
    """`EventSink` that counts. `leading` follows what is told of leadership."""

    def __init__(self, processors: Sequence[Processor]) -> None:
        self._fees = {one.name: one.fee for one in processors}
        self._counters: dict[tuple[str, Labels], float] = {}
        self._histograms: dict[tuple[str, Labels], _Histogram] = {}
        self._accept = self._histogram("accept_seconds")
        self._settle = self._histogram("settle_seconds")
        self.leading = False

    def publish(self, event: Event) -> None:  # noqa: PLR0912 - the table it reads as
        """Count one fact."""
        match event:
            case PaymentsAccepted():
                self._accepted(event)
            case PaymentsSettled():
                self._settled(event)
            case AttemptFailed(_, processor, outcome, _, latency_ms):
                name = OUTCOMES.get(PaymentEvent(outcome), outcome)
                self.count("attempts_total", processor, name)
                self._histogram("attempt_seconds", processor, name).observe(latency_ms / 1000)
            case PaymentBuried(_, processor, _):
                self.count("dead_letters_total", processor)
            case HealthCallFailed(processor, _):
                self.count("health_call_failures_total", processor)
            case StoreFailed(doing, _):
                self.count("store_failures_total", doing)
            case RequestRefused(reason, _):
                self.count("http_refused_total", reason)
            case LeadershipChanged(_, leading):
                self.leading = leading
            case WebhookDelivered():
                self.count("webhooks_total", "delivered")
            case WebhookFailed():
                self.count("webhooks_total", "failed")
            case WebhooksGivenUp(count):
                self.count("webhooks_total", "given-up", add=count)
            case StandingChanged() | Recovered() | Purged() | ProcessorPaused() | BooksCompared():
                pass
            case _:
                assert_never(event)

    # Once per payment, so every call and look-up in these loops is one that could not be done before them.

    def _accepted(self, event: PaymentsAccepted) -> None:
        accept, now_us = self._accept, event.now_us
        bounds, buckets, passed_us = accept.bounds_us, accept.buckets, 0
        for payment in event.payments:
            took_us = now_us - payment.accepted_us
            passed_us += took_us
            buckets[bisect_left(bounds, took_us)] += 1
        accept.sum += passed_us / 1_000_000
        for result in set(event.results):
            self.count("payments_accepted_total", str(result), add=event.results.count(result))

    def _settled(self, event: PaymentsSettled) -> None:
        settle, now_us, passed_us = self._settle, event.now_us, 0
        bounds, buckets = settle.bounds_us, settle.buckets
        charged: dict[str, list[Settlement]] = {}
        for settlement in event.settlements:
            took_us = now_us - settlement.settled_us
            passed_us += took_us
            buckets[bisect_left(bounds, took_us)] += 1
            processor = settlement.intent.processor
            if processor in charged:
                charged[processor].append(settlement)
            else:
                charged[processor] = [settlement]
        settle.sum += passed_us / 1_000_000
        for processor, settlements in charged.items():
            self._charged(processor, settlements)
        written = event.settlements
        if not all(event.written):
            written = [one for one, new in zip(event.settlements, event.written, strict=True) if new]
        for processor in charged:
            self._written(processor, [one for one in written if one.intent.processor == processor])

    def _charged(self, processor: str, settlements: list[Settlement]) -> None:
        attempts = self._histogram("attempt_seconds", processor, CHARGED)
        bounds, buckets, passed_ms = attempts.bounds_us, attempts.buckets, 0.0
        for settlement in settlements:
            latency_ms = settlement.latency_ms
            passed_ms += latency_ms
            buckets[bisect_left(bounds, latency_ms * 1000)] += 1
        attempts.sum += passed_ms / 1000
        self.count("attempts_total", processor, CHARGED, add=len(settlements))

    def _written(self, processor: str, settlements: list[Settlement]) -> None:
        waits = self._histogram("queue_wait_seconds", processor)
        bounds, buckets, passed_us, amount_minor = waits.bounds_us, waits.buckets, 0, 0
        for settlement in settlements:
            intent = settlement.intent
            delivery = intent.delivery
            waited_us = intent.requested_us - delivery.accepted_us
            passed_us += waited_us
            amount_minor += delivery.amount_minor
            buckets[bisect_left(bounds, waited_us)] += 1
        waits.sum += passed_us / 1_000_000
        self.count("payments_settled_total", processor, add=len(settlements))
        self.count("settled_amount_minor_total", processor, add=amount_minor)

    def count(self, name: str, *labels: str, add: float = 1) -> None:
        """Add to a counter."""
        key = (name, labels)
        self._counters[key] = self._counters.get(key, 0) + add

    def _histogram(self, name: str, *labels: str) -> _Histogram:
        found = self._histograms.get((name, labels))
        if found is None:
            found = self._histograms[name, labels] = _Histogram(BY_NAME[name].buckets)
        return found

    def counts(self) -> list[Count]:
        """Return every counter."""
        counts = [Count(name, labels, value) for (name, labels), value in self._counters.items()]
        fees = [
            Count("fees_minor_total", one.labels, fee_minor(int(one.value), self._fees[one.labels[0]]))
            for one in counts
            if one.name == "settled_amount_minor_total" and one.labels[0] in self._fees
        ]
        return counts + fees

    def distributions(self) -> list[Distribution]:
        """Return every histogram."""
        return [
            Distribution(name, labels, tuple(one.buckets), one.sum) for (name, labels), one in self._histograms.items()
        ]


class Fanout:
    """`EventSink` that hands every fact to several."""

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks = sinks

    def publish(self, event: Event) -> None:
        """Hand one fact on."""
        for sink in self._sinks:
            sink.publish(event)
