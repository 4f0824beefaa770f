"""`python -m payrouter_lab.bench`: the benchmarks' command line.

Exit codes: 0 all is well, 1 the last contender lost, doubled or misreported something (or broke a limit), 2
the benchmark itself did not run.
"""

from __future__ import annotations

import signal
import sys
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from payrouter_lab.bench import backlog as backlogs
from payrouter_lab.bench import challenge, flood, overload, scaling, schedule, summaries
from payrouter_lab.bench.bed import PAYROUTER, RESULTS, Contender, work_directory
from payrouter_lab.bench.calls import CallError
from payrouter_lab.bench.contender_cluster import Shape
from payrouter_lab.bench.k6 import LoadError
from payrouter_lab.bench.policy_table import run_policy
from payrouter_lab.bench.processes import ChildError
from payrouter_lab.bench.session import console, contenders, measure, report
from payrouter_lab.bench.tables import comparison, write_json

if TYPE_CHECKING:
    from types import FrameType


FILL = "payrouter_lab.bench.fill:fill_ledger"

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Runs = Annotated[int, typer.Option(min=1, help="runs per contender; the table shows medians")]
NoReference = Annotated[bool, typer.Option("--no-reference", help="measure the router only")]
NoRouter = Annotated[bool, typer.Option("--no-router", help="measure the reference only")]
TargetUrl = Annotated[
    str | None, typer.Option(help="measure what listens there instead, with processors on 8001 and 8002")
]
Keep = Annotated[Path | None, typer.Option(help="keep logs and data of every run in this directory")]
Directory = Annotated[Path, typer.Option("--dir", help="where runs keep their files meanwhile; on a disk")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="write every run's figures to this file")]
Cluster = Annotated[bool, typer.Option("--cluster", help="measure clusters: nginx, APIs, dispatchers, two stores")]
Apis = Annotated[int, typer.Option(min=1, help="with --cluster: how many APIs")]
Dispatchers = Annotated[int, typer.Option(min=1, help="with --cluster: how many dispatchers")]
NoLimits = Annotated[bool, typer.Option("--no-limits", help="with --cluster: not within the deployment's limits")]
Fsync = Annotated[str, typer.Option("--appendfsync", help="with --cluster: when Redis syncs, always or everysec")]
Plots = Annotated[Path | None, typer.Option(help="write plots of the router's last run over time here, as SVG")]
Rate = Annotated[float, typer.Option(min=1, help="payments per second")]
Seconds = Annotated[float, typer.Option(min=1, help="length of each measurement")]
Connections = Annotated[int, typer.Option(min=1, max=1024, help="connections of the generator")]


@app.callback()
def bench() -> None:
    """Benchmarks, beside a do-nothing reference. All traffic stays on this machine."""


@app.command("schedule")
def run_schedule(  # noqa: PLR0913 - one parameter per option
    file: Annotated[Path, typer.Argument(help="a schedule, such as bench/schedules/published.toml")],
    *,
    runs: Runs = 1,
    seed: Annotated[int | None, typer.Option(help="draw the stages from this, where the file draws")] = None,
    no_reference: NoReference = False,
    no_router: NoRouter = False,
    target: TargetUrl = None,
    keep: Keep = None,
    directory: Directory = RESULTS,
    json_file: JsonFile = None,
    trace: Annotated[bool, typer.Option(help="with --keep: p99 each five seconds (costs CPU)")] = False,
    kill_at: Annotated[
        float | None, typer.Option(min=0, help="second at which the router is killed, to be started a second later")
    ] = None,
    kill_service: Annotated[
        str | None, typer.Option(help="with --cluster: which one of its processes is killed, such as redis or api1")
    ] = None,
    cluster: Cluster = False,
    apis: Apis = 2,
    dispatchers: Dispatchers = 1,
    no_limits: NoLimits = False,
    appendfsync: Fsync = "always",
    plots: Plots = None,
) -> None:
    """Run a schedule as the challenge does, score it, and compare the books id by id."""
    plan = schedule.load(file, seed=seed)
    results = measure(
        plan.name,
        contenders(
            no_reference=no_reference,
            no_router=no_router,
            target=target,
            shape=Shape(apis, dispatchers, limited=not no_limits, appendfsync=appendfsync) if cluster else None,
        ),
        runs,
        (directory, keep),
        lambda contender, work: challenge.run_challenge(
            plan,
            contender,
            work,
            console.print,
            trace=trace,
            kill_at_s=kill_at,
            kill_service=kill_service,
            plots=plots,
        ),
    )
    report(plan.name, f"schedule {plan.name}, medians of {runs}", challenge.ROWS, results, json_file)


@app.command("flood")
def run_flood(  # noqa: PLR0913 - one parameter per option
    *,
    payments: Annotated[int, typer.Option(min=1, help="how many, as fast as they are accepted")] = 30_000,
    connections: Connections = 64,
    runs: Runs = 1,
    no_reference: NoReference = False,
    no_router: NoRouter = False,
    target: TargetUrl = None,
    keep: Keep = None,
    directory: Directory = RESULTS,
    json_file: JsonFile = None,
    cluster: Cluster = False,
    apis: Apis = 2,
    dispatchers: Dispatchers = 1,
    no_limits: NoLimits = False,
    appendfsync: Fsync = "always",
    plots: Plots = None,
) -> None:
    """Send payments as fast as they are accepted, and measure until all are settled."""
    results = measure(
        "flood",
        contenders(
            no_reference=no_reference,
            no_router=no_router,
            target=target,
            shape=Shape(apis, dispatchers, limited=not no_limits, appendfsync=appendfsync) if cluster else None,
        ),
        runs,
        (directory, keep),
        lambda contender, work: flood.run_load(contender, work, payments, connections=connections, plots=plots),
    )
    title = f"flood of {payments} over {connections} connections, medians of {runs}"
    report("flood", title, flood.FLOOD_ROWS, results, json_file)


@app.command("steady")
def run_steady(  # noqa: PLR0913 - one parameter per option
    *,
    rate: Rate = 550,
    seconds: Seconds = 20,
    connections: Connections = 64,
    runs: Runs = 1,
    no_reference: NoReference = False,
    no_router: NoRouter = False,
    target: TargetUrl = None,
    keep: Keep = None,
    directory: Directory = RESULTS,
    json_file: JsonFile = None,
) -> None:
    """Send at a fixed rate, whatever the answers do, and measure how long accepting takes."""
    count = round(rate * seconds)
    results = measure(
        "steady",
        contenders(no_reference=no_reference, no_router=no_router, target=target),
        runs,
        (directory, keep),
        lambda contender, work: flood.run_load(contender, work, count, rate=rate, connections=connections),
    )
    report("steady", f"{rate:g}/s for {seconds:g} s, medians of {runs}", flood.STEADY_ROWS, results, json_file)


@app.command("backlog")
def run_backlog(  # noqa: PLR0913 - one parameter per option
    *,
    payments: Annotated[int, typer.Option(min=1, help="how many wait while both processors fail")] = 1_000_000,
    rate: Rate = 550,
    seconds: Seconds = 15,
    keep: Keep = None,
    directory: Directory = RESULTS,
    json_file: JsonFile = None,
) -> None:
    """Let payments pile up, measure accepting, kill the router, restart it, drain, compare the books."""
    results = measure(
        "backlog",
        [Contender(PAYROUTER)],
        1,
        (directory, keep),
        lambda _contender, work: backlogs.run_backlog(work, payments, rate, seconds, console),
    )
    report("backlog", f"backlog of {payments}", backlogs.ROWS, results, json_file)


@app.command("overload")
def run_overload(  # noqa: PLR0913 - one parameter per option
    *,
    seconds: Annotated[float, typer.Option(min=1, help="length of the overload")] = 60,
    times: Annotated[float, typer.Option(min=1, help="the load, in multiples of what can be settled")] = 10,
    before: Annotated[float, typer.Option(min=3, help="seconds at half of what can be settled before it")] = 15,
    after: Annotated[float, typer.Option(min=3, help="seconds of the same after it")] = 20,
    queue_limit: Annotated[int, typer.Option(min=100, help="PAYROUTER_QUEUE_LIMIT of the router")] = 1500,
    p99_limit: Annotated[float, typer.Option(min=1, help="most ms of accept p99 in the overload")] = 500,
    normal_ratio: Annotated[float, typer.Option(min=1, help="p99 of a normal second, to the p99 before")] = 2,
    runs: Runs = 1,
    keep: Keep = None,
    directory: Directory = RESULTS,
    json_file: JsonFile = None,
    cluster: Cluster = False,
    apis: Apis = 2,
    dispatchers: Dispatchers = 1,
    no_limits: NoLimits = False,
    plots: Plots = None,
) -> None:
    """Send many times what can be settled, watch how it refuses and recovers, and compare the books."""
    plan = overload.Plan(
        seconds=seconds,
        times=times,
        before_s=before,
        after_s=after,
        queue_limit=queue_limit,
        p99_limit_ms=p99_limit,
        normal_ratio=normal_ratio,
    )
    shape = Shape(apis, dispatchers, limited=not no_limits) if cluster else None
    results = measure(
        "overload",
        [Contender(PAYROUTER, shape=shape, settings=plan.settings)],
        runs,
        (directory, keep),
        lambda contender, work: overload.run_overload(contender, work, plan, console.print, plots=plots),
    )
    report("overload", f"{times:g} times what can be settled for {seconds:g} s", overload.ROWS, results, json_file)


@app.command("summary")
def run_summary(  # noqa: PLR0913 - one parameter per option
    *,
    small: Annotated[int, typer.Option(min=1, help="settled payments in the small ledger")] = 50_000,
    large: Annotated[int, typer.Option(min=1, help="settled payments in the large one")] = 5_000_000,
    asks: Annotated[int, typer.Option(min=1, help="summaries asked for per kind of window")] = 1000,
    per_s: Annotated[float, typer.Option(min=0.001, help="payments per second of the ledger's time")] = (
        summaries.PAYMENTS_PER_S
    ),
    seed: Annotated[int, typer.Option(help="draws the windows")] = 1,
    engine: Annotated[summaries.Engine, typer.Option(help="the one-file router, or a whole cluster here")] = (
        summaries.Engine.SQLITE
    ),
    fill: Annotated[str, typer.Option(help="module:function that fills a data file")] = FILL,
    keep: Keep = None,
    directory: Directory = RESULTS,
    json_file: JsonFile = None,
) -> None:
    """Measure the summary's latency over a small ledger and a large one, by kind of window."""
    fill_ledger = summaries.find_fill(fill)
    results = {}
    for count in (small, large):
        console.print(f"[bold]summary[/] over {count} settled payments")
        with work_directory(f"summary-{count}", keep=keep, parent=directory) as work:
            if engine is summaries.Engine.POSTGRES:
                figures = summaries.measure_cluster_summaries(work, count, asks, seed, per_s=per_s)
            else:
                figures = summaries.measure_summaries(work, count, asks, fill_ledger, seed, per_s=per_s)
            results[f"{count}"] = [figures]
    console.print(comparison(f"summary latency on {engine}, {asks} asks per kind", summaries.rows(), results))
    if json_file is not None:
        write_json(json_file, "summary", results)


@app.command("scaling")
def run_scaling(  # noqa: PLR0913 - one parameter per option
    *,
    seconds: Seconds = 8,
    runs: Runs = 3,
    plots: Annotated[Path, typer.Option(help="where the plots are written")] = RESULTS,
    keep: Keep = None,
    directory: Directory = RESULTS,
    json_file: JsonFile = None,
) -> None:
    """Measure what a payment costs each service with 1 to 4 dispatchers and 2 to 6 APIs, load growing with them."""
    by_dispatchers, by_apis = scaling.measure_scaling(directory, keep, seconds, runs, console.print)
    plots.mkdir(parents=True, exist_ok=True)
    for name, axis, points, count in (
        ("dispatchers", "dispatchers (2 APIs)", by_dispatchers, attrgetter("dispatchers")),
        ("apis", "APIs (1 dispatcher)", by_apis, attrgetter("apis")),
    ):
        title = f"CPU per payment by {name}, load growing with them, medians of {runs}"
        console.print(scaling.scaling_table(title, points))
        scaling.plot(plots / f"scaling-{name}.svg", f"CPU per payment by {name}", axis, points, count)
    if json_file is not None:
        write_json(json_file, "scaling", {"dispatchers": by_dispatchers, "apis": by_apis})
    if not all(point.sound for point in (*by_dispatchers, *by_apis)):
        raise typer.Exit(1)


app.command("policy")(run_policy)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave by way of every `with`, so that what was started is ended."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except (schedule.ScheduleError, LoadError, ChildError, CallError) as error:
        text = "\n".join([str(error), *getattr(error, "__notes__", [])])
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="red", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
