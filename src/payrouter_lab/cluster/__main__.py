"""`python -m payrouter_lab.cluster`: the whole cluster in one terminal, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from payrouter_lab.bench.processes import ChildError
from payrouter_lab.cluster.binaries import MissingBinary
from payrouter_lab.cluster.deployed import COMPOSE, UnknownDeployment, read_services
from payrouter_lab.cluster.limits import Limits, rations
from payrouter_lab.cluster.local import FEES, LocalCluster
from payrouter_lab.cluster.terminal import Logs, introduction, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOOK_EVERY_S = 0.1
_MOST_RESTARTS = 3
_RECENT_S = 30.0
_PROCESSORS = "PAYROUTER_PROCESSORS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a cluster until told to stop, and return the exit code."""
    given = _parser().parse_args(arguments)
    # SIGINT too: started in the background of a script, a process ignores it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _directory(given.dir) as directory:
            return _run(_cluster(given, directory), keeps=given.dir is not None)
    except KeyboardInterrupt:
        return 130  # during the start, or impatiently a second time
    except (ChildError, MissingBinary, UnknownDeployment, OSError) as error:
        say(f"cluster: {error}", file=sys.stderr)
        return 1


def _cluster(given: argparse.Namespace, directory: Path) -> LocalCluster:
    return LocalCluster(
        directory,
        apis=given.apis,
        dispatchers=given.dispatchers,
        port=given.port,
        admin_port=given.admin_port,
        limits=Limits(rations(read_services())) if given.limits else None,
        processors=not os.environ.get(_PROCESSORS),
        processor_ports=dict(zip(FEES, given.processor_ports, strict=True)),
        appendfsync=given.appendfsync,
    )


def _run(cluster: LocalCluster, *, keeps: bool) -> int:
    begun_s = time.monotonic()
    say("starting")
    with cluster:
        logs = Logs(cluster.services)
        notes = len(cluster.limits.notes) if cluster.limits else 0
        say(introduction(cluster, time.monotonic() - begun_s, keeps=keeps))
        try:
            with logs.following():
                _keep_up(cluster)
        except KeyboardInterrupt:
            say("stopping")
        with logs.following():
            cluster.stop()
    for note in cluster.limits.notes[notes:] if cluster.limits else ():
        say(note)
    say("stopped")
    return 0


def _keep_up(cluster: LocalCluster) -> None:
    """Start again what ends, for ever, as the deployment does.

    Raises:
        ChildError: if a service ends again and again.
    """
    ends: dict[str, list[float]] = {}
    while True:
        for name, service in cluster.services.items():
            if service.alive:
                continue
            now_s = time.monotonic()
            recent = [one for one in ends.get(name, []) if now_s - one < _RECENT_S]
            if len(recent) >= _MOST_RESTARTS:
                service.child.check()
            ends[name] = [*recent, now_s]
            say(f"{name} ended with code {service.child.process.returncode}; starting it again")
            service.start()
        time.sleep(_LOOK_EVERY_S)


@contextmanager
def _directory(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen
        return
    directory = Path(tempfile.mkdtemp(prefix="payrouter-cluster-"))
    # PostgreSQL's user has to get in.
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m payrouter_lab.cluster",
        description="Run nginx, APIs, dispatchers, Redis, PostgreSQL and two simulated processors on this machine, "
        f"without containers. Where {_PROCESSORS} names real processors, those are used. Other PAYROUTER_ settings "
        "of the environment hold for APIs and dispatchers.",
    )
    parser.add_argument("--apis", type=_count, default=2, metavar="N", help="how many APIs (default 2)")
    parser.add_argument("--dispatchers", type=_count, default=1, metavar="N", help="how many dispatchers (default 1)")
    parser.add_argument("--port", type=_port, default=9999, help="port of nginx; 0 picks a free one (default 9999)")
    parser.add_argument(
        "--admin-port", type=_port, default=8080, help="port of the operator's pages; 0 picks a free one (default 8080)"
    )
    parser.add_argument(
        "--processor-ports",
        type=_port,
        nargs=len(FEES),
        default=(8001, 8002),
        metavar="PORT",
        help="ports of the simulated processors; 0 picks a free one (default 8001 8002)",
    )
    parser.add_argument("--dir", type=Path, help="where data and logs are kept (default: a new directory, removed)")
    parser.add_argument(
        "--appendfsync",
        choices=("always", "everysec"),
        default="always",
        help="when Redis has writes on disk: before it answers (default), or within a second",
    )
    parser.add_argument(
        "--limits",
        action=argparse.BooleanOptionalAction,
        default=False,
        help=f"ration CPU and memory as {COMPOSE.parent.name}/{COMPOSE.name} does; needs root (default: no limits)",
    )
    return parser


def _count(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number from 1 to 16, got {text!r}")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a port, or 0 for a free one, got {text!r}")


if __name__ == "__main__":
    sys.exit(main())
