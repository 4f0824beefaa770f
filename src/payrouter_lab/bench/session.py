"""What all benchmarks of contenders share: who is measured, run after run, and what is said at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import typer
from rich.console import Console

from payrouter_lab.bench.bed import PAYROUTER, REFERENCE, Contender, work_directory
from payrouter_lab.bench.processes import ChildError
from payrouter_lab.bench.service_table import service_table
from payrouter_lab.bench.tables import Row, comparison, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from payrouter_lab.bench.contender_cluster import Shape

console = Console(highlight=False, soft_wrap=True)


class Verdict(Protocol):
    """What every result of a contender says: whether all is well, and what is not."""

    @property
    def findings(self) -> list[str]:
        """What is wrong, a line each; empty when nothing is."""

    @property
    def sound(self) -> bool:
        """Whether all is well."""


Result = TypeVar("Result", bound=Verdict)


def contenders(
    *, no_reference: bool, no_router: bool, target: str | None, shape: Shape | None = None
) -> list[Contender]:
    """Return who is measured, the reference first; as clusters of that shape, if one is given.

    Raises:
        ChildError: if nobody is left.
    """
    found = [] if no_reference else [Contender(REFERENCE, shape=shape)]
    if target is not None:
        found.append(Contender("target", url=target))
    elif not no_router:
        found.append(Contender(PAYROUTER, shape=shape))
    if not found:
        raise ChildError("nobody to measure: --no-reference and --no-router were both given")
    return found


def measure(
    name: str,
    who: Sequence[Contender],
    runs: int,
    files: tuple[Path, Path | None],
    run_one: Callable[[Contender, Path], Result],
) -> dict[str, list[Result]]:
    """Run every contender in turn, `runs` times; `files` is where runs work and where they are kept."""
    directory, keep = files
    results: dict[str, list[Result]] = {contender.name: [] for contender in who}
    for run in range(1, runs + 1):
        for contender in who:
            console.print(f"[bold]{name}[/], run {run} of {runs}: {contender.name}")
            with work_directory(f"{name}-{contender.name}-{run}", keep=keep, parent=directory) as work:
                result = run_one(contender, work)
            results[contender.name].append(result)
            for finding in result.findings:
                console.print(f"  [red]{finding}[/]")
    return results


def report(
    name: str, title: str, rows: Sequence[Row[Result]], results: Mapping[str, list[Result]], file: Path | None
) -> None:
    """Print the table, write the file, and exit with 1 unless the last contender's runs were all sound."""
    console.print(comparison(title, rows, results))
    for contender, runs in results.items():
        table = service_table(contender, [getattr(run, "services", {}) for run in runs])
        if table is not None:
            console.print(table)
    if file is not None:
        write_json(file, name, results)
    if not all(result.sound for result in list(results.values())[-1]):
        raise typer.Exit(1)
