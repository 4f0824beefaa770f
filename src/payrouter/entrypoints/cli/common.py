"""What several subcommands need: options, tables and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from payrouter.domain.errors import InvalidInput, PayrouterError
from payrouter.domain.window import LAST_US, Window, format_instant, parse_window

if TYPE_CHECKING:
    from payrouter.settings import Address

WIDE = 160
"""Columns of a table that does not go to a terminal: no id may be cut there."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="INSTANT", help="First requestedAt counted, like 2026-01-31T12:00:00Z."),
]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="INSTANT", help="Last requestedAt counted; both are inclusive.")
]


class CommandFailed(PayrouterError):
    """A subcommand could not do its work; the text says why and what to do (exit code 1)."""


def window_between(from_text: str | None, to_text: str | None) -> Window:
    """Return the window that `--from` and `--to` name.

    Raises:
        typer.BadParameter: if they name none.
    """
    try:
        return parse_window(from_text, to_text)
    except InvalidInput as error:
        raise typer.BadParameter(f"--{error}") from None


def window_in_words(window: Window) -> str:
    """Return a window for people: `from … to …`, `everything` when it is open."""
    first = f"from {format_instant(window.first_us)}" if window.first_us else ""
    last = f"to {format_instant(window.last_us)}" if window.last_us != LAST_US else ""
    return f"{first} {last}".strip() or "everything"


def window_json(window: Window) -> dict[str, str | None]:
    """Return a window's bounds for machines, None where it is open."""
    return {
        "from": format_instant(window.first_us) if window.first_us else None,
        "to": format_instant(window.last_us) if window.last_us != LAST_US else None,
    }


def terminal() -> Console:
    """Return where tables and messages go. Texts are printed as they are: brackets in them are no markup."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


def reachable(address: Address) -> str:
    """Return where this machine reaches what listens on an address, as host:port."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - compared, not bound
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
