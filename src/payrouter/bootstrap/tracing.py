"""Tracing, if the settings ask for it: what else a role puts around its ports then."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from payrouter.application.meter import Fanout
from payrouter.domain.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter.adapters.tracing import Tracing
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink
    from payrouter.ports.gateway import ProcessorGateway
    from payrouter.ports.queue import PaymentTaker
    from payrouter.settings import Settings

INSTALL = "pip install 'payrouter[tracing]'"


class Spans:
    """What tracing adds; nothing where it is off."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    def queue(self, queue: PaymentTaker) -> PaymentTaker:
        """Return a queue whose accepting is traced."""
        if self._tracing is None:
            return queue
        from payrouter.adapters.tracing import TracedQueue  # noqa: PLC0415

        return TracedQueue(queue, self._tracing)

    def gateway(self, gateway: ProcessorGateway) -> ProcessorGateway:
        """Return a gateway whose attempts are traced."""
        if self._tracing is None:
            return gateway
        from payrouter.adapters.tracing import TracedGateway  # noqa: PLC0415

        return TracedGateway(gateway, self._tracing)

    def events(self, events: EventSink) -> EventSink:
        """Return a sink that traces settling as well."""
        if self._tracing is None:
            return events
        from payrouter.adapters.tracing import SettleSpans  # noqa: PLC0415

        return Fanout(events, SettleSpans(self._tracing))


def missing_for_tracing() -> str | None:
    """Return what tracing lacks here, None when it can be switched on."""
    try:
        for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"):
            import_module(name)
    except ImportError as error:
        return str(error)
    return None


@asynccontextmanager
async def traced(settings: Settings, role: str, clock: Clock) -> AsyncIterator[Spans]:
    """Trace as the settings say; what was traced is exported at the end.

    Raises:
        InvalidSettings: if tracing is on and OpenTelemetry is not installed.
    """
    if not settings.tracing:
        yield Spans(None)
        return
    # Imported only here: it is not small, and need not be installed.
    missing = missing_for_tracing()
    if missing is not None:
        raise InvalidSettings([f"PAYROUTER_TRACING needs OpenTelemetry ({missing}): {INSTALL}, or set it to false"])
    from payrouter.adapters.tracing import Tracing  # noqa: PLC0415

    tracing = Tracing(role, clock)
    try:
        yield Spans(tracing)
    finally:
        await tracing.close()
