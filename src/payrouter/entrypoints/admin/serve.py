"""Serving the operator's pages: beside a whole router, or as a process of its own in a cluster."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.http.server import HttpServer
from payrouter.adapters.log_lines import fact
from payrouter.bootstrap.operating import operations, running_operations
from payrouter.domain.errors import AddressInUse, InvalidSettings
from payrouter.entrypoints.admin.app import Admin
from payrouter.entrypoints.api.problems import refusal
from payrouter.settings import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter.bootstrap import Router
    from payrouter.bootstrap.operating import Operations
    from payrouter.settings import Settings

STOP_WITHIN_S = 1.0

_log = logging.getLogger("payrouter")


@asynccontextmanager
async def administrating(settings: Settings, running: Operations) -> AsyncIterator[Address]:
    """Serve the pages on the operator's address, and give it (port 0 picks one).

    Raises:
        AddressInUse: if something else listens there.
        InvalidSettings: if there is no such address.
    """
    bind = settings.admin_bind
    if bind is None:
        raise InvalidSettings(["PAYROUTER_ADMIN_BIND must be host:port or unix:/path, got off"])
    admin = Admin(running, settings.admin_token, SystemClock().monotonic_s)
    server = HttpServer(admin, refusal=refusal)
    if bind.path is not None:
        await server.start_unix(bind.path)
        address = bind
    else:
        address = Address(bind.host, await server.start_tcp(bind.host, bind.port))
    try:
        yield address
    finally:
        await admin.close()
        await server.stop(STOP_WITHIN_S)


@asynccontextmanager
async def beside(settings: Settings, router: Router) -> AsyncIterator[Address | None]:
    """Serve the pages beside a router, and give their address; None when there are none.

    Payments do not wait for pages: where the address is taken, that is said, and the router goes on without.
    """
    if settings.admin_bind is None:
        yield None
        return
    elsewhere = router.engine.coordination is not None
    async with (
        operations(settings, router.engine, router.pause, dispatched_elsewhere=elsewhere) as running,
        AsyncExitStack() as pages,
    ):
        address = None
        try:
            address = await pages.enter_async_context(administrating(settings, running))
        except AddressInUse as error:
            _log.warning(
                "no operator's pages: %s; set PAYROUTER_ADMIN_BIND to another address, or off",
                error,
                extra=fact("pages_missing"),
            )
        yield address


@asynccontextmanager
async def alone(settings: Settings) -> AsyncIterator[Address]:
    """Serve the pages of a cluster from this process, and give their address."""
    async with running_operations(settings) as running, administrating(settings, running) as address:
        yield address
