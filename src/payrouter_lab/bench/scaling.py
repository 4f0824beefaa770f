"""What a payment costs each service as dispatchers and APIs are added and the load with them, without limits; plots."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pygal
from pygal.style import LightColorizedStyle
from rich.table import Table

from payrouter_lab.bench.bed import PAYROUTER, Contender, work_directory
from payrouter_lab.bench.contender_cluster import METERED, Shape
from payrouter_lab.bench.flood import run_load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from payrouter_lab.bench.flood import LoadFigures

DISPATCHERS = (1, 2, 3, 4)
APIS = (2, 3, 4, 6)
# Whoever adds a process has more to do: of the same load on more of them each look, claim and group would carry less.
RATE_PER_API = 500.0
RATE_PER_DISPATCHER = 1000.0
_SERVICES = tuple(METERED)


@dataclass(frozen=True, slots=True)
class Point:
    """One shape, medians over its runs: payments a second, and CPU ms per payment of all instances of each service."""

    apis: int
    dispatchers: int
    accepted_per_s: float
    settled_per_s: float
    cpu_ms: dict[str, float]
    findings: list[str]

    @property
    def total_ms(self) -> float:
        """CPU of all services per payment."""
        return sum(self.cpu_ms.values())

    @property
    def sound(self) -> bool:
        """True when the books agreed in every run."""
        return not self.findings


def measure_scaling(
    directory: Path, keep: Path | None, seconds: float, runs: int, say: Callable[[str], None]
) -> tuple[list[Point], list[Point]]:
    """Return the points from 1 to 4 dispatchers, and those from 2 to 6 APIs. Each load lasts some seconds."""
    found: dict[tuple[int, int], list[LoadFigures]] = {}
    shapes = [(2, count) for count in DISPATCHERS] + [(count, 1) for count in APIS if count != 2]
    for run in range(1, runs + 1):
        # Round and round, so that a slow minute of the machine does not fall on one shape alone.
        for apis, dispatchers in shapes:
            rate = max(RATE_PER_API * apis, RATE_PER_DISPATCHER * dispatchers)
            say(f"run {run} of {runs}: {apis} APIs, {dispatchers} dispatchers, {rate:g} payments/s")
            contender = Contender(PAYROUTER, shape=Shape(apis, dispatchers, limited=False))
            with work_directory(f"scaling-{apis}-{dispatchers}-{run}", keep=keep, parent=directory) as work:
                found.setdefault((apis, dispatchers), []).append(
                    run_load(contender, work, round(rate * seconds), rate=rate)
                )
    points = {shape: _point(shape, loads) for shape, loads in found.items()}
    return [points[2, count] for count in DISPATCHERS], [points[count, 1] for count in APIS]


def _point(shape: tuple[int, int], loads: Sequence[LoadFigures]) -> Point:
    return Point(
        *shape,
        accepted_per_s=statistics.median(load.accepted_per_s for load in loads),
        settled_per_s=statistics.median(load.settled_per_s for load in loads),
        cpu_ms={
            name: statistics.median(1000 * load.services[name].cpu_s / load.accepted for load in loads)
            for name in _SERVICES
        },
        findings=[finding for load in loads for finding in load.findings],
    )


def scaling_table(title: str, points: Sequence[Point]) -> Table:
    """Return a row per shape, and what the last costs compared with the first."""
    table = Table(title=title, title_justify="left")
    for label in ("APIs", "dispatchers", "accepted/s", "settled/s", *(f"{name} ms" for name in _SERVICES), "all ms"):
        table.add_column(label, justify="right")
    for point in points:
        cells = [f"{point.cpu_ms[name]:.3f}" for name in _SERVICES]
        rates = [f"{point.accepted_per_s:,.0f}", f"{point.settled_per_s:,.0f}"]
        table.add_row(str(point.apis), str(point.dispatchers), *rates, *cells, f"{point.total_ms:.3f}")
    first, last = points[0], points[-1]
    ratios = [f"{last.cpu_ms[name] / first.cpu_ms[name]:.2f}" for name in _SERVICES]
    table.add_row("ratio", "", "", "", *ratios, f"{last.total_ms / first.total_ms:.2f}")
    return table


def plot(path: Path, title: str, axis: str, points: Sequence[Point], count: Callable[[Point], int]) -> None:
    """Write CPU per payment of each service over the number of instances, as SVG."""
    chart = pygal.StackedBar(
        style=LightColorizedStyle,
        width=720,
        height=420,
        title=title,
        x_title=axis,
        y_title="CPU ms per payment",
        legend_at_bottom=True,
        show_minor_y_labels=True,
        js=[],
    )
    chart.x_labels = [str(count(point)) for point in points]
    for name in _SERVICES:
        chart.add(name, [round(point.cpu_ms[name], 4) for point in points])
    path.write_bytes(chart.render())
