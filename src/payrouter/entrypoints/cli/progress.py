"""How far something long has come: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

LINE_EVERY_S = 10.0
# A bar is drawn by a thread of the process that measures or works: seldom enough not to matter.
_DRAWN_PER_S = 2


class Tell(Protocol):
    """What is told how far something has come."""

    def __call__(self, done: float, what: str | None = None) -> None:
        """Note that `done` of the total is done, and, when it has changed, what is being done."""


def quietly(done: float, what: str | None = None) -> None:
    """Tell nobody."""


@contextmanager
def progress(console: Console, what: str, total: float, *, transient: bool = False) -> Iterator[Tell]:
    """Show how far something has come of `total` while entered; a `transient` bar is wiped away at the end."""
    if not console.is_terminal:
        yield _lines(console, what, total)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    bar = Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=_DRAWN_PER_S,
        transient=transient,
    )
    task = bar.add_task(what, total=round(total))

    def tell(done: float, what: str | None = None) -> None:
        bar.update(task, completed=round(done), description=what)

    with bar:
        yield tell


def _lines(console: Console, what: str, total: float) -> Tell:
    doing, begun_s = what, time.monotonic()
    due_s = begun_s + LINE_EVERY_S

    def tell(done: float, what: str | None = None) -> None:
        nonlocal doing, due_s
        doing = what or doing
        now_s = time.monotonic()
        if now_s >= due_s:
            due_s = now_s + LINE_EVERY_S
            console.print(f"{doing}: {_count(done)} of {_count(total)}, {now_s - begun_s:.0f} s", markup=False)

    return tell


def _count(number: float) -> str:
    return f"{round(number):,}".replace(",", " ")
