"""How far something long has come, as a terminal shows it and as a file does."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from payrouter.entrypoints.cli import progress as module
from payrouter.entrypoints.cli.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_every_ten_seconds(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=100)
    with progress(console, "filling", 1_000_000) as tell:
        for done in range(0, 1_000_000, 100_000):
            clock[0] += 4
            tell(done, "summing up" if done > 500_000 else None)
    assert console.file.getvalue().splitlines() == [
        "filling: 200 000 of 1 000 000, 12 s",
        "filling: 500 000 of 1 000 000, 24 s",
        "summing up: 800 000 of 1 000 000, 36 s",
    ]


def test_the_total_may_be_known_later_or_never(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=100)
    with progress(console, "comparing", None) as tell:
        clock[0] += 10
        tell(5)
        clock[0] += 10
        tell(7, total=70)
    assert console.file.getvalue().splitlines() == ["comparing: 5, 10 s", "comparing: 7 of 70, 20 s"]


def test_what_tells_more_of_itself_has_no_lines(clock: list[float]) -> None:
    console = Console(file=io.StringIO(), width=100)
    with progress(console, "seconds", 60, lines=False) as tell:
        clock[0] += 100
        tell(60)
    assert not console.file.getvalue()


@pytest.mark.parametrize("transient", [False, True])
def test_a_terminal_has_a_bar_and_a_transient_one_leaves_nothing(transient: bool) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with progress(console, "filling", 10, transient=transient) as tell:
        tell(10, "summing up")
    shown = console.file.getvalue()
    assert "summing up" in shown
    assert "10/10" in shown
    assert shown.endswith("\x1b[1A\x1b[2K") is transient
