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

    def __call__(self, done: float, what: str | None = None, total: float | None = None) -> None:
        """Note that so much is done, and, when they have changed, what is being done and how much there is to do."""


def quietly(done: float, what: str | None = None, total: float | None = None) -> None:
    """Tell nobody."""


@contextmanager
def progress(
    console: Console, what: str, total: float | None, *, transient: bool = False, lines: bool = True
) -> Iterator[Tell]:
    """Show how far something has come of `total` while entered; None for an end that nobody knows.

    A `transient` bar is wiped away at the end. Without `lines`, for what tells more of itself, nothing is shown where
    there is no terminal.
    """
    if not console.is_terminal:
        yield _lines(console, what, total) if lines else quietly
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
    task = bar.add_task(what, total=None if total is None else round(total))

    def tell(done: float, what: str | None = None, total: float | None = None) -> None:
        bar.update(task, completed=round(done), description=what, total=total)

    with bar:
        yield tell


def _lines(console: Console, what: str, total: float | None) -> Tell:
    doing, whole, begun_s = what, total, time.monotonic()
    due_s = begun_s + LINE_EVERY_S

    def tell(done: float, what: str | None = None, total: float | None = None) -> None:
        nonlocal doing, whole, due_s
        doing, whole = what or doing, total or whole
        now_s = time.monotonic()
        if now_s >= due_s:
            due_s = now_s + LINE_EVERY_S
            of = "" if whole is None else f" of {_count(whole)}"
            console.print(f"{doing}: {_count(done)}{of}, {now_s - begun_s:.0f} s", markup=False)

    return tell


def _count(number: float) -> str:
    return f"{round(number):,}".replace(",", " ")
