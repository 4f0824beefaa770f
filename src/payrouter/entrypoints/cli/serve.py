"""`payrouter serve`."""

from __future__ import annotations

import typer

from payrouter.entrypoints.api.serve import run
from payrouter.entrypoints.cli.common import settings_in_force
from payrouter.settings import Address


def serve() -> None:
    """Run the router with everything it needs, in one process, on one SQLite file.

    Settings come from PAYROUTER_* variables, .env and payrouter.toml; [bold]payrouter check[/] shows and tries them.
    SIGTERM or Ctrl-C stops it gracefully; whatever is not settled then waits in the file.
    """
    settings = settings_in_force()
    names = ", ".join(f"{one.name} ({one.fee_percent})" for one in settings.processors)

    def announce(address: Address) -> None:
        typer.echo(f"payrouter is listening on {address}, routing to {names}; books in {settings.data}", err=True)

    run(settings, announce)
