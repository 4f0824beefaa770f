"""The catalogue of metrics: every name, its kind, unit, labels and meaning, once.

Names follow Prometheus' conventions: base units (`_seconds`, `_bytes`), `_total` for counters. Money is counted in
minor units. What a process counts carries the label `process` when it is shown; what is true of the whole
installation does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "payrouter_"


class Kind(StrEnum):
    """What kind of a metric it is, as Prometheus says it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` is without the prefix. `buckets`: upper bounds of a histogram, ascending, without the infinite one."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    of_process: bool = True
    buckets: tuple[float, ...] = ()


_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, text, labels)


def _whole(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, text, labels, of_process=False)


CATALOGUE = (
    _counter("payments_accepted_total", "Payments handed in, by what became of it.", "result"),
    _counter("payments_settled_total", "Payments settled.", "processor"),
    _counter("settled_amount_minor_total", "Sum of settled payments in minor units.", "processor"),
    _counter("fees_minor_total", "What processors keep of settled payments, in minor units.", "processor"),
    _counter("attempts_total", "Attempts that came to an outcome.", "processor", "outcome"),
    _counter("dead_letters_total", "Payments that went to the dead letters.", "processor"),
    _counter("health_call_failures_total", "Health calls without a report.", "processor"),
    _counter("store_failures_total", "Times a store could not do something, which is then tried again.", "doing"),
    _counter("webhooks_total", "Webhooks by result: delivered, failed (to be tried again), given-up.", "result"),
    _counter("http_refused_total", "Requests of the public API refused before anything else.", "reason"),
    Metric(
        "accept_seconds",
        Kind.HISTOGRAM,
        "From reading a payment to knowing that it is durable, or is not.",
        buckets=_FAST,
    ),
    Metric(
        "queue_wait_seconds",
        Kind.HISTOGRAM,
        "From accepting a payment to the attempt that charged it.",
        ("processor",),
        buckets=_LONG,
    ),
    Metric(
        "attempt_seconds",
        Kind.HISTOGRAM,
        "From sending an attempt to its outcome.",
        ("processor", "outcome"),
        buckets=(0.0025, *_LONG[:-3]),
    ),
    Metric("settle_seconds", Kind.HISTOGRAM, "From a processor's answer to its place in the ledger.", buckets=_FAST),
    _gauge("processor_in_flight", "Attempts under way.", "processor"),
    _gauge("processor_limit", "Most attempts under way, as adapted.", "processor"),
    _gauge("processor_breaker", "The breaker: 0 closed, 1 half-open, 2 open.", "processor"),
    _gauge("processor_expected_seconds", "Latency expected of the next attempt.", "processor"),
    _gauge("processor_reported_failing", "1 when its last health report says failing.", "processor"),
    _gauge("processor_paused", "1 while an operator has paused it.", "processor"),
    _gauge("pinned", "Attempts of unknown outcome that wait for their next repeat.", "processor"),
    _gauge("leader", "1 where the process leads: it makes the health calls."),
    _gauge("unrecorded", "Outcomes that are not durable yet."),
    _gauge("process_resident_memory_bytes", "Resident memory."),
    _counter("process_cpu_seconds_total", "CPU time used."),
    _gauge("process_start_time_seconds", "When the process started, seconds since 1970."),
    _whole("backlog_payments", "Payments that wait to be sent."),
    _whole("backlog_oldest_seconds", "Age of the oldest payment that waits to be sent; 0 when none does."),
    _whole("unknown_outcomes", "Attempts of unknown outcome that are being resolved."),
    _whole("unknown_oldest_seconds", "Age of the oldest attempt of unknown outcome; 0 when there is none."),
    _whole("dead_letters", "Payments in the dead letters."),
    _whole("poison_entries", "Entries put aside because nobody can read them."),
    _whole("webhooks_waiting", "Webhooks still to be delivered."),
    _whole("webhooks_oldest_seconds", "Age of the oldest webhook still to be delivered; 0 when there is none."),
    _whole("processes", "Living processes.", "role"),
    _whole("leaders", "Processes that lead: 1 when all is well."),
    _whole("books_differ", "1 when our books and the processor's differ, 0 when they agree.", "processor"),
    _whole("books_compared_timestamp_seconds", "When the books were last compared, seconds since 1970."),
)

BY_NAME = {metric.name: metric for metric in CATALOGUE}
