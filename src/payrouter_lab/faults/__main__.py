"""`python -m payrouter_lab.faults`: faults on a real cluster under load, and on the router on one SQLite file.

Exit codes: 0 all is well; 1 something was lost, doubled, different, stuck or left behind, a process ended by itself, a
dying API refused a payment, or recovery took too long; 2 the storm did not come to its end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from payrouter.entrypoints.cli.progress import progress
from payrouter_lab.bench.bed import RESULTS, work_directory
from payrouter_lab.bench.calls import CallError
from payrouter_lab.bench.processes import ChildError
from payrouter_lab.bench.session import console
from payrouter_lab.cluster.binaries import MissingBinary
from payrouter_lab.faults.bed import ClusterBed
from payrouter_lab.faults.disk import DiskBed, disk_faults
from payrouter_lab.faults.report import WIDTH, failures, storm_table, write_json
from payrouter_lab.faults.storm import Round, Storm, all_cluster_faults, run_cluster_storm
from payrouter_lab.faults.watch import StuckError

if TYPE_CHECKING:
    from types import FrameType

    from payrouter_lab.faults.catalogue import Fault

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Fsync(StrEnum):
    """When Redis has writes on disk: before it answers, or within a second or two."""

    ALWAYS = "always"
    EVERYSEC = "everysec"


Minutes = Annotated[float, typer.Option(min=0, help="each fault once, then at random until they are over")]
Short = Annotated[bool, typer.Option("--short", help="each fault once: about a minute")]
Seed = Annotated[int | None, typer.Option(help="draws the random part; printed")]
Only = Annotated[str | None, typer.Option(help="only the cluster's faults whose names hold this")]
Appendfsync = Annotated[Fsync, typer.Option(help="with everysec what is lost is measured, and is no failure")]
SlowFsync = Annotated[float, typer.Option(min=0, max=5, help="how many seconds longer each sync of Redis takes")]
Rate = Annotated[float, typer.Option(min=10, max=2000, help="payments per second")]
Lenient = Annotated[
    bool, typer.Option("--lenient-times", help="recovery that takes too long is marked, and no failure")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="write every round to this file")]
Keep = Annotated[Path | None, typer.Option(help="keep logs, journals and data in this directory")]
Directory = Annotated[Path, typer.Option("--dir", help="where files are kept meanwhile; on a disk")]
Template = Annotated[Path | None, typer.Option("--postgres-template", help="an initialised data directory to copy")]


@app.command()
def run(  # noqa: PLR0913 - one parameter per option
    *,
    minutes: Minutes = 10.0,
    short: Short = False,
    seed: Seed = None,
    only: Only = None,
    appendfsync: Appendfsync = Fsync.ALWAYS,
    slow_fsync: SlowFsync = 0.0,
    rate: Rate = 200.0,
    lenient_times: Lenient = False,
    json_file: JsonFile = None,
    keep: Keep = None,
    directory: Directory = RESULTS,
    template: Template = None,
) -> None:
    """Kill, pause, restart, cut and fill under load; print what it did to payments and books: nothing."""
    faults = all_cluster_faults(only)
    if not faults:
        raise ChildError(f"no fault has {only!r} in its name: there are {_names()}")
    seed = random.randrange(1 << 32) if seed is None else seed
    seconds = 0.0 if short else 60 * minutes
    begun_s = time.monotonic()
    console.print(f"[bold]faults[/]: seed {seed}, {rate:g} payments/s, appendfsync {appendfsync}")
    with work_directory("faults", keep=keep, parent=directory) as work:
        work.chmod(0o755)  # PostgreSQL runs as somebody else
        bed = ClusterBed(
            work, rate=rate, seed=seed, appendfsync=appendfsync, slow_fsync_s=slow_fsync, template=template
        )
        with bed:
            rounds, facts = _cluster(bed, faults, seconds=seconds, seed=seed)
        if only is None:
            rounds += _disk(work, rate)
    wrong = failures(rounds, lenient_times=lenient_times, may_lose=appendfsync is Fsync.EVERYSEC)
    facts |= {"seed": seed, "rate": rate, "appendfsync": appendfsync, "slow_fsync_s": slow_fsync, "failures": wrong}
    facts["seconds"] = time.monotonic() - begun_s
    title = f"{facts['accepted']} payments, {facts['seconds']:.0f} s, seed {seed}; times are median / worst"
    console.print(storm_table(title, rounds), width=max(WIDTH, console.width), crop=False, soft_wrap=False)
    console.print(
        f"The proxies: {', '.join(f'{count} {deed}' for deed, count in facts['proxies'].items())}. "
        f"Processors were asked again for {facts['asked_again']} charges, and answered 422."
    )
    if json_file is not None:
        write_json(json_file, rounds, facts)
    for line in wrong:
        console.print(line, style="red", markup=False)
    if wrong:
        raise typer.Exit(1)


def _names() -> str:
    return ", ".join(one.name for one in all_cluster_faults())


def _cluster(
    bed: ClusterBed, faults: list[Fault[ClusterBed]], *, seconds: float, seed: int
) -> tuple[list[Round], dict[str, Any]]:
    begun_s = time.monotonic()
    with progress(console, "seconds of faults", seconds or None, lines=False, transient=True) as tell:

        def say(line: str) -> None:
            _say(line)
            tell(time.monotonic() - begun_s)

        storm = Storm(bed, say)
        run_cluster_storm(storm, faults, seconds=seconds, seed=seed)
        storm.finish()
    return storm.rounds, {
        "accepted": len(bed.watch.journal.accepted),
        "proxies": bed.deeds,
        "asked_again": bed.asked_again,
    }


def _disk(work: Path, rate: float) -> list[Round]:
    with DiskBed(work / "disk", rate=rate) as bed:
        storm = Storm(bed, _say)
        for fault in disk_faults():
            storm.strike(fault, fault.least_s)
        storm.finish()
        return storm.rounds


def _say(line: str) -> None:
    console.print(line, markup=False)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave by way of every `with`, so that what was started is ended."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _end)
    for name in [name for name in os.environ if name.startswith("PAYROUTER_")]:
        # The storm knows what it measures; somebody else's settings would change it.
        del os.environ[name]
    try:
        app()
    except (ChildError, CallError, MissingBinary, StuckError) as error:
        text = "\n".join([str(error), *getattr(error, "__notes__", [])])
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
