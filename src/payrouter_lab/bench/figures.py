"""Figures with a limit each: what was measured, what is at most sound, and whether it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; `limit` is the most that is sound, None where there is none. `detail`: what it was made of."""

    label: str
    value: float
    unit: str
    limit: float | None = None
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether it is within its limit."""
        return self.limit is None or self.value <= self.limit


def figures_table(title: str, figures: Sequence[Figure]) -> Table:
    """Return a row per figure."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for label in ("measured", "at most", ""):
        table.add_column(label, justify="right")
    table.add_column("made of")
    for one in figures:
        verdict = Text("") if one.limit is None else Text("ok", "green") if one.met else Text("missed", "bold red")
        limit = "" if one.limit is None else f"{one.limit:g} {one.unit}"
        table.add_row(one.label, f"{one.value:.2f} {one.unit}", limit, verdict, one.detail)
    return table
