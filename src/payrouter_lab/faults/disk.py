"""The router on one SQLite file under load: killed, and its disk filled up until it refuses, then freed again.

The disk is a small one in memory, which needs root to be mounted; without root the process gets a limit on the size of
its files, which to SQLite is much the same.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import time
from typing import TYPE_CHECKING

from payrouter_lab.bench.processes import Manner, free_port, listening
from payrouter_lab.cluster.local import FEES
from payrouter_lab.cluster.programs import Program, SimulatedProcessor
from payrouter_lab.faults.bed import SETTINGS, Bed
from payrouter_lab.faults.catalogue import Fault, killed
from payrouter_lab.faults.ledgers import FileLedger
from payrouter_lab.faults.watch import StuckError, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from payrouter_lab.cluster.server import Server

ROOM_MB = 24
LIMIT_BYTES = 16 * 1024
"""Far below what the router has set aside in its files ahead of time; its own log stays below it."""

FULL_WITHIN_S = 20.0
_REFUSED = 20
_POLL_S = 0.02


class Router(Program):
    """A `payrouter serve` on a port of loopback."""

    def __init__(self, directory: Path, port: int, settings: Mapping[str, str]) -> None:
        bound = {**settings, "PAYROUTER_BIND": f"127.0.0.1:{port}", "PAYROUTER_ADMIN_BIND": "127.0.0.1:0"}
        super().__init__("serve", directory, ["payrouter", "serve"], bound, Manner())
        self.port = port

    def _answers(self) -> bool:
        return listening(self.port)


class SmallDisk:
    """Where the data file lives, and how to leave it no room."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._ballast = directory / "ballast"
        self.mounted = os.geteuid() == 0 and self._mount()
        self._hard = 0

    def _mount(self) -> bool:
        argv = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB}m", "tmpfs", str(self.directory)]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def fill(self, pid: int) -> None:
        """Leave no room for the process `pid`."""
        if not self.mounted:
            _, self._hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, self._hard))
            return
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):
                _write_until_full(ballast.fileno(), bytes(size))

    def free(self, pid: int) -> None:
        """Give the room back."""
        if self.mounted:
            self._ballast.unlink()
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (self._hard, self._hard))

    def close(self) -> None:
        """Unmount the disk."""
        if self.mounted:
            subprocess.run(["umount", str(self.directory)], check=True)


def _write_until_full(file: int, block: bytes) -> None:
    try:
        while os.write(file, block) == len(block):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


class DiskBed(Bed):
    """The router on a small disk, two processors without proxies, and `rate` payments a second."""

    def __init__(self, directory: Path, *, rate: float) -> None:
        super().__init__()
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.rate = rate
        self._services: dict[str, Server] = {}

    @property
    def services(self) -> Mapping[str, Server]:
        """processor-default, processor-fallback and serve."""
        return self._services

    def _start(self) -> None:
        self.disk = SmallDisk(self.directory / "disk")
        self._stack.callback(self.disk.close)
        urls = {}
        for name, fee in FEES.items():
            server = SimulatedProcessor(name, self.directory, free_port(), fee, Manner())
            self._services[server.name] = self._stack.enter_context(server)
            urls[name] = f"http://127.0.0.1:{server.port}"
        configured = [{"name": name, "url": url, "fee": FEES[name]} for name, url in urls.items()]
        data = self.disk.directory / "payrouter.db"
        settings = {**SETTINGS, "PAYROUTER_PROCESSORS": json.dumps(configured), "PAYROUTER_DATA": str(data)}
        router = Router(self.directory, free_port(), settings)
        self._services["serve"] = self._stack.enter_context(router)
        self.target = self._target(f"http://127.0.0.1:{router.port}")
        load = self._begin_load(self.directory, router.port, self.rate)
        self.watch = Watch(load.job, load.journal, FileLedger(data), self._processors(urls))

    def calm(self) -> None:
        """Let the processors answer at once."""
        for processor in self.watch.processors.values():
            processor.configure(delay_ms=0, failing=False)

    def fill(self) -> None:
        """Fill the disk, and return once payments are refused.

        Raises:
            StuckError: if they are still accepted after a while.
        """
        begun_s = time.monotonic()
        journal = self.watch.journal
        self.disk.fill(self._services["serve"].child.process.pid)
        while len(journal.refused_since(begun_s)) < _REFUSED:
            if time.monotonic() > begun_s + FULL_WITHIN_S:
                raise StuckError(f"the disk has been full for {FULL_WITHIN_S:g} s, and payments are still accepted")
            time.sleep(_POLL_S)
            journal.read()

    def free(self) -> None:
        """Make room again."""
        self.disk.free(self._services["serve"].child.process.pid)


def disk_faults() -> list[Fault[DiskBed]]:
    """Return every fault of the router on one file, each once."""
    return [
        killed("serve", "serve (one SQLite file)"),
        Fault("disk full (one SQLite file)", DiskBed.fill, DiskBed.free, 0.3, 1.0),
    ]
