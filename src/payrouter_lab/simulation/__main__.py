"""The command line: many seeds on all cores, with progress; one seed again, with the story of a payment."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from payrouter.entrypoints.cli.progress import progress
from payrouter_lab.simulation.faults import CATALOGUE, HARMLESS, LOSES_THE_LAST_SECOND
from payrouter_lab.simulation.run import Options, Result, fewer_faults, run_seed
from payrouter_lab.simulation.story import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN = 5
EXIT_BROKEN = 1

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)

Faults = Annotated[
    list[str] | None, typer.Option("--fault", help="only these (see `faults`); a part of the name is enough")
]
Payments = Annotated[int, typer.Option(min=1, help="payments per run")]
Webhooks = Annotated[bool, typer.Option("--webhooks", help="tell a receiver, which fails, of what becomes of payments")]
StormSeconds = Annotated[float, typer.Option("--storm", min=1, help="seconds of simulated time with faults")]
DEFAULT = Options()


@dataclass
class Tally:
    """What many runs came to."""

    runs: int = 0
    payments: int = 0
    charged: int = 0
    excused: int = 0
    dead_letters: int = 0
    webhooks: int = 0
    windows: int = 0
    broken: dict[int, Result] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    killed_at: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    cpu_s: float = 0.0
    simulated_s: float = 0.0
    worst_settled_s: tuple[float, int] = (0.0, -1)

    def add(self, result: Result) -> None:
        """Count one run."""
        self.runs += 1
        self.payments += result.payments
        self.charged += result.charged
        self.excused += result.excused
        self.dead_letters += result.dead_letters
        self.webhooks += result.webhooks
        self.windows += result.windows
        self.faults += result.faults
        self.killed_at += result.killed_at
        self.answers += result.answers
        self.cpu_s += result.wall_s
        self.simulated_s += result.simulated_s
        self.worst_settled_s = max(self.worst_settled_s, (result.settled_within_s, result.seed))
        if not result.sound:
            self.broken[result.seed] = result


@app.callback()
def simulation() -> None:
    """Live through many seeds of bad luck in made-up time, and compare all books after each."""


@app.command("run")
def run_many(  # noqa: PLR0913 - one parameter per option
    *,
    runs: Annotated[int, typer.Option(min=1, help="how many seeds")] = 500,
    first: Annotated[int, typer.Option(min=0, help="the first seed")] = 0,
    payments: Payments = DEFAULT.payments,
    storm_s: StormSeconds = DEFAULT.storm_s,
    fault: Faults = None,
    webhooks: Webhooks = False,
    jobs: Annotated[int, typer.Option(min=1, help="processes at once")] = os.cpu_count() or 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the tally to this file")] = None,
) -> None:
    """Live through seed after seed. Ends with 1 when a promise was broken, and says with which seeds."""
    options = Options(payments, storm_s, _chosen(fault), webhooks=webhooks)
    tally, started_s = Tally(), time.perf_counter()
    with progress(console, "seeds, 0 broken", runs) as tell:
        for result in live_through(range(first, first + runs), options, jobs):
            tally.add(result)
            tell(tally.runs, f"seeds, {len(tally.broken)} broken")
    took_s = time.perf_counter() - started_s
    _report(tally, took_s, jobs)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(_plain(tally, took_s, jobs))))
    for seed in list(tally.broken)[:SHOWN]:
        _explain(tally.broken[seed], options)
    if tally.broken:
        raise typer.Exit(EXIT_BROKEN)


@app.command("replay")
def replay(  # noqa: PLR0913 - one parameter per option
    seed: Annotated[int, typer.Argument(help="the seed to live through again")],
    *,
    payment: Annotated[str | None, typer.Option(help="tell the story of this payment")] = None,
    payments: Payments = DEFAULT.payments,
    storm_s: StormSeconds = DEFAULT.storm_s,
    fault: Faults = None,
    webhooks: Webhooks = False,
) -> None:
    """Live through one seed again: the same, step by step."""
    options = Options(payments, storm_s, _chosen(fault), webhooks=webhooks)
    result = run_seed(seed, options)
    tally = Tally()
    tally.add(result)
    _report(tally, result.wall_s, 1)
    if payment is not None:
        console.print(*tell(seed, options, payment), sep="\n")
    if not result.sound:
        _explain(result, options)
        raise typer.Exit(EXIT_BROKEN)


@app.command("faults")
def list_faults() -> None:
    """List the faults there are."""
    for name in CATALOGUE:
        console.print(name + (" (not by default: it breaks promises)" if name == LOSES_THE_LAST_SECOND else ""))


def _chosen(parts: list[str] | None) -> tuple[str, ...]:
    if parts is None:
        return HARMLESS
    chosen = tuple(name for name in CATALOGUE if any(part in name for part in parts))
    if not chosen:
        raise typer.BadParameter(f"no fault is called {' or '.join(parts)}; `faults` lists them", param_hint="--fault")
    return chosen


def live_through(seeds: range, options: Options, jobs: int) -> Iterator[Result]:
    """Live through seeds, several at once, and give each result as it comes."""
    if jobs == 1:
        for seed in seeds:
            yield run_seed(seed, options)
        return
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, initializer=_ignore_interrupts) as pool:
        yield from pool.imap_unordered(_one_of, ((seed, options) for seed in seeds), chunksize=4)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _one_of(given: tuple[int, Options]) -> Result:
    return run_seed(*given)


def _report(tally: Tally, took_s: float, jobs: int) -> None:
    table = Table(title="simulation", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    settled_s, seed = tally.worst_settled_s
    violations = Counter(one.check for result in tally.broken.values() for one in result.violations)
    for name, value in (
        ("runs", f"{tally.runs}"),
        ("payments; charged; dead letters at the end", f"{tally.payments}; {tally.charged}; {tally.dead_letters}"),
        ("runs with a broken promise", f"{len(tally.broken)}"),
        *([("webhooks told", f"{tally.webhooks}")] if tally.webhooks else ()),
        *((f"    {check}", f"{times}") for check, times in violations.items()),
        *([("lost or doubled as Redis lost their last change", f"{tally.excused}")] if tally.excused else ()),
        ("faults injected", f"{sum(tally.faults.values())}"),
        ("closed windows compared meanwhile", f"{tally.windows}"),
        ("longest until everything had settled, s after the storm", f"{settled_s:.1f} (seed {seed})"),
        ("simulated hours", f"{tally.simulated_s / 3600:.1f}"),
        ("payments per second of one core", f"{tally.payments / max(tally.cpu_s, 1e-9):.0f}"),
        ("seconds of real time, processes", f"{took_s:.0f}, {jobs}"),
    ):
        table.add_row(name, value)
    console.print(table)
    faults = Table("fault", "times", title="faults", title_justify="left")
    for name, times in sorted(tally.faults.items()):
        faults.add_row(name, str(times))
    console.print(faults)
    if tally.killed_at:
        killed = ", ".join(f"{step} {times}" for step, times in sorted(tally.killed_at.items()))
        console.print(f"killed at a step: {killed}")


def _explain(result: Result, options: Options) -> None:
    """Say what broke, with how little it still does, and what happened to the payment."""
    console.print(f"[bold red]seed {result.seed}[/]")
    for violation in result.violations[:3]:
        console.print(f"  {violation.check}: {violation.correlation_id} {violation.found}", markup=False)
    smaller = fewer_faults(result.seed, options, options.faults)
    if smaller is not None and smaller.faults != options.faults:
        console.print("  it still breaks with only these faults to choose from:", *smaller.faults, sep="\n    ")
    concerned = [one.correlation_id for one in result.violations if one.correlation_id]
    again = f"python -m payrouter_lab.simulation replay {result.seed}"
    if options != DEFAULT:
        again += " --webhooks" if options.webhooks else ""
        again += f" --payments {options.payments} --storm {options.storm_s:g}"
    if options.faults != HARMLESS:
        again += "".join(f" --fault {name!r}" for name in options.faults)
    if concerned:
        stories = [tell(result.seed, options, one) for one in dict.fromkeys(concerned[:10])]
        console.print("  the shortest story:", *min(stories, key=len), sep="\n    ", markup=False)
        again += f" --payment {concerned[0]}"
    console.print(f"  again: {again}", markup=False)


def _plain(tally: Tally, took_s: float, jobs: int) -> dict[str, object]:
    return {
        "runs": tally.runs,
        "payments": tally.payments,
        "charged": tally.charged,
        "excused": tally.excused,
        "dead_letters": tally.dead_letters,
        "webhooks": tally.webhooks,
        "windows": tally.windows,
        "broken": {str(seed): [tuple(one) for one in found.violations] for seed, found in tally.broken.items()},
        "faults": dict(sorted(tally.faults.items())),
        "killed_at": dict(sorted(tally.killed_at.items())),
        "answers": {str(status): times for status, times in sorted(tally.answers.items())},
        "payments_per_core_second": tally.payments / max(tally.cpu_s, 1e-9),
        "simulated_s": tally.simulated_s,
        "took_s": took_s,
        "jobs": jobs,
    }


def main() -> None:
    """Run the command line."""
    # What a log says of faults that are meant is nothing to read.
    logging.disable(logging.CRITICAL)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
