"""Routing profiles side by side: `policy_model` over schedules, or over many seeds of one, as a table."""

from __future__ import annotations

import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from payrouter.entrypoints.cli.progress import progress
from payrouter_lab.bench.policy_model import Forecast, Profile, best_margin, forecast
from payrouter_lab.bench.schedule import ScheduleError, load
from payrouter_lab.bench.session import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from payrouter.entrypoints.cli.progress import Tell
    from payrouter_lab.bench.schedule import Schedule

MOST_DELAY_MS = 15_000
"""From here on attempts would time out, which the model does not know."""

SMALL_LAG_PERCENT = 0.1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Profiles over the same schedules; `best` are the margins of perfect foresight, one per schedule."""

    title: str
    profiles: Sequence[Profile]
    forecasts: Sequence[Sequence[Forecast]]
    best: Sequence[float]


def schedules_of(
    file: Path, *, seeds: int = 0, length_s: float | None = None, users: int | None = None
) -> list[Schedule]:
    """Return a file's schedule, or as many as `seeds` where it draws its stages; with another length or load if given.

    Raises:
        ScheduleError: if the file is wrong, or has a delay that the model cannot do.
    """
    drawn = load(file).random is not None
    found = []
    for seed in range(1, seeds + 1) if drawn and seeds else (None,):
        schedule = load(file, seed=seed, length_s=length_s)
        if users is not None:
            schedule = msgspec.structs.replace(
                schedule, users=msgspec.structs.replace(schedule.users, end=max(users, schedule.users.start))
            )
        delays = [state.delay_ms for stage in schedule.stages for state in (stage.default, stage.fallback)]
        if max(delays, default=0) >= MOST_DELAY_MS:
            raise ScheduleError(f"{file}: the model knows no timeouts: delays must be below {MOST_DELAY_MS} ms")
        found.append(schedule)
    return found


def compare(title: str, schedules: Sequence[Schedule], profiles: Sequence[Profile], *, jobs: int = 1) -> Comparison:
    """Return what each profile earns under each schedule; `jobs` processes share the work."""
    with progress(console, "forecasts", len(profiles) * len(schedules), transient=True) as tell:
        if jobs == 1:
            made = [[partial(forecast, one, profile) for one in schedules] for profile in profiles]
            forecasts = _told(made, tell)
            return Comparison(title, profiles, forecasts, [best_margin(schedule) for schedule in schedules])
        with ProcessPoolExecutor(jobs) as pool:
            under_way = [[pool.submit(forecast, one, profile) for one in schedules] for profile in profiles]
            best = list(pool.map(best_margin, schedules))
            found = _told([[one.result for one in row] for row in under_way], tell)
            return Comparison(title, profiles, found, best)


def _told(rows: Sequence[Sequence[Callable[[], Forecast]]], tell: Tell) -> list[list[Forecast]]:
    """Call for every forecast in turn, telling how many there are so far."""
    done = 0
    found: list[list[Forecast]] = []
    for row in rows:
        found.append([])
        for one in row:
            found[-1].append(one())
            done += 1
            tell(done)
    return found


def low(values: Sequence[float]) -> float:
    """Return the 5th percentile: one in twenty is lower."""
    return sorted(values)[int(0.05 * len(values))]


Figure = tuple[str, int, "Callable[[Sequence[Forecast]], float]"]


def _mean(label: str, digits: int, value: Callable[[Forecast], float]) -> Figure:
    return label, digits, lambda found: statistics.mean(value(one) for one in found)


_FIGURES: tuple[Figure, ...] = (
    _mean("margin, mean", 4, lambda one: one.margin),
    ("margin, median", 4, lambda found: statistics.median(one.margin for one in found)),
    ("margin, 5th percentile", 4, lambda found: low([one.margin for one in found])),
    _mean("lag %, mean", 2, lambda one: one.lag_percent),
    ("lag %, median", 3, lambda found: statistics.median(one.lag_percent for one in found)),
    _mean(
        f"% of seeds with lag ≤ {SMALL_LAG_PERCENT} %", 0, lambda one: 100.0 * (one.lag_percent <= SMALL_LAG_PERCENT)
    ),
    _mean("% by fallback", 1, lambda one: one.dear_percent),
    _mean("audit risk", 3, lambda one: one.audit_risk),
    _mean("margin less the fine's risk", 4, lambda one: one.fined_margin),
    _mean("longest queue", 0, lambda one: one.longest_queue),
    _mean("mean wait s", 2, lambda one: one.waited_s),
)


def table(comparison: Comparison) -> Table:
    """Return a column per profile: means over the schedules, and the spread of the margin."""
    best = statistics.mean(comparison.best)
    shown = Table(title=f"{comparison.title}; perfect foresight {best:.4f}", title_justify="left")
    shown.add_column("patience")
    for profile in comparison.profiles:
        shown.add_column(f"{profile.patience_s:g} s" + (" each" if profile.per_payment else ""), justify="right")
    for label, digits, figure in _FIGURES:
        shown.add_row(label, *(f"{figure(found):.{digits}f}" for found in comparison.forecasts))
    return shown


def run_policy(  # noqa: PLR0913 - one parameter per option
    files: Annotated[list[Path], typer.Argument(help="schedules, such as bench/schedules/*.toml")],
    *,
    patience: Annotated[list[float] | None, typer.Option(min=0, help="PATIENCE_S; again for a further column")] = None,
    last_resort: Annotated[float, typer.Option(min=0, help="LAST_RESORT_S")] = 10.0,
    ceiling: Annotated[float, typer.Option(min=1, help="LATENCY_CEILING_MS")] = 1000.0,
    max_in_flight: Annotated[int, typer.Option(min=1, max=800, help="MAX_IN_FLIGHT")] = 256,
    per_payment: Annotated[
        list[float] | None,
        typer.Option(min=0, help="a column where each payment waits so long, however old the outage"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=0, help="so many seeds of schedules that draw; 0: the file's own")] = 0,
    length: Annotated[float | None, typer.Option(min=1, help="seconds, for schedules that draw")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="users at the end")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="processes")] = 1,
) -> None:
    """Work out what routing settings would earn, without running anything: a second or so per schedule and column."""
    rows = [(patience_s, True) for patience_s in per_payment or []]
    rows += [(patience_s, False) for patience_s in patience or ([] if per_payment else [10.0])]
    profiles = [Profile(patience_s, last_resort, ceiling, max_in_flight, old) for patience_s, old in rows]
    for file in files:
        schedules = schedules_of(file, seeds=seeds, length_s=length, users=users)
        count = f"{len(schedules)} seeds" if len(schedules) > 1 else "one schedule"
        title = (
            f"{file.stem}, {count}; last resort {last_resort:g} s, ceiling {ceiling:g} ms, {max_in_flight} in flight"
        )
        console.print(table(compare(title, schedules, profiles, jobs=jobs)))
