"""What logs cost: floods with `PAYROUTER_LOG_LEVEL` at error, info and debug in turn, as JSON lines into a file."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from payrouter_lab.bench.bed import PAYROUTER, Contender, work_directory
from payrouter_lab.bench.figures import Figure
from payrouter_lab.bench.flood import run_load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from payrouter_lab.bench.flood import LoadFigures

QUIET, LEVELS = "error", ("info", "debug")
MOST_LOST_PERCENT = {"info": 5.0}


def measure_logs(
    files: tuple[Path, Path | None], payments: int, rounds: int, connections: int, tell: Callable[[str], None]
) -> tuple[list[Figure], list[str]]:
    """Return what each level costs compared with error, and what is wrong with the books, a line each.

    `files` is where runs work and where they are kept.

    Raises:
        LoadError, ChildError, CallError: if the test itself goes wrong.
    """
    directory, keep = files
    runs: dict[str, list[LoadFigures]] = {level: [] for level in (QUIET, *LEVELS)}
    sizes: dict[str, float] = {}
    for number in range(1, rounds + 1):
        for level, found in runs.items():
            tell(f"round {number} of {rounds}: log level {level}")
            contender = Contender(PAYROUTER, settings={"PAYROUTER_LOG_LEVEL": level, "PAYROUTER_LOG_FORMAT": "json"})
            with work_directory(f"logs-{level}-{number}", keep=keep, parent=directory) as work:
                found.append(run_load(contender, work, payments, connections=connections))
                sizes[level] = (work / f"{PAYROUTER}.log").stat().st_size / payments
    figures = [_figure(level, runs[QUIET], runs[level], sizes[level]) for level in LEVELS]
    return figures, [finding for found in runs.values() for run in found for finding in run.findings]


def _figure(level: str, quiet: list[LoadFigures], loud: list[LoadFigures], bytes_each: float) -> Figure:
    (before, cpu_before), (after, cpu_after) = map(_medians, (quiet, loud))
    return Figure(
        f"throughput lost with log level {level}",
        100 * (1 - after / before),
        "%",
        MOST_LOST_PERCENT.get(level),
        f"settled/s {before:.0f} → {after:.0f}, CPU-s per 1000 {cpu_before:.3f} → {cpu_after:.3f}, "
        f"{bytes_each:.0f} bytes of log per payment",
    )


def _medians(runs: list[LoadFigures]) -> tuple[float, float]:
    return (
        statistics.median(run.settled_per_s for run in runs),
        statistics.median(run.cpu_s_per_1000 or 0.0 for run in runs),
    )
