"""`python -m payrouter_lab.badinput`: bad input at scale against a router of its own, on this machine.

Exit codes: 0 all is well, 1 something was answered, charged or kept in memory that should not have been, 2 the
test itself did not run.
"""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from payrouter.entrypoints.cli.progress import progress
from payrouter_lab.badinput.conformance import ConformanceFigures, check_conformance
from payrouter_lab.badinput.fuzz import Fuzzer, FuzzFigures
from payrouter_lab.badinput.good import KEY
from payrouter_lab.badinput.tables import conformance_table, families_table, memory_table
from payrouter_lab.badinput.talk import SILENCE_S
from payrouter_lab.bench.bed import FEES, PAYROUTER, RESULTS, Contender, started_bed, work_directory
from payrouter_lab.bench.calls import CallError
from payrouter_lab.bench.contender_cluster import Shape
from payrouter_lab.bench.k6 import LoadError
from payrouter_lab.bench.loads import Loads
from payrouter_lab.bench.processes import ChildError

if TYPE_CHECKING:
    from types import FrameType

    from payrouter_lab.bench.bed import Bed

WARM_WITHIN_S = 300.0
GUARDED = {"PAYROUTER_API_KEYS": f"lab:{KEY}", "PAYROUTER_RATE_LIMIT_PER_S": "30"}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
# A column per status: narrower, the tables could not be read.
console = Console(highlight=False, soft_wrap=True, width=max(130, Console().width))


@app.command()
def run(  # noqa: PLR0913 - one parameter per option
    *,
    requests: Annotated[int, typer.Option(min=0, help="how many bad requests as bytes; 0 for none")] = 100_000,
    bursts: Annotated[int, typer.Option(min=1, help="in how many bursts; a good payment and a look after each")] = 25,
    examples: Annotated[int, typer.Option(min=0, help="schemathesis: calls per operation and phase; 0 for none")] = 300,
    seed: Annotated[int, typer.Option(help="decides every flaw and every generated call")] = 1,
    warm_up: Annotated[
        int, typer.Option(min=0, help="good payments before that, which fill the caches of the data file")
    ] = 100_000,
    silence: Annotated[
        float, typer.Option(min=0.5, help="seconds to wait for an answer before hanging up")
    ] = SILENCE_S,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="a whole cluster behind nginx instead of one process")
    ] = False,
    keys: Annotated[
        bool,
        typer.Option("--keys", help="a router with an API key and a rate limit, which much of it has to pass first"),
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="keep logs, data and reports in this directory")] = None,
    directory: Annotated[Path, typer.Option("--dir", help="where the run keeps its files meanwhile")] = RESULTS,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures to this file")] = None,
) -> None:
    """Send bad bytes and generated calls to a running router; count what came of them, and compare the books."""
    shape = Shape(limited=False) if cluster else None
    # A purge in the middle would empty the books that are compared at the end.
    contender = Contender(
        PAYROUTER, shape=shape, settings={"PAYROUTER_ALLOW_PURGE": "false", **(GUARDED if keys else {})}
    )
    if keys and warm_up:
        raise typer.BadParameter(
            "good payments to warm up have no key; with --keys there must be none", param_hint="--warm-up"
        )
    fuzzed: FuzzFigures | None = None
    conformed: ConformanceFigures | None = None
    with (
        work_directory("badinput", keep=keep, parent=directory, measured=False) as work,
        started_bed(contender, work, FEES, prepare=lambda _bed: None) as bed,
    ):
        if keys:
            bed.target.send_with(X_API_Key=KEY)
        if warm_up:
            console.print(f"[bold]{warm_up} good payments[/], to warm up")
            _warm_up(bed, warm_up)
        if requests:
            console.print(f"[bold]{requests} bad requests[/], seed {seed}")
            fuzzer = Fuzzer(
                bed, requests=requests, bursts=bursts, seed=seed, salt=secrets.randbits(32), silence_s=silence
            )
            with progress(console, "bad requests", requests, lines=False, transient=True) as tell:
                fuzzed = fuzzer.run(console.print, tell)
        if examples:
            console.print(f"[bold]schemathesis[/], {examples} examples, seed {seed}")
            with progress(console, "kB of reports", None, transient=True) as tell:
                conformed = check_conformance(bed, examples=examples, seed=seed, key=KEY if keys else "", tell=tell)
    if fuzzed is not None:
        console.print(families_table(fuzzed))
        console.print(memory_table(fuzzed))
    if conformed is not None:
        console.print(conformance_table(conformed))
    figures = {name: one for name, one in (("bytes", fuzzed), ("conformance", conformed)) if one is not None}
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    findings = [finding for one in figures.values() for finding in one.findings]
    for finding in findings:
        console.print(finding, style="red", markup=False)
    console.print(f"{len(findings)} findings")
    if findings:
        raise typer.Exit(1)


def _warm_up(bed: Bed, payments: int) -> None:
    """Let payments be accepted and settled; whether memory stays flat shows only when every cache is full."""
    with progress(console, "answered", payments, transient=True) as tell, Loads(bed).start(payments) as load:
        accepted = load.outcome(lambda: tell(load.finished())).accepted
    if not bed.target.wait_until_settled(accepted, WARM_WITHIN_S):
        raise ChildError(f"{accepted} good payments were not settled within {WARM_WITHIN_S:g} s")


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave by way of every `with`, so that what was started is ended."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except (ChildError, CallError, LoadError, OSError) as error:
        text = "\n".join([str(error), *getattr(error, "__notes__", [])])
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
