"""How a run went over time: what is counted in which step, and that plots of it are whole and small."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from payrouter_lab.bench.course import Course
from payrouter_lab.bench.k6 import read_console
from payrouter_lab.bench.plots import write_plots

if TYPE_CHECKING:
    from pathlib import Path

MARKS = [(0.0, "0 ms | 0 ms"), (2.0, "2000 ms failing | 0 ms")]


def course() -> Course:
    return Course(
        length_s=4,
        latencies=[(0.1, 5.0), (0.2, 7.0), (0.9, 6.0), (2.5, 100.0)],
        accepted=[0.1, 0.2, 0.9, 2.5],
        settled={"default": [0.3, 3.5], "fallback": [1.5, 9.0]},
        marks=MARKS,
    )


def test_percentiles_are_of_what_was_sent_in_a_step_and_none_where_nothing_was() -> None:
    found = course().quantiles(1)
    assert found["p50"] == [(0.5, 6.0), (1.5, None), (2.5, 100.0), (3.5, None)]
    assert found["p99"][0] == (0.5, 7.0)


def test_rates_are_per_second_whatever_the_step() -> None:
    found = course().rates(2)
    assert found["accepted"] == [(1.0, 1.5), (3.0, 0.5)]
    assert found["settled by default"] == [(1.0, 0.5), (3.0, 0.5)]
    assert found["settled by fallback"] == [(1.0, 0.5), (3.0, 0.0)]


def test_the_backlog_is_what_was_accepted_and_not_settled_by_then() -> None:
    assert course().backlog(1) == [(0.0, 0), (1.0, 2), (2.0, 1), (3.0, 2), (4.0, 1)]


def test_what_came_before_the_load_counts_as_waiting_from_its_start() -> None:
    early = Course(2, accepted=[-3.0, -2.0, 0.5], settled={"default": [-1.0, 1.5]})
    assert early.backlog(1) == [(0.0, 1), (1.0, 2), (2.0, 1)]


def test_plots_name_their_axes_and_units_mark_the_stages_and_stay_small(tmp_path: Path) -> None:
    written = write_plots(tmp_path / "made", "short", "short", course())
    assert [path.name for path in written] == ["short-latency.svg", "short-settled.svg", "short-backlog.svg"]
    units = {"latency": "ms, by second", "settled": "payments per second", "backlog": "payments"}
    for path in written:
        texts = {element.text for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")}
        kind = path.stem.removeprefix("short-")
        assert {"second of the load", units[kind], "2000 ms failing | 0 ms"} <= texts
        assert path.stat().st_size < 60_000
        assert b"<script" not in path.read_bytes()


def test_a_contender_without_a_ledger_has_its_latency_plotted(tmp_path: Path) -> None:
    [path] = write_plots(tmp_path, "target", "target", Course(4, latencies=[(0.1, 5.0)]), step_s=0.1)
    assert "ms, by 0.1 s" in path.read_text()


def test_five_minutes_of_plots_are_small(tmp_path: Path) -> None:
    seconds = [number / 10 for number in range(3000)]
    long = Course(
        300, [(at, at % 7) for at in seconds], seconds, {"default": seconds, "fallback": seconds[::9]}, MARKS * 10
    )
    assert all(path.stat().st_size < 90_000 for path in write_plots(tmp_path, "long", "long", long))


@pytest.mark.parametrize("line", ["samples 1500:2.25 40:0.90", "samples 1500:2.25 40:0.90\n"])
def test_samples_that_users_tell_are_read(line: str) -> None:
    assert read_console([line]).samples == [(1.5, 2.25), (0.04, 0.9)]
