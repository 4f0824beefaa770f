"""One table for every benchmark: reference, contender, ratio; medians over runs, with their range."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Row(Generic[Result]):
    """One figure of a result, with the digits it deserves; None where a run has none."""

    label: str
    value: Callable[[Result], float | None]
    digits: int = 0
    ratio: bool = False
    """Whether contender divided by reference says something."""


def comparison(title: str, rows: Sequence[Row[Result]], results: Mapping[str, Sequence[Result]]) -> Table:
    """Return a table with a column per contender, in order, and the ratio of the last to the first."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    if len(results) > 1:
        table.add_column("ratio", justify="right")
    for row in rows:
        columns = [[row.value(result) for result in found] for found in results.values()]
        cells = [cell(values, row.digits) for values in columns]
        if len(results) > 1:
            cells.append(_ratio(columns[0], columns[-1]) if row.ratio else "")
        table.add_row(row.label, *cells)
    return table


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of the figures there are; None when there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def cell(values: Sequence[float | None], digits: int) -> str:
    """Return the median and, where runs differ, their range."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = _number(statistics.median(known), digits)
    low, high = _number(min(known), digits), _number(max(known), digits)
    return text if low == high else f"{text} ({low}-{high})"


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace(",", " ")


def _ratio(first: Sequence[float | None], last: Sequence[float | None]) -> str:
    below, above = median(first), median(last)
    return f"{above / below:.2f}" if below and above is not None else "-"


def write_json(path: Path, benchmark: str, results: Mapping[str, Sequence[object]]) -> None:
    """Write every run's figures, for a machine to read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode({"benchmark": benchmark, "results": results})) + b"\n")
