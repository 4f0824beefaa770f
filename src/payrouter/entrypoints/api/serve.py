"""Serving the public API until a signal says stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.event_log import EventLog
from payrouter.adapters.http.server import HttpServer
from payrouter.bootstrap import Router, running_router
from payrouter.entrypoints.api.problems import refusal
from payrouter.entrypoints.api.routes import Api
from payrouter.entrypoints.running import run_async
from payrouter.settings import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from payrouter.settings import Settings

_log = logging.getLogger("payrouter")


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[Router, Address]]:
    """Run a router with its API, and give it together with the address it listens on (port 0 picks one).

    On leaving, new connections are refused first, then what is in flight finishes within the stop bound.
    """
    async with running_router(settings, EventLog(SystemClock().monotonic_s)) as router:
        api = Api(router, allow_purge=settings.allow_purge)
        server = HttpServer(api, refusal=refusal)
        address = settings.bind
        if address.path is not None:
            await server.start_unix(address.path)
        else:
            address = Address(address.host, await server.start_tcp(address.host, address.port))
        try:
            yield router, address
        finally:
            # Both at once: the whole stop has one bound.
            within_s = settings.stop_timeout_s
            await asyncio.gather(server.stop(within_s), router.dispatcher.drain(within_s))
            await api.close()


async def serve_until_stopped(settings: Settings, announce: Callable[[Address], None]) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings) as (router, address):
        # What lives from here to the end need not be looked at by the collector again.
        gc.collect()
        gc.freeze()
        announce(address)
        await stop.wait()
        _log.info(
            "stopping: %d attempts in flight, %d payments waiting",
            router.dispatcher.in_flight,
            (await router.queue.backlog()).waiting,
        )
    _log.info("stopped; what was not settled waits in %s", settings.data)


def run(settings: Settings, announce: Callable[[Address], None]) -> None:
    """Serve on an event loop of its own, until stopped.

    Raises:
        PayrouterError: if it cannot start; the text says why and what to do.
    """
    run_async(serve_until_stopped(settings, announce))
