"""`payrouter_lab.bench operator`: what the operator's view costs, and how quick it is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from payrouter.entrypoints.cli.progress import progress
from payrouter_lab.bench.bed import RESULTS, work_directory
from payrouter_lab.bench.dashboard import Plan, measure_dashboard, measure_scrapes
from payrouter_lab.bench.figures import Figure, figures_table
from payrouter_lab.bench.finds import measure_finds
from payrouter_lab.bench.logs import measure_logs
from payrouter_lab.bench.session import console
from payrouter_lab.bench.summaries import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence


class Part(StrEnum):
    """What can be measured by itself."""

    DASHBOARD = "dashboard"
    SCRAPE = "scrape"
    FIND_SQLITE = "find-sqlite"
    FIND_POSTGRES = "find-postgres"
    LOGS = "logs"


def run_operator(  # noqa: PLR0913 - one parameter per option
    *,
    only: Annotated[list[Part] | None, typer.Option(help="only this part; again for a further one")] = None,
    payments: Annotated[int, typer.Option(min=100, help="payments of each flood")] = 30_000,
    seconds: Annotated[float, typer.Option(min=1, help="length of each load at a fixed rate")] = 15,
    rate: Annotated[float, typer.Option(min=1, help="its payments per second")] = 550,
    rounds: Annotated[int, typer.Option(min=1, help="how often each kind of run, in turn; medians")] = 3,
    browsers: Annotated[int, typer.Option(min=1, max=50, help="how many have the page open")] = 5,
    settled: Annotated[int, typer.Option(min=1, help="settled payments of which one is found")] = 10_000_000,
    asks: Annotated[int, typer.Option(min=1, help="first views, scrapes; ten times as many finds")] = 200,
    connections: Annotated[int, typer.Option(min=1, max=1024, help="connections of the generator")] = 64,
    keep: Annotated[Path | None, typer.Option(help="keep logs and data of every run in this directory")] = None,
    directory: Annotated[Path, typer.Option("--dir", help="where runs keep their files; on a disk")] = RESULTS,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file")] = None,
) -> None:
    """Measure what an open dashboard, scrapes and logs cost, and how quickly a payment is found among millions."""
    plan = Plan(payments, rate, seconds, rounds, browsers, asks=asks, connections=connections)
    figures: list[Figure] = []
    findings: list[str] = []
    for part in only or list(Part):
        console.print(f"[bold]operator[/]: {part}")
        match part:
            case Part.DASHBOARD:
                with work_directory("operator-dashboard", keep=keep, parent=directory) as work:
                    found, wrong = measure_dashboard(work, plan, _tell)
            case Part.SCRAPE:
                with work_directory("operator-scrape", keep=keep, parent=directory) as work:
                    found, wrong = measure_scrapes(work, plan, _tell), []
            case Part.LOGS:
                found, wrong = measure_logs((directory, keep), payments, rounds, connections, _tell)
            case Part.FIND_SQLITE | Part.FIND_POSTGRES:
                engine = Engine.SQLITE if part is Part.FIND_SQLITE else Engine.POSTGRES
                found, wrong = _finds(engine, settled, 10 * asks, (directory, keep)), []
        figures += found
        findings += wrong
    _report(figures, findings, json_file)


def _finds(engine: Engine, settled: int, asks: int, files: tuple[Path, Path | None]) -> list[Figure]:
    directory, keep = files
    with (
        work_directory(f"operator-find-{engine}", keep=keep, parent=directory) as work,
        progress(console, "filling", settled) as tell,
    ):
        return measure_finds(work, engine, settled, asks, tell)


def _tell(text: str) -> None:
    console.print(f"  {text}", markup=False)


def _report(figures: Sequence[Figure], findings: Sequence[str], json_file: Path | None) -> None:
    """Print the table, write the file, and exit with 1 when the books differ or a limit is missed."""
    console.print(figures_table("the operator's view", figures))
    for finding in findings:
        console.print(finding, style="red", markup=False)
    if json_file is not None:
        said = {"benchmark": "operator", "figures": figures, "findings": findings}
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(said)) + b"\n")
    if findings or not all(one.met for one in figures):
        raise typer.Exit(1)
