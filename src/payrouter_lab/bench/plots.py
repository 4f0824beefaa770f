"""Plots of a run over time, as SVG: latency percentiles, settled by processor, backlog.

On a light ground of their own, without scripts: they read the same in a browser, on a code host, dark or light.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pygal
from pygal.style import Style

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from payrouter_lab.bench.course import Course, Points

# pygal leaves a finder for plugins that is of an old kind: each import after it would come with a warning.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "PluginImportFixer"]

_INK, _FAINT, _GROUND = "#1f2328", "#6e7781", "#ffffff"
# Told apart with any kind of colour vision (Okabe and Ito, 2008).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_MARK = "#8c959f"
_MARK_LEVELS = (0.98, 0.92, 0.86)
_MARKS: dict[str, Any] = {
    "stroke_style": {"dasharray": "4, 4"},
    "show_dots": True,
    "dots_size": 0.5,
    "allow_interruptions": True,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: lines over seconds."""

    title: str
    unit: str
    lines: Mapping[str, Points]
    fill: bool = False


def write_plots(directory: Path, name: str, title: str, course: Course, *, step_s: float = 1.0) -> list[Path]:
    """Write what there is to show of a run as `<name>-….svg`; return the files."""
    step = f"{step_s:g} s" if step_s != 1 else "second"
    plots = {}
    if course.latencies:
        plots["latency"] = Plot(f"{title}: accept latency", f"ms, by {step}", course.quantiles(step_s))
    if course.accepted:
        plots["settled"] = Plot(
            f"{title}: accepted, and settled by processor", "payments per second", course.rates(step_s)
        )
        backlog = {"accepted, not settled": course.backlog(step_s)}
        plots["backlog"] = Plot(f"{title}: backlog", "payments", backlog, fill=True)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, plot in plots.items():
        path = directory / f"{name}-{kind}.svg"
        path.write_bytes(_drawn(plot, course))
        written.append(path)
    return written


def _drawn(plot: Plot, course: Course) -> bytes:
    chart = pygal.XY(
        style=_style(len(plot.lines)),
        width=900,
        height=440,
        title=plot.title,
        x_title="second of the load",
        y_title=plot.unit,
        range=(0, _top(plot)),
        xrange=(0, course.length_s),
        legend_at_bottom=True,
        legend_at_bottom_columns=len(plot.lines) + bool(course.marks),
        show_dots=False,
        show_x_guides=False,
        print_labels=True,
        js=[],
        # pygal's own rule for lines is more specific than the widths of `stroke_style`.
        css=["file://style.css", "file://graph.css", "inline:.series .line { stroke-width: 1.8 !important; }"],
        value_formatter=lambda value: f"{value:,.10g}".replace(",", " "),
        include_x_axis=True,
        max_scale=8,
        truncate_legend=-1,
    )
    chart.x_labels = _ticks(course.length_s)
    for name, points in plot.lines.items():
        # pygal ends a line at a gap and begins it again after it.
        chart.add(name, points, fill=plot.fill, allow_interruptions=True)
    if course.marks:
        chart.add(course.marked, _marks(course, _top(plot)), **_MARKS)
    # What a script of pygal's would read; there is none.
    return re.sub(b"<script.*?</script>", b"", chart.render(), flags=re.DOTALL)


def _marks(course: Course, top: float) -> list[Any]:
    """Return a line upwards for each mark, its text beside it, at several heights so that neighbours have room."""
    points: list[Any] = []
    for number, (second, text) in enumerate(course.marks):
        at = top * _MARK_LEVELS[number % len(_MARK_LEVELS)]
        points += [(second, 0), (second, top), {"value": (second, at), "label": text}, None]
    return points


def _top(plot: Plot) -> float:
    """Return where the value axis ends: room for what is marked above the highest line."""
    values = [value for points in plot.lines.values() for _, value in points if value is not None]
    return 1.3 * (max(values, default=0.0) or 1.0)


def _ticks(length_s: float) -> list[float]:
    step = next((one for one in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60) if length_s / one <= 12), 120)
    return [round(number * step, 3) for number in range(int(length_s / step) + 1)]


def _style(lines: int) -> Any:
    return Style(
        background=_GROUND,
        plot_background=_GROUND,
        foreground=_INK,
        foreground_strong=_INK,
        foreground_subtle=_FAINT,
        guide_stroke_color="#d8dee4",
        major_guide_stroke_color="#d8dee4",
        colors=(*_COLORS[:lines], _MARK),
        font_family="system-ui, sans-serif",
        title_font_size=16,
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=14,
        value_label_font_size=11,
        opacity=".35",
    )
