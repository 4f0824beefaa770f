"""The tables of a run against bad input: what was answered by family of flaws, what memory did, and the document."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.table import Table

from payrouter_lab.badinput.memory import limit_mb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from payrouter_lab.badinput.conformance import ConformanceFigures
    from payrouter_lab.badinput.fuzz import FuzzFigures


def families_table(figures: FuzzFigures) -> Table:
    """Return how often each status came, by family; a connection may have had several."""
    title = (
        f"{figures.requests} bad requests in {figures.seconds:.0f} s, seed {figures.seed}: {figures.accepted} samples "
        f"answered 202, {figures.charged} payments charged, {figures.good_taken} good payments taken in between"
    )
    return _statuses(title, "family", figures.families)


def conformance_table(figures: ConformanceFigures) -> Table:
    """Return how often each status came, by operation."""
    phases = ", ".join(f"{name} {status}" for name, status in figures.phases.items())
    title = (
        f"schemathesis: {figures.cases} calls, {sum(figures.checks.values())} checks of {len(figures.checks)} kinds, "
        f"seed {figures.seed} ({phases}); {figures.accepted} payments accepted and charged"
    )
    return _statuses(title, "operation", figures.statuses)


def memory_table(figures: FuzzFigures) -> Table:
    """Return each process' resident memory: at first, in the middle, at last, and the growth of the second half."""
    most_mb = limit_mb(figures.requests)
    table = Table(title=f"resident memory, MB (growth of the second half: {most_mb:g} at most)", title_justify="left")
    for name in ("process", "before", "middle", "end", "growth"):
        table.add_column(name, justify="left" if name == "process" else "right")
    for name, course in figures.course_mb.items():
        shown = (course[0], course[len(course) // 2], course[-1], figures.growth_mb[name])
        table.add_row(name, *(f"{value:.1f}" for value in shown))
    return table


def _statuses(title: str, label: str, rows: Mapping[str, Counter[int]]) -> Table:
    total: Counter[int] = Counter()
    for counts in rows.values():
        total.update(counts)
    table = Table(title=title, title_justify="left")
    table.add_column(label, no_wrap=True)
    for status in sorted(total):
        table.add_column(str(status) if status else "none", justify="right")
    for name, counts in sorted(rows.items()):
        table.add_row(name, *(str(counts[status] or "") for status in sorted(total)))
    table.add_section()
    table.add_row("all", *(str(total[status]) for status in sorted(total)))
    return table
