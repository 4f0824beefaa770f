"""Every subcommand with its options and help, and what they share."""

from __future__ import annotations

from typing import Annotated

import typer

from payrouter import __version__
from payrouter.entrypoints.cli import audit, check, dead_letters, demo, migrate, roles, serve, simulate, summary, top

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
app.command("admin")(roles.admin)
app.command("migrate")(migrate.migrate)
app.command("check")(check.check)
app.command("summary")(summary.summary)
app.command("top")(top.top)
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
