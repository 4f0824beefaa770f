"""The table of a storm, its failures, and the file for machines."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table

from payrouter_lab.faults.storm import ACCEPTING_WITHIN_S, AT_THE_END, SETTLED_WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from payrouter_lab.faults.storm import Round

COLUMNS = (
    "times",
    "in flight",
    "lost",
    "doubled",
    "books differing",
    "refused",
    "unanswered",
    "accepting again, s",
    "settled, s",
)
WIDTH = 150
"""Columns of text that the table needs; a narrower terminal wraps its lines."""


def storm_table(title: str, rounds: Sequence[Round]) -> Table:
    """Return a row per fault, in order of first appearance, what all of them did, and the last comparison.

    Times are median / worst; `!` marks a worst one beyond its bound.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    struck = [one for one in rounds if one.fault != AT_THE_END]
    for name in dict.fromkeys(one.fault for one in struck):
        found = [one for one in struck if one.fault == name]
        table.add_row(name, *_counts(found), *_times(found))
    table.add_section()
    table.add_row("all", *_counts(struck), *_times(struck, bounded=False))
    ends = [one for one in rounds if one.fault == AT_THE_END]
    if ends:
        table.add_row(AT_THE_END, *_counts(ends), *_times(ends))
    return table


def _counts(rounds: Sequence[Round]) -> list[str]:
    names = ("in_flight", "lost", "doubled", "differing", "refused", "unanswered")
    counts: list[int] = [len(rounds), *(sum(getattr(one, name) for one in rounds) for name in names)]
    return [f"{count:,}".replace(",", " ") for count in counts]


def _times(rounds: Sequence[Round], *, bounded: bool = True) -> list[str]:
    kill = bounded and rounds[0].kill
    return [
        _median_and_worst([one.accepting_s for one in rounds], ACCEPTING_WITHIN_S if kill else None),
        _median_and_worst([one.settled_s for one in rounds], SETTLED_WITHIN_S if kill else None),
    ]


def _median_and_worst(values: Sequence[float | None], bound_s: float | None) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    worst = max(known)
    mark = "!" if bound_s is not None and worst > bound_s else ""
    return f"{statistics.median(known):.2f} / {worst:.2f}{mark}"


def failures(rounds: Sequence[Round], *, lenient_times: bool, may_lose: bool) -> list[str]:
    """Return what is wrong, a line each; empty when nothing is.

    Books that disagree, payments that got stuck, processes that ended by themselves and an API whose death refused
    something always are. Broken bounds on
    recovery are unless `lenient_times`. With `may_lose`, of a Redis that does not sync at once, only what was left
    behind is.
    """
    found = []
    for one in rounds:
        found += one.defects
        if not may_lose and not one.books_agree:
            found.append(
                f"{one.fault}: {one.lost} lost, {one.doubled} doubled, {one.differing} differing, {one.stuck} stuck"
            )
        if not one.refuses and one.refused + one.unanswered:
            found.append(f"{one.fault}: {one.refused} refused, {one.unanswered} unanswered, and none should be")
        if not lenient_times:
            found += one.late
        if not may_lose:
            found += one.findings
    return found


def write_json(file: Path, rounds: Sequence[Round], facts: Mapping[str, Any]) -> None:
    """Write every round, for a machine to read; `facts` are about the whole run."""
    text = msgspec.json.encode({"benchmark": "faults", **facts, "rounds": [asdict(one) for one in rounds]})
    file.write_bytes(msgspec.json.format(text) + b"\n")
