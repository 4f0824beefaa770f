"""`payrouter top`."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.live import Live

from payrouter.domain.errors import InvalidInput
from payrouter.entrypoints.cli.common import CommandFailed, print_json, terminal
from payrouter.entrypoints.cli.plain import settings_in_force
from payrouter.entrypoints.cli.top_client import Away, OperatorPages
from payrouter.entrypoints.cli.top_frame import frame, line
from payrouter.entrypoints.cli.top_overview import History, Overview

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console

AGAIN_S = 1.0
LINE_EVERY_S = 10.0
"""How often a line is printed where there is no terminal."""


def top(
    *,
    url: Annotated[
        str | None,
        typer.Option(help="The operator's address, like http://127.0.0.1:8080; by default PAYROUTER_ADMIN_BIND."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the overview as JSON, once.")] = False,
) -> None:
    """Watch a running router: rates, backlog, processors, money, processes, and what is wrong.

    Reads the operator's address of `payrouter serve`, or of `payrouter admin` in a cluster, with
    PAYROUTER_ADMIN_TOKEN where it has one. Without a terminal a line every ten seconds. Ctrl-C ends it.

    Example: `payrouter top`

    Example: `payrouter top --url https://payments.example:8443 --once`
    """
    settings = settings_in_force(need_processors=False)
    where = url or settings.admin_bind
    if where is None:
        raise CommandFailed("PAYROUTER_ADMIN_BIND is off here: name the operator's address with --url")
    pages = OperatorPages(where, settings.admin_token)
    try:
        if as_json:
            print_json(_decoded(pages, pages.get("/api/overview")))
        elif once:
            _once(pages, terminal())
        else:
            _watch(pages, terminal())
    except Away as error:
        raise CommandFailed(
            f"nobody answers at {pages.url}: {error}; start payrouter serve, or payrouter admin in a cluster, "
            "or name another address with --url"
        ) from error


def _decoded(pages: OperatorPages, text: bytes) -> Any:
    """Return an overview as it came, once it is known to be one."""
    _read(pages, text)
    return msgspec.json.decode(text)


def _read(pages: OperatorPages, text: bytes, history: History | None = None) -> Overview:
    """Return the overview in a text, and add it to history.

    Raises:
        CommandFailed: if it is none.
    """
    try:
        overview = msgspec.json.decode(text, type=Overview)
        if history is not None:
            history.add(overview)
    except (msgspec.MsgspecError, InvalidInput) as error:
        raise CommandFailed(
            f"{pages.url} tells something else than an overview: {error}; is it a Payrouter?"
        ) from error
    return overview


def _past(pages: OperatorPages) -> History:
    history = History()
    try:
        history.load(pages.get("/api/history"))
    except msgspec.MsgspecError as error:
        raise CommandFailed(f"{pages.url} tells something else than history: {error}; is it a Payrouter?") from error
    return history


def _once(pages: OperatorPages, console: Console) -> None:
    history = _past(pages)
    console.print(frame(_read(pages, pages.get("/api/overview"), history), history, console, url=pages.url))


def _watch(pages: OperatorPages, console: Console) -> None:
    """Show overviews as they come, until Ctrl-C or SIGTERM. Who was there once is waited for when it goes."""
    # SIGINT too: started in the background of a script, a process ignores it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        history = _past(pages)
        with ExitStack() as stack:
            screen: _Screen | _Lines = _Lines(console)
            if console.is_terminal:
                screen = _Screen(pages, console, stack)
            while True:
                try:
                    for text in pages.events():
                        screen.show(_read(pages, text, history), history)
                except Away as error:
                    screen.trouble(f"{error}; trying again")
                time.sleep(AGAIN_S)
    except KeyboardInterrupt:
        return


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Screen:
    """A whole terminal, left as it was found."""

    def __init__(self, pages: OperatorPages, console: Console, stack: ExitStack) -> None:
        self._url = pages.url
        self._console = console
        self._live = stack.enter_context(Live("", console=console, screen=True, auto_refresh=False))
        self._last: tuple[Overview, History] | None = None

    def show(self, overview: Overview, history: History) -> None:
        self._last = overview, history
        self._live.update(frame(overview, history, self._console, url=self._url), refresh=True)

    def trouble(self, text: str) -> None:
        if self._last is None:
            self._live.update(f"{self._url}: {text}", refresh=True)
        else:
            self._live.update(frame(*self._last, self._console, url=self._url, trouble=text), refresh=True)


class _Lines:
    """A line now and then, for files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due_s = 0.0
        self._said = ""

    def show(self, overview: Overview, _history: History) -> None:
        now_s = time.monotonic()
        self._said = ""
        if now_s >= self._due_s:
            self._due_s = now_s + LINE_EVERY_S
            self._print(line(overview))

    def trouble(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)
        sys.stdout.flush()
