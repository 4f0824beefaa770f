"""`payrouter dead-letters`: payments that no processor would take, and sending them again."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from payrouter.bootstrap import installation
from payrouter.domain.errors import InvalidInput
from payrouter.domain.money import format_minor
from payrouter.domain.payment import parse_correlation_id
from payrouter.domain.window import format_instant
from payrouter.entrypoints.cli.common import JsonOption, print_json, terminal
from payrouter.entrypoints.cli.plain import settings_in_force
from payrouter.entrypoints.numbers import money
from payrouter.entrypoints.running import run_async

if TYPE_CHECKING:
    from payrouter.bootstrap import DeadLetters, Installation
    from payrouter.ports.queue import DeadLetter

_POISON = re.compile(r"[0-9]+-[0-9]+")

app = typer.Typer(help="Payments that no processor would take: list them, send them again.", no_args_is_help=True)


@app.command("list")
def list_dead_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, oldest first, each with the reason.

    Works while a router runs and when none does. On a cluster also poison: what somebody else put into the
    queue in Redis, or spoilt there. It has no amount and cannot be sent.

    Example: `payrouter dead-letters list --limit 10`
    """
    found = run_async(installation(settings_in_force(need_processors=False)).dead_letters(limit))
    if as_json:
        print_json(_json(found))
        return
    if not found.letters and not found.poison:
        typer.echo("no dead letters")
        return
    console = terminal()
    if found.letters:
        console.print(_table(found.letters, found.count))
        console.print("Once the reason is mended: payrouter dead-letters retry <id>…, or retry --all")
    if found.poison:
        console.print(_poison_table(found.poison, found.poison_count))
        console.print(
            "These are no payments: they have no amount and cannot be sent. Find out who writes to the queue."
        )


def _table(letters: list[DeadLetter], count: int) -> Table:
    shown = f"the oldest {len(letters)} of {count}" if count > len(letters) else str(count)
    table = Table(title=f"Dead letters: {shown}", title_justify="left")
    table.add_column("correlationId", no_wrap=True)
    table.add_column("Amount", justify="right")
    table.add_column("Accepted")
    table.add_column("Reason")
    table.add_column("Unresolved at")
    for one in letters:
        # A record that somebody spoilt in Redis tells neither.
        amount = format_minor(one.amount_minor) if one.amount_minor else "unknown"
        accepted = format_instant(one.accepted_us) if one.accepted_us else "unknown"
        table.add_row(one.correlation_id, amount, accepted, one.reason, one.pinned_to or "")
    return table


def _poison_table(poison: dict[str, str], count: int) -> Table:
    shown = f"{len(poison)} of {count}" if count > len(poison) else str(count)
    table = Table(title=f"Poison: {shown}", title_justify="left")
    table.add_column("Entry", no_wrap=True)
    table.add_column("Begins with")
    for entry, text in poison.items():
        # Anybody's bytes: nothing in them may move the cursor.
        table.add_row(entry, repr(text)[1:-1])
    return table


def _json(found: DeadLetters) -> dict[str, Any]:
    return {
        "count": found.count,
        "deadLetters": [_letter_json(one) for one in found.letters],
        "poisonCount": found.poison_count,
        "poison": [{"entry": entry, "beginsWith": text} for entry, text in found.poison.items()],
    }


def _letter_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "correlationId": letter.correlation_id,
        "amount": money(letter.amount_minor) if letter.amount_minor else None,
        "acceptedAt": format_instant(letter.accepted_us) if letter.accepted_us else None,
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
    stores = installation(settings_in_force(need_processors=False))
    what = "every dead letter" if chosen is None else f"{len(chosen)} dead letter{'s' * (len(chosen) > 1)}"
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm(f"Send {what} of {stores.where} again?", abort=True)
    count, running = run_async(_retry(stores, chosen))
    if as_json:
        print_json({"sentAgain": count, "routerRunning": running})
    elif count:
        when = "the running router takes over within seconds" if running else "sent when a router runs again"
        typer.echo(f"{count} back in the queue; {when}")
    else:
        typer.echo("no dead letters")


async def _retry(stores: Installation, chosen: list[str] | None) -> tuple[int, bool]:
    """Return how many were sent again, and whether somebody takes them over now."""
    return await stores.retry_dead_letters(chosen), await stores.runs()


def _id(text: str) -> str:
    if _POISON.fullmatch(text):
        raise typer.BadParameter(f"{text} is an entry of the queue that is no payment: it cannot be sent")
    try:
        return parse_correlation_id(text)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None
