"""The test bed: two simulated processors and the contender between them, started fresh and ended together."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from payrouter_lab.bench.calls import Processor, Target
from payrouter_lab.bench.k6 import ROOT
from payrouter_lab.bench.processes import Child, ChildError, free_port, wait_for_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from payrouter_lab.bench.contender_cluster import ClusterChild, ServiceFigures, Shape
    from payrouter_lab.bench.processes import Usage
    from payrouter_lab.cluster.limits import Used

TOKEN = "123"
FEES = {"default": Decimal("0.05"), "fallback": Decimal("0.15")}
RESULTS = ROOT / "bench" / "results"
# Where a contender that somebody else started expects the processors (the contract, section 2).
CHALLENGE_PORTS = {"default": 8001, "fallback": 8002}
REFERENCE = "reference"
PAYROUTER = "payrouter"


@dataclass(frozen=True, slots=True)
class Contender:
    """What is measured: the reference, our router, or whatever listens at `url`; with a `shape`, as a cluster."""

    name: str
    url: str | None = None
    shape: Shape | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further settings (`PAYROUTER_...`) for the router."""


@dataclass(slots=True)
class Bed:
    """One started test bed. `child` is the contender's process, `cluster` its processes, when it is one or several."""

    contender: Contender
    directory: Path
    fees: Mapping[str, Decimal]
    ports: dict[str, int]
    processors: dict[str, Processor]
    target: Target
    child: Child | None = None
    cluster: ClusterChild | None = None
    token: str = TOKEN

    def start(self) -> None:
        """Start the contender; after `child.kill()`, once more on the same data."""
        port = urlsplit(self.target.url).port or 0
        urls = {name: processor.url for name, processor in self.processors.items()}
        if self.contender.shape is not None:
            self.cluster = self._cluster(self.contender.shape, port, urls)
            return
        if self.contender.name == REFERENCE:
            argv = [
                "-m",
                "payrouter_lab.bench.reference",
                "--port",
                str(port),
                "--processor",
                urls["default"],
            ]
            environment: dict[str, str] = {}
        else:
            argv = ["-m", "payrouter", "serve"]
            environment = self._settings(port, urls)
        self.child = Child(self.contender.name, [sys.executable, *argv], directory=self.directory, env=environment)

    def usage(self) -> Usage | None:
        """Return what the contender has used since it was started; None if somebody else started it."""
        running = self.child or self.cluster
        return running.usage() if running is not None else None

    def used(self) -> dict[str, Used]:
        """Return what each service of a limited cluster has used since it was started."""
        return self.cluster.used() if self.cluster is not None else {}

    def services(self, before: Mapping[str, Used]) -> dict[str, ServiceFigures]:
        """Return what each service of a limited cluster used since then."""
        return self.cluster.figures(before) if self.cluster is not None else {}

    def stop(self) -> None:
        """End the contender, if it is ours."""
        running = self.child or self.cluster
        if running is not None:
            running.stop()

    def check(self) -> None:
        """Raise `ChildError` if the contender is ours and has ended."""
        running = self.child or self.cluster
        if running is not None:
            running.check()

    def kill(self, service: str | None) -> None:
        """End the contender at once, or one service of a cluster.

        Raises:
            ChildError: if there is no such thing here.
        """
        if self.cluster is not None and service is not None:
            self.cluster.kill(service)
        elif self.child is not None and service is None:
            self.child.kill()
        else:
            raise ChildError("kill the router, or with --cluster one service of it (--kill-service)")

    def start_again(self, service: str | None) -> None:
        """Start what was killed, on the same data, and return once it serves."""
        if self.cluster is not None and service is not None:
            self.cluster.start(service)
        else:
            self.start()
            self.wait_until_up()

    def _cluster(self, shape: Shape, port: int, urls: Mapping[str, str]) -> ClusterChild:
        from payrouter_lab.bench.contender_cluster import ClusterChild  # noqa: PLC0415 - only a cluster needs it

        if self.contender.name == REFERENCE:
            return ClusterChild.reference(self.directory, shape, port, urls["default"])
        settings = {"PAYROUTER_PROCESSORS": self._processors(urls), "PAYROUTER_ALLOW_PURGE": "true"}
        return ClusterChild.router(self.directory, shape, port, settings | dict(self.contender.settings))

    def _processors(self, urls: Mapping[str, str]) -> str:
        processors = [
            {"name": name, "url": url, "fee": str(self.fees[name]), "admin_token": TOKEN} for name, url in urls.items()
        ]
        return msgspec.json.encode(processors).decode()

    def _settings(self, port: int, urls: Mapping[str, str]) -> dict[str, str]:
        return {
            "PAYROUTER_PROCESSORS": self._processors(urls),
            "PAYROUTER_DATA": str(self.database),
            "PAYROUTER_BIND": f"127.0.0.1:{port}",
            "PAYROUTER_ALLOW_PURGE": "true",
            "PAYROUTER_ADMIN_BIND": "127.0.0.1:0",
            **self.contender.settings,
        }

    @property
    def database(self) -> Path:
        """The router's data file."""
        return self.directory / "payrouter.db"

    def wait_until_up(self) -> None:
        """Return once the contender listens."""
        if self.child is not None:
            wait_for_port(self.child, urlsplit(self.target.url).port or 0)

    def configure(self, *, delay_ms: int = 0, failing: bool = False) -> None:
        """Set how both processors behave from now on."""
        for processor in self.processors.values():
            processor.configure(delay_ms=delay_ms, failing=failing)


@contextlib.contextmanager
def started_bed(
    contender: Contender,
    directory: Path,
    fees: Mapping[str, Decimal],
    *,
    prepare: Callable[[Bed], None] | None = None,
) -> Iterator[Bed]:
    """Start two empty, healthy processors and an empty contender; end them all on leaving.

    `prepare` may fill the contender's data file before it starts; then its books are not purged.

    Raises:
        ChildError: if one of them does not start.
    """
    if contender.url is None:
        ports = {name: free_port() for name in fees}
        url = f"http://127.0.0.1:{free_port()}"
    else:
        ports, url = CHALLENGE_PORTS, contender.url
    with contextlib.ExitStack() as stack:
        for name, port in ports.items():
            argv = [sys.executable, "-m", "payrouter_lab.simulator", "--port", str(port)]
            argv += ["--name", name, "--fee", str(fees[name]), "--token", TOKEN]
            wait_for_port(stack.enter_context(Child(f"processor-{name}", argv, directory=directory)), port)
        processors = {name: Processor(f"http://127.0.0.1:{port}", TOKEN) for name, port in ports.items()}
        bed = Bed(contender, directory, fees, ports, processors, Target(url))
        for peer in (*processors.values(), bed.target):
            stack.callback(peer.close)
        bed.configure()
        for processor in processors.values():
            processor.purge()
        if contender.url is None:
            if prepare is not None:
                prepare(bed)
            bed.start()
            stack.callback(bed.stop)
        bed.wait_until_up()
        if prepare is None:
            bed.target.purge()
        yield bed


@contextlib.contextmanager
def work_directory(label: str, *, keep: Path | None, parent: Path = RESULTS, measured: bool = True) -> Iterator[Path]:
    """Yield a fresh directory on a disk; removed on leaving unless it is to be kept, or something went wrong.

    Raises:
        ChildError: if time is `measured` and the directory is in memory, where making data durable costs nothing.
    """
    if keep is not None:
        directory = keep.absolute() / label
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    else:
        parent.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{label}-", dir=parent))
    if measured and file_system(directory) in {"tmpfs", "ramfs"}:
        raise ChildError(f"{directory} is in memory, where fsync costs nothing: choose another with --dir")
    try:
        yield directory
    except Exception as error:
        keep = directory
        error.add_note(f"logs are kept in {directory}")
        raise
    finally:
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)


def file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`, such as `ext4`."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [mount for mount in mounts if path.is_relative_to(mount[1].encode().decode("unicode_escape"))]
    return max(holding, key=lambda mount: len(mount[1]))[2] if holding else os.name
