"""What each service of a cluster used, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from payrouter_lab.bench.tables import cell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from payrouter_lab.bench.contender_cluster import ServiceFigures

_COLUMNS: tuple[tuple[str, Callable[[ServiceFigures], float | None], int], ...] = (
    ("CPU-s", lambda one: one.cpu_s, 2),
    ("throttled % of periods", lambda one: one.throttled_percent, 1),
    ("throttled s", lambda one: one.throttled_s, 2),
    ("most memory MB", lambda one: one.working_set_mb, 1),
    ("limit MB", lambda one: one.limit_mb, 0),
    ("% of limit", lambda one: one.memory_percent, 0),
    ("OOM kills", lambda one: one.oom_kills, 0),
)


def service_table(name: str, runs: Sequence[Mapping[str, ServiceFigures]]) -> Table | None:
    """Return a row per service, medians over runs with their range; None when nothing was limited."""
    services = list(runs[0]) if runs else []
    if not services:
        return None
    table = Table(title=f"{name}, by service", title_justify="left")
    table.add_column("")
    for label, _, _ in _COLUMNS:
        table.add_column(label, justify="right")
    for service in services:
        each = [run[service] for run in runs if service in run]
        table.add_row(service, *(cell([value(one) for one in each], digits) for _, value, digits in _COLUMNS))
    return table
