"""The `payrouter` command: what every subcommand shares, and the list of them.

Exit codes: 0 done, 1 it did not work (the message says why and what to do), 2 wrong usage or settings.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from payrouter import __version__
from payrouter.domain.errors import InvalidSettings, PayrouterError
from payrouter.entrypoints.cli import audit, check, dead_letters, demo, roles, serve, simulate, summary

app = typer.Typer(
    name="payrouter",
    help="A least-cost payment router: durable before it answers, never charged twice, books that agree.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("api")(roles.api)
app.command("dispatcher")(roles.dispatcher)
app.command("check")(check.check)
app.command("summary")(summary.summary)
app.command("audit")(audit.audit)
app.add_typer(dead_letters.app, name="dead-letters")
app.command("simulate-processor")(simulate.simulate_processor)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback shape
    if wanted:
        typer.echo(f"payrouter {__version__}")
        raise typer.Exit


@app.callback()
def common(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that every subcommand shares."""


def run_cli() -> None:
    """Run the command line and turn errors raised on purpose into one clear message."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    try:
        app()
    except InvalidSettings as error:
        typer.echo(f"payrouter: {error}", err=True)
        sys.exit(2)
    except PayrouterError as error:
        typer.echo(f"payrouter: {error}", err=True)
        sys.exit(1)
