"""What a process does: accept payments, hand them to processors, or both."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from payrouter import __version__
from payrouter.adapters.clock import SystemClock
from payrouter.adapters.http.gateway import HttpGateway
from payrouter.adapters.process import cpu_s, host_name, node_name, resident_bytes
from payrouter.application.accept import Acceptor
from payrouter.application.dispatch import Dispatcher, Ports
from payrouter.application.health import HealthPoller
from payrouter.application.leadership import Leadership
from payrouter.application.meter import Fanout, Meter
from payrouter.application.news import HintTeller, NewsReader
from payrouter.application.reporter import Identity, Reporter, Usage
from payrouter.bootstrap.engines import Coordination, Engine, opened_engine
from payrouter.bootstrap.tracing import traced
from payrouter.domain.board import ProcessorBoard
from payrouter.domain.errors import InvalidSettings
from payrouter.domain.events import ProcessorPaused, Purged
from payrouter.domain.limiter import Limiter
from payrouter.domain.processor import by_fee
from payrouter.domain.routing import LatencyRatio, LeastCost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from payrouter.application.webhooks import Telling, Webhooks
    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.notice import Notice
    from payrouter.domain.processor import Processor
    from payrouter.domain.routing import Policy
    from payrouter.domain.window import Window
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink
    from payrouter.ports.gateway import ProcessorGateway
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.queue import PaymentQueue, PaymentTaker
    from payrouter.settings import Settings

    BodyOf = Callable[[Notice, PaymentRecord, tuple[Processor, ...]], bytes]
    """How a webhook reads."""

WEBHOOKS_FINISH_WITHIN_S = 1.0
"""At a stop: how long webhooks under way may take. Those that take longer are told again after the start."""

FLUSH_WITHIN_S = 0.5
"""How long a reader waits for the latest answers to be durable; with the store away it reads what is there."""


@dataclass(slots=True)
class Intake:
    """A running router as clients see it. `processors` are in the operator's order."""

    processors: tuple[Processor, ...]
    queue_limit: int
    clock: Clock
    events: EventSink
    queue: PaymentQueue
    ledger: Ledger
    acceptor: Acceptor
    where: str
    tell_purge: Callable[[], Awaitable[None]] | None
    engine: Engine

    @property
    def processor_names(self) -> tuple[str, ...]:
        """Names, in the operator's order."""
        return tuple(one.name for one in self.processors)

    async def flush(self) -> None:
        """Wait for answers received so far to be durable, as far as they are known here."""

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name, every answer received so far included."""
        await self.flush()
        return await self.ledger.summary(window)

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, every answer received so far included."""
        await self.flush()
        return await self.ledger.find(correlation_id)

    async def purge(self) -> None:
        """Forget every payment, everywhere."""
        await self.queue.purge()
        if self.tell_purge is not None:
            await self.tell_purge()
        self.events.publish(Purged())


@dataclass(slots=True)
class Dispatching:
    """A running dispatcher, and what it knows of each processor, cheapest first."""

    dispatcher: Dispatcher
    boards: dict[str, ProcessorBoard]
    queue: PaymentQueue
    where: str


@dataclass(slots=True)
class Router(Intake):
    """Intake and dispatcher in one process."""

    dispatcher: Dispatcher
    boards: dict[str, ProcessorBoard]

    async def flush(self) -> None:
        """Wait for answers received so far to be durable."""
        await self.dispatcher.flush(FLUSH_WITHIN_S)

    async def purge(self) -> None:
        """Forget every payment, everywhere."""
        await Intake.purge(self)
        self.dispatcher.forget()

    async def pause(self, processor: str, *, paused: bool) -> None:
        """Send no payments to a processor, or send them again.

        Raises:
            StoreUnavailable: if it cannot be written down; then nothing changes.
        """
        await self.engine.pause(processor, paused=paused)
        board = self.boards[processor]
        if self.engine.coordination is None and board.paused is not paused:
            board.paused = paused
            self.events.publish(ProcessorPaused(processor, paused))
            self.dispatcher.wake()


def policy_of(settings: Settings) -> Policy:
    """Return the routing policy that the settings name."""
    if settings.policy == "latency-ratio":
        return LatencyRatio()
    return LeastCost(settings.patience_s, settings.last_resort_s)


@asynccontextmanager
async def running_router(
    settings: Settings, events: EventSink, *, body_of: BodyOf | None = None
) -> AsyncIterator[Router]:
    """Run a whole router in this process; at the end let what is in flight finish, within the stop bound.

    `body_of` is how a webhook reads: needed where the settings name a receiver.

    Raises:
        StoreError: if the engine cannot be used.
    """
    async with AsyncExitStack() as stack:
        meter = Meter(settings.processors)
        spans = await stack.enter_async_context(traced(settings, "router", SystemClock()))
        events = spans.events(Fanout(events, meter))
        engine = await stack.enter_async_context(opened_engine(settings, dispatches=True))
        # Alone it makes the health calls; among others the lease decides.
        meter.leading = engine.coordination is None
        running = await stack.enter_async_context(
            dispatching(
                settings,
                events,
                engine,
                SystemClock(),
                spans.gateway(http_gateway(settings)),
                telling_of(settings, body_of),
            )
        )
        await stack.enter_async_context(telling("router", meter, engine, running.dispatcher))
        acceptor = await stack.enter_async_context(
            accepting(spans.queue(engine.queue), events, SystemClock(), running.dispatcher.wake)
        )
        yield Router(
            settings.processors, settings.queue_limit, SystemClock(), events, engine.queue, engine.ledger, acceptor,
            engine.where, engine.tell_purge, engine, running.dispatcher, running.boards,
        )  # fmt: skip


@asynccontextmanager
async def running_intake(settings: Settings, events: EventSink) -> AsyncIterator[Intake]:
    """Accept payments and answer questions about them; dispatchers elsewhere do the rest.

    Raises:
        InvalidSettings: on the embedded engine, which is one process.
        StoreError: if the engine cannot be used.
    """
    _require_cluster(settings, "api")
    meter = Meter(settings.processors)
    events = Fanout(events, meter)
    async with (
        traced(settings, "api", SystemClock()) as spans,
        opened_engine(settings, dispatches=False) as engine,
        telling("api", meter, engine),
        intake(settings, events, engine, SystemClock(), spans.queue(engine.queue)) as running,
    ):
        yield running


@asynccontextmanager
async def intake(
    settings: Settings, events: EventSink, engine: Engine, clock: Clock, taker: PaymentTaker | None = None
) -> AsyncIterator[Intake]:
    """Accept payments into an engine that dispatchers elsewhere work on; `taker`: its queue, unless given."""
    async with accepting(taker or engine.queue, events, clock, _nobody) as acceptor:
        yield Intake(
            settings.processors, settings.queue_limit, clock, events, engine.queue, engine.ledger, acceptor,
            engine.where, engine.tell_purge, engine,
        )  # fmt: skip


@asynccontextmanager
async def running_dispatcher(
    settings: Settings, events: EventSink, *, body_of: BodyOf | None = None
) -> AsyncIterator[Dispatching]:
    """Hand payments to processors; at the end let what is in flight finish, within the stop bound.

    `body_of` is how a webhook reads: needed where the settings name a receiver.

    Raises:
        InvalidSettings: on the embedded engine, which is one process.
        StoreError: if the engine cannot be used.
    """
    _require_cluster(settings, "dispatcher")
    meter = Meter(settings.processors)
    events = Fanout(events, meter)
    async with (
        traced(settings, "dispatcher", SystemClock()) as spans,
        opened_engine(settings, dispatches=True) as engine,
        dispatching(
            settings,
            spans.events(events),
            engine,
            SystemClock(),
            spans.gateway(http_gateway(settings)),
            telling_of(settings, body_of),
        ) as running,
        telling("dispatcher", meter, engine, running.dispatcher),
    ):
        yield running


@asynccontextmanager
async def telling(role: str, meter: Meter, engine: Engine, dispatcher: Dispatcher | None = None) -> AsyncIterator[None]:
    """Tell on the node board what this process does, for as long as it does it."""
    clock = SystemClock()
    identity = Identity(node_name(), role, host_name(), os.getpid(), __version__, clock.now_us())
    reporter = Reporter(identity, meter, clock, lambda: Usage(resident_bytes(), cpu_s()), dispatcher)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reporter.run(engine.nodes))
        yield
        running.cancel()


def _require_cluster(settings: Settings, role: str) -> None:
    if not settings.clustered:
        raise InvalidSettings(
            [
                f"PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL must be set for payrouter {role}: "
                "a SQLite file is one process's, which payrouter serve runs"
            ]
        )


def _nobody() -> None:
    """Dispatchers in other processes look by themselves."""


def http_gateway(settings: Settings) -> HttpGateway:
    """Return the way to the processors that the settings name."""
    return HttpGateway(
        settings.processors,
        attempt_timeout_s=settings.attempt_timeout_s,
        connections=connections_per_processor(settings),
    )


def connections_per_processor(settings: Settings) -> int:
    """Return how many connections a dispatcher may have: repeats of pinned payments may exceed the limit by a few."""
    return settings.max_in_flight + 16


def telling_of(settings: Settings, body_of: BodyOf | None) -> Telling | None:
    """Return whom the settings say to tell of settled payments and dead letters; None for nobody.

    Raises:
        ValueError: if somebody is to be told and `body_of` is missing, or the secret cannot be a key.
    """
    if not settings.webhook_url:
        return None
    if body_of is None:
        raise ValueError("webhooks need a body_of: how one reads")
    # Imported only where they are used: most installations tell nobody, and have little memory.
    from payrouter.adapters.http.receiver import HttpReceiver  # noqa: PLC0415
    from payrouter.application.webhooks import MOST_AT_ONCE, Telling, signing_key  # noqa: PLC0415

    return Telling(
        HttpReceiver(settings.webhook_url, connections=MOST_AT_ONCE),
        lambda notice, record: body_of(notice, record, settings.processors),
        signing_key(settings.webhook_secret),
        settings.queue_limit,
    )


@asynccontextmanager
async def accepting(
    queue: PaymentTaker, events: EventSink, clock: Clock, wake: Callable[[], None]
) -> AsyncIterator[Acceptor]:
    """Accept payments into a queue; `wake` is called when something new came."""
    acceptor = Acceptor(queue, events, clock, wake)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(acceptor.run())
        yield acceptor
        running.cancel()


def _in_step(  # noqa: PLR0913, PLR0917 - what is kept in step
    together: Coordination,
    dispatcher: Dispatcher,
    boards: dict[str, ProcessorBoard],
    poller: HealthPoller,
    clock: Clock,
    events: EventSink,
) -> list[Callable[[], Coroutine[Any, Any, None]]]:
    """Return what keeps a dispatcher in step with the others: the contest for the lead, and their news."""
    leadership = Leadership(together.lease, partial(poller.run, boards), together.node, clock, events)

    def purged(before_s: float) -> None:
        together.forget()
        dispatcher.forget(before_s)

    reader = NewsReader(
        together.news,
        boards,
        clock,
        events,
        on_change=dispatcher.wake,
        on_purge=purged,
        on_vacancy=leadership.try_now,
    )
    return [leadership.run, reader.run]


@asynccontextmanager
async def dispatching(  # noqa: PLR0913, PLR0917 - what is put together
    settings: Settings,
    events: EventSink,
    engine: Engine,
    clock: Clock,
    gateway: ProcessorGateway,
    telling: Telling | None = None,
) -> AsyncIterator[Dispatching]:
    """Dispatch what is in an engine; at the end let what is in flight finish, within the stop bound.

    `telling`: who is told of what becomes of payments, by an engine that writes notices.
    """
    boards = {
        one.name: ProcessorBoard(
            one, latency_ceiling_ms=settings.latency_ceiling_ms, limiter=Limiter(most=settings.max_in_flight)
        )
        for one in by_fee(settings.processors)
    }
    for name in engine.paused & boards.keys():
        boards[name].paused = True
    together = engine.coordination
    teller = HintTeller(together.news, boards, clock, events) if together is not None else None
    ports = Ports(engine.queue, engine.ledger, gateway, clock, teller or events)
    dispatcher = Dispatcher(ports, boards, policy_of(settings), engine.pace)
    work: list[Callable[[], Coroutine[Any, Any, None]]] = [dispatcher.run, *engine.tasks]
    if together is None or teller is None:
        poller = HealthPoller(gateway, engine.health_calls, clock, events, dispatcher.wake)
        work.append(partial(poller.run, boards))
    else:
        poller = HealthPoller(
            gateway, engine.health_calls, clock, events, dispatcher.wake, post=together.news.post_report
        )
        work += [teller.run, *_in_step(together, dispatcher, boards, poller, clock, events)]
    webhooks = _webhooks(engine, telling, clock, events)
    if webhooks is not None:
        work.append(webhooks.run)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one()) for one in work]
            yield Dispatching(dispatcher, boards, engine.queue, engine.where)
            await dispatcher.drain(settings.stop_timeout_s)
            if webhooks is not None:
                await webhooks.drain(min(WEBHOOKS_FINISH_WITHIN_S, settings.stop_timeout_s))
            for task in running:
                task.cancel()
    finally:
        await gateway.close()
        if telling is not None:
            await telling.receiver.close()


def _webhooks(engine: Engine, telling: Telling | None, clock: Clock, events: EventSink) -> Webhooks | None:
    if engine.notices is None or telling is None:
        return None
    from payrouter.application.webhooks import Webhooks  # noqa: PLC0415 - see telling_of

    return Webhooks(engine.notices, engine.ledger, telling, clock, events)
