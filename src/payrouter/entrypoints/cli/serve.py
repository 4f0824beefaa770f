"""`payrouter serve`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from payrouter.entrypoints.api.serve import run
from payrouter.entrypoints.cli.plain import server_settings, tell

if TYPE_CHECKING:
    from payrouter.settings import Address


def serve() -> None:
    """Run the router with everything it needs, in one process, on one SQLite file.

    With PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL set it keeps its payments there instead, beside others.

    Settings come from PAYROUTER_* variables, .env and payrouter.toml; `payrouter check` shows and
    tries them. SIGTERM or Ctrl-C stops it gracefully; whatever is not settled then waits in the file.

    Example: `PAYROUTER_BIND=0.0.0.0:9999 payrouter serve`
    """
    settings = server_settings()
    names = ", ".join(f"{one.name} ({one.fee_percent})" for one in settings.processors)

    books = "PostgreSQL" if settings.clustered else settings.data

    def announce(address: Address) -> None:
        tell(logging.INFO, "started", f"payrouter is listening on {address}, routing to {names}; books in {books}")

    run(settings, announce)
