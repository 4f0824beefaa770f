"""Serving the public API until a signal says stop: as a whole router, or as one of several in a cluster."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.event_log import EventLog
from payrouter.adapters.http.server import HttpServer
from payrouter.adapters.log_lines import fact
from payrouter.bootstrap import Dispatching, Intake, Router, running_dispatcher, running_intake, running_router
from payrouter.domain.errors import StoreUnavailable
from payrouter.entrypoints.api.problems import refusal
from payrouter.entrypoints.api.routes import Api
from payrouter.entrypoints.running import run_async
from payrouter.entrypoints.webhook_body import webhook_body
from payrouter.settings import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from payrouter.adapters.http.message import Reply, Request
    from payrouter.settings import Settings

_log = logging.getLogger("payrouter")


class Serving(NamedTuple):
    """A router that serves: where it listens, and where the operator's pages are, None when there are none."""

    router: Router
    address: Address
    pages: Address | None


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Serving]:
    """Run a router with its API, and give it together with the addresses it listens on (port 0 picks one).

    On leaving, new connections are refused first, then what is in flight finishes within the stop bound.
    """
    # Imported only where it is used: the other processes of a cluster have little memory.
    from payrouter.entrypoints.admin.serve import beside  # noqa: PLC0415

    async with (
        running_router(settings, _events(), body_of=webhook_body) as router,
        beside(settings, router) as pages,
        _listening(router, settings) as front,
    ):
        if pages is not None:
            _log.info("the operator's pages are on http://%s", pages, extra=fact("pages_started"))
        try:
            yield Serving(router, front.address, pages)
        finally:
            # Both at once: the whole stop has one bound.
            within_s = settings.stop_timeout_s
            await asyncio.gather(front.stop(within_s), router.dispatcher.drain(within_s))


def _events() -> EventLog:
    return EventLog(SystemClock().monotonic_s)


class _Front(NamedTuple):
    """The API where it listens."""

    api: Api
    server: HttpServer
    address: Address

    async def stop(self, within_s: float) -> None:
        """Take no new connections, answer what was asked, hang up: within so many seconds."""
        self.api.let_go()
        await self.server.stop(within_s)


@asynccontextmanager
async def _listening(intake: Intake, settings: Settings) -> AsyncIterator[_Front]:
    keys, rate_limit_per_s = settings.api_keys, settings.rate_limit_per_s
    api = Api(intake, allow_purge=settings.allow_purge, keys=bool(keys), rate_limited=bool(rate_limit_per_s))
    handler: Callable[[Request, Reply], None] = api
    if keys or rate_limit_per_s:
        # Imported only where it is used, and only there in the way of a payment.
        from payrouter.entrypoints.api.gate import Gate  # noqa: PLC0415

        monotonic_s = SystemClock().monotonic_s
        handler = Gate(api, keys=keys, rate_limit_per_s=rate_limit_per_s, events=intake.events, monotonic_s=monotonic_s)
    server = HttpServer(handler, refusal=refusal)
    front = _Front(api, server, await _bound(server, settings.bind))
    try:
        yield front
    finally:
        await front.stop(settings.stop_timeout_s)
        await api.close()


async def _bound(server: HttpServer, address: Address) -> Address:
    """Let a server listen on an address, and return it; port 0 picks one."""
    if address.path is not None:
        await server.start_unix(address.path)
        return address
    return Address(address.host, await server.start_tcp(address.host, address.port))


async def serve_until_stopped(settings: Settings, announce: Callable[[Address], None]) -> None:
    """Serve as a whole router until SIGINT or SIGTERM."""
    stop = _stop_signal()
    async with serving(settings) as (router, address, _):
        _settle_down()
        announce(address)
        await stop.wait()
        await _say_stopping(router)
    _log.info("stopped; what was not settled waits in %s", router.where, extra=fact("stopped"))


async def answer_until_stopped(settings: Settings, announce: Callable[[Address], None]) -> None:
    """Accept payments and answer questions until SIGINT or SIGTERM; dispatchers elsewhere do the rest."""
    stop = _stop_signal()
    async with running_intake(settings, _events()) as intake, _listening(intake, settings) as front:
        _settle_down()
        announce(front.address)
        await stop.wait()
        _log.info("stopping", extra=fact("stopping"))
    _log.info("stopped", extra=fact("stopped"))


async def administrate_until_stopped(settings: Settings, announce: Callable[[Address], None]) -> None:
    """Serve the operator's pages of a cluster until SIGINT or SIGTERM."""
    from payrouter.entrypoints.admin.serve import alone  # noqa: PLC0415

    stop = _stop_signal()
    _give_way()
    async with alone(settings) as address:
        _settle_down()
        announce(address)
        await stop.wait()
        _log.info("stopping", extra=fact("stopping"))
    _log.info("stopped", extra=fact("stopped"))


async def dispatch_until_stopped(settings: Settings, announce: Callable[[], None]) -> None:
    """Hand payments to processors until SIGINT or SIGTERM."""
    stop = _stop_signal()
    _give_way()
    async with running_dispatcher(settings, _events(), body_of=webhook_body) as running:
        _settle_down()
        announce()
        await stop.wait()
        await _say_stopping(running)
    _log.info("stopped; what was not settled waits in %s", running.where, extra=fact("stopped"))


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _give_way() -> None:
    """Let accepting go first on a machine that both share: a dispatcher is woken all the time, and nobody waits for it.

    With SCHED_BATCH a wake-up takes no core away from anybody (figures in `docs/decisions.md`).
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # some sandboxes forbid it; then it competes like everybody
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _settle_down() -> None:
    """What lives from here to the end need not be looked at by the collector again."""
    gc.collect()
    gc.freeze()


async def _say_stopping(running: Router | Dispatching) -> None:
    try:
        waiting = str((await running.queue.backlog()).waiting)
    except StoreUnavailable:
        waiting = "an unknown number of"
    in_flight = running.dispatcher.in_flight
    extra = fact("stopping", inFlight=in_flight, waiting=waiting)
    _log.info("stopping: %d attempts in flight, %s payments waiting", in_flight, waiting, extra=extra)


def run(settings: Settings, announce: Callable[[Address], None]) -> None:
    """Serve on an event loop of its own, until stopped.

    Raises:
        PayrouterError: if it cannot start; the text says why and what to do.
    """
    run_async(serve_until_stopped(settings, announce))
