"""What a cluster shows in a terminal: what runs where, and everybody's log lines in one stream."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from payrouter_lab.cluster.local import LocalCluster
    from payrouter_lab.cluster.servers import Server

_POLL_S = 0.1
_COLOURS = (36, 33, 32, 35, 34, 31)  # cyan, yellow, green, magenta, blue, red
_KEPT = "kept, but simulated processors forget what they charged"
_REMOVED = "removed at the end"
_EXAMPLE_ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"


def say(line: str, file: TextIO | None = None) -> None:
    """Write one line, to standard output unless told otherwise, for others to see at once."""
    file = file or sys.stdout
    file.write(f"{line}\n")
    file.flush()


def introduction(cluster: LocalCluster, took_s: float, *, keeps: bool) -> str:
    """Return what to know once the cluster serves; `keeps` says whether its directory stays."""
    return "\n".join(
        [
            f"The cluster serves on {cluster.url} (started in {took_s:.1f} s; Ctrl-C stops it)",
            "",
            *_places(cluster),
            "",
            f"data and logs: {cluster.directory} ({_KEPT if keeps else _REMOVED})",
            *(cluster.limits.notes if cluster.limits else ()),
            "",
            "Try:",
            f"  curl -i {cluster.url}/payments -H 'Content-Type: application/json' \\",
            f'    -d \'{{"correlationId": "{_EXAMPLE_ID}", "amount": 19.90}}\'',
            f"  curl {cluster.url}/payments-summary",
            "Other commands on this cluster:",
            *(f"  export {name}={shlex.quote(value)}" for name, value in cluster.environment.items()),
            "  payrouter audit",
            "",
        ]
    )


def _places(cluster: LocalCluster) -> list[str]:
    return [
        f"  {name:<18} {service.place:<58} {_ration(cluster, name)}".rstrip()
        for name, service in cluster.services.items()
    ]


def _ration(cluster: LocalCluster, service: str) -> str:
    limits = cluster.limits
    if limits is None or not limits.applied:
        return ""
    name = limits.name_of(service)
    return str(limits.rations[name]) if name else "no limits"


class Logs:
    """The processes' log files, followed from where they end now."""

    def __init__(self, services: Mapping[str, Server]) -> None:
        self._width = max(map(len, services))
        # In the order in which they are ended: lines found at the same moment then come in the order of events.
        names = list(services)[::-1]
        self._followed = [_Followed(self._label(number, name), services[name].log) for number, name in enumerate(names)]

    def _label(self, number: int, name: str) -> str:
        label = f"{name:<{self._width}} |"
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        return f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{label}\x1b[0m" if coloured else label

    @contextmanager
    def following(self) -> Iterator[None]:
        """Print new lines from a thread, until left; then what is left of them."""
        ended = threading.Event()
        thread = threading.Thread(target=self._follow, args=(ended,), name="logs")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _follow(self, ended: threading.Event) -> None:
        last = False
        while not last:
            last = ended.wait(_POLL_S)
            for one in self._followed:
                one.show()


class _Followed:
    def __init__(self, label: str, file: Path) -> None:
        self._label = label
        self._file = file
        self._at = file.stat().st_size

    def show(self) -> None:
        """Print the complete lines written since the last time."""
        with self._file.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        complete = new[: new.rfind(b"\n") + 1]
        self._at += len(complete)
        for line in complete.decode(errors="replace").splitlines():
            say(f"{self._label} {line}")
