"""`payrouter dead-letters`: payments that no processor would take, and sending them again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from payrouter.bootstrap import data_report, open_books, retry_dead_letters
from payrouter.domain.errors import InvalidInput
from payrouter.domain.money import format_minor
from payrouter.domain.payment import PaymentState, parse_correlation_id
from payrouter.domain.window import format_instant
from payrouter.entrypoints.cli.common import JsonOption, print_json, settings_in_force, terminal
from payrouter.entrypoints.numbers import money
from payrouter.entrypoints.running import run_async

if TYPE_CHECKING:
    from payrouter.ports.queue import DeadLetter
    from payrouter.settings import Settings

app = typer.Typer(help="Payments that no processor would take: list them, send them again.", no_args_is_help=True)


@app.command("list")
def list_dead_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, oldest first, each with the reason.

    Works while a router runs and when none does.

    Example: `payrouter dead-letters list --limit 10`
    """
    letters, count = run_async(_read(settings_in_force(need_processors=False), limit))
    if as_json:
        print_json({"count": count, "deadLetters": [_json(letter) for letter in letters]})
        return
    if not letters:
        typer.echo("no dead letters")
        return
    console = terminal()
    console.print(_table(letters, count))
    console.print("Once the reason is mended: payrouter dead-letters retry <id>…, or retry --all")


async def _read(settings: Settings, limit: int) -> tuple[list[DeadLetter], int]:
    """Return the oldest dead letters, and how many there are."""
    async with open_books(settings) as books:
        return books.dead_letters(limit), books.unsettled().get(PaymentState.DEAD_LETTER, 0)


def _table(letters: list[DeadLetter], count: int) -> Table:
    shown = f"the oldest {len(letters)} of {count}" if count > len(letters) else str(count)
    table = Table(title=f"Dead letters: {shown}", title_justify="left")
    table.add_column("correlationId", no_wrap=True)
    table.add_column("Amount", justify="right")
    table.add_column("Accepted")
    table.add_column("Reason")
    table.add_column("Unresolved at")
    for one in letters:
        accepted = format_instant(one.accepted_us)
        table.add_row(one.correlation_id, format_minor(one.amount_minor), accepted, one.reason, one.pinned_to or "")
    return table


def _json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "correlationId": letter.correlation_id,
        "amount": money(letter.amount_minor),
        "acceptedAt": format_instant(letter.accepted_us),
        "reason": letter.reason,
        "unresolvedAt": letter.pinned_to,
    }


@app.command("retry")
def retry(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID…", help="correlationIds of dead letters.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Send every dead letter again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters again: all that are named, or none if one of them is no dead letter.

    A running router notices within a second or two; else the next one to run. One that is unresolved at a
    processor repeats its attempt there, so that nothing is charged twice.

    Example: `payrouter dead-letters retry 4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3`
    """
    if bool(ids) == everything:
        raise typer.BadParameter("name the ids to send again, or give --all, and not both")
    chosen = None if everything else list(dict.fromkeys(_id(text) for text in ids or ()))
    settings = settings_in_force(need_processors=False)
    what = "every dead letter" if chosen is None else f"{len(chosen)} dead letter{'s' * (len(chosen) > 1)}"
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm(f"Send {what} of {settings.data} again?", abort=True)
    count = retry_dead_letters(settings, chosen)
    running = data_report(settings).in_use
    if as_json:
        print_json({"sentAgain": count, "routerRunning": running})
    elif count:
        when = "the running router takes over within seconds" if running else "sent when a router runs again"
        typer.echo(f"{count} back in the queue; {when}")
    else:
        typer.echo("no dead letters")


def _id(text: str) -> str:
    try:
        return parse_correlation_id(text)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
