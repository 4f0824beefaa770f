"""Spans with OpenTelemetry: accept, attempt (one per POST), settle. Imported only where tracing is on.

A payment is stored with the trace context of its accept span, so that attempts and settling are that span's children,
in whichever process they happen. What is exported, where to and how much of it, say OpenTelemetry's own OTEL_*
variables. Spans that cannot be exported are dropped: payments never wait for them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from payrouter import __version__
from payrouter.domain.attempt import Charged, Invalid, Refused, Unknown
from payrouter.domain.events import PaymentsSettled
from payrouter.domain.money import format_minor
from payrouter.domain.window import format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace.export import SpanExporter

    from payrouter.domain.attempt import Intent, Outcome
    from payrouter.domain.events import Event
    from payrouter.domain.health import HealthReport
    from payrouter.domain.payment import Payment
    from payrouter.ports.clock import Clock
    from payrouter.ports.gateway import ProcessorGateway
    from payrouter.ports.queue import Acceptance, PaymentTaker

CLOSE_WITHIN_S = 2.0
_ID = "payrouter.correlation_id"
_PROCESSOR = "payrouter.processor"
_OUTCOME = "payrouter.outcome"


class Tracing:
    """Makes spans and hands them to an exporter, by default OTLP over HTTP as OTEL_EXPORTER_OTLP_* say."""

    def __init__(self, role: str, clock: Clock, exporter: SpanExporter | None = None) -> None:
        self._clock = clock
        known = {"service.version": __version__, "payrouter.role": role}
        if "OTEL_SERVICE_NAME" not in os.environ:
            known["service.name"] = "payrouter"
        # Not at exit, which would wait for an exporter that nobody answers.
        self._provider = TracerProvider(resource=Resource.create(known), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _otlp()))
        self._tracer = self._provider.get_tracer("payrouter", __version__)

    def start(self, name: str, trace: str, kind: SpanKind, at_us: int) -> Span:
        """Begin a span at an instant (UTC us): a child of a `traceparent`, the root of a new trace for ""."""
        return self._tracer.start_span(name, _context(trace), kind, start_time=at_us * 1000)

    def end(self, span: Span) -> None:
        """End a span now."""
        span.end(self._clock.now_us() * 1000)

    @property
    def clock(self) -> Clock:
        """What spans begin and end by."""
        return self._clock

    async def close(self) -> None:
        """Export what is left, for as long as a stop may wait for it."""
        # A thread of its own, as nothing else would let the process end while nobody answers.
        thread = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        thread.start()
        until_s = self._clock.monotonic_s() + CLOSE_WITHIN_S
        while thread.is_alive() and self._clock.monotonic_s() < until_s:  # noqa: ASYNC110 - a thread has no event
            await asyncio.sleep(0.01)


def _otlp() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - most of it

    return OTLPSpanExporter()


def _context(trace: str) -> Context:
    if not trace:
        return Context()
    _, trace_id, span_id, flags = trace.split("-")
    parent = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def traceparent(span: Span) -> str:
    """Return what makes others' spans children of this one."""
    known = span.get_span_context()
    return f"00-{known.trace_id:032x}-{known.span_id:016x}-{known.trace_flags:02x}"


class TracedQueue:
    """Accepts into a queue, each payment in a span; it is stored with that span's context."""

    def __init__(self, inner: PaymentTaker, tracing: Tracing) -> None:
        self._inner = inner
        self._tracing = tracing

    async def accept(self, payments: Sequence[Payment]) -> list[Acceptance]:
        """Make payments durable; one answer per payment, in order."""
        start = self._tracing.start
        spans = [start("accept", one.trace, SpanKind.SERVER, one.accepted_us) for one in payments]
        traced = [replace(one, trace=traceparent(span)) for one, span in zip(payments, spans, strict=True)]
        results: Sequence[str] = ()
        try:
            results = answers = await self._inner.accept(traced)
        finally:
            for index, (one, span) in enumerate(zip(payments, spans, strict=True)):
                result = results[index] if results else "unavailable"
                span.set_attributes(
                    {
                        _ID: one.correlation_id,
                        "payrouter.amount": format_minor(one.amount_minor),
                        "payrouter.result": result,
                    }
                )
                if not results:
                    span.set_status(Status(StatusCode.ERROR, "it could not be made durable"))
                self._tracing.end(span)
        return answers


class TracedGateway:
    """`ProcessorGateway` whose attempts are spans; the processor is told the span of the POST it gets."""

    def __init__(self, inner: ProcessorGateway, tracing: Tracing) -> None:
        self._inner = inner
        self._tracing = tracing

    def send(self, intent: Intent, done: Callable[[Outcome], None]) -> None:
        """Post an attempt; `done` is called exactly once, later, on the loop."""
        delivery = intent.delivery
        span = self._tracing.start("attempt", delivery.trace, SpanKind.CLIENT, self._tracing.clock.now_us())
        if span.is_recording():
            span.set_attributes(
                {
                    _ID: delivery.correlation_id,
                    _PROCESSOR: intent.processor,
                    "payrouter.requested_at": format_instant(intent.requested_us),
                    "payrouter.reason": intent.reason.partition("|")[0],
                }
            )
        told = replace(intent, delivery=replace(delivery, trace=traceparent(span)))
        self._inner.send(told, partial(self._landed, span, done))

    def _landed(self, span: Span, done: Callable[[Outcome], None], outcome: Outcome) -> None:
        word, detail = _in_words(outcome)
        span.set_attribute(_OUTCOME, word)
        if detail is not None:
            span.set_status(Status(StatusCode.ERROR, detail))
        self._tracing.end(span)
        done(outcome)

    def prove(self, intent: Intent, done: Callable[[bool], None]) -> None:
        """Ask the processor for its record of an attempt; `done` is called exactly once, later, on the loop."""
        self._inner.prove(intent, done)

    async def health(self, processor: str) -> HealthReport:
        """Ask for a health report.

        Raises:
            GatewayError: if none came: no answer in time, or something that is no report.
        """
        return await self._inner.health(processor)

    async def close(self) -> None:
        """Close every connection; attempts under way end as Unknown."""
        await self._inner.close()


def _in_words(outcome: Outcome) -> tuple[str, str | None]:
    """Return an outcome in one word, and what was said when it is no charge."""
    match outcome:
        case Charged():
            return "charged", None
        case Refused(_, detail):
            return "refused", detail
        case Unknown(detail):
            return "unknown", detail
        case Invalid(detail):
            return "invalid", detail
        case _:
            assert_never(outcome)


class SettleSpans:
    """`EventSink` that tells of settling: from the processor's answer until the books have it."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def publish(self, event: Event) -> None:
        """Make the spans of one fact; most have none."""
        if not isinstance(event, PaymentsSettled):
            return
        for settlement, written in zip(event.settlements, event.written, strict=True):
            intent = settlement.intent
            span = self._tracing.start("settle", intent.delivery.trace, SpanKind.INTERNAL, settlement.settled_us)
            if span.is_recording():
                span.set_attributes(
                    {
                        _ID: intent.delivery.correlation_id,
                        _PROCESSOR: intent.processor,
                        "payrouter.written": written,
                    }
                )
            span.end(event.now_us * 1000)
