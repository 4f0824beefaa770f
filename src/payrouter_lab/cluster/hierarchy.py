"""Linux control groups, version 1 and 2, as files: making, limiting, reading and removing one group per service.

Version 1 has a tree per controller, version 2 one tree for all. Facts: cgroup-v1/memory.rst, scheduler/sched-bwc.rst
and cgroup-v2.rst of the kernel's documentation.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from payrouter_lab.cluster.limits import Ration

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
PERIOD_US = 100_000  # what Docker uses
LEAST_SHARES, USUAL_SHARES, MOST_SHARES = 2, 1024, 262_144
"""Weights of version 1: what a group gets of a core that several of its siblings want."""
_REMOVE_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a group says of itself. Counts and CPU since it was made; memory of now, with and without idle file cache.

    `peak_bytes`: most memory ever, file cache included; None where the kernel does not keep it.
    """

    cpu_s: float
    periods: int
    throttled: int
    throttled_s: float
    oom_kills: int
    memory_bytes: int
    working_set_bytes: int
    peak_bytes: int | None


class Hierarchy(Protocol):
    """The groups of one run: a parent of our own, with one group per service."""

    def create(self, service: str, ration: Ration) -> None:
        """Make a service's group and limit it. Raises OSError where that is not possible."""
        ...

    def folders(self, service: str) -> list[Path]:
        """Return the folders a process is in when it is in the service's group."""
        ...

    def read(self, service: str) -> Reading:
        """Return what the group says now."""
        ...

    def parents(self) -> list[Path]:
        """Return the folders of the parent group."""
        ...


class VersionOne:
    """One tree per controller. Our parent is below the groups we are in ourselves, so their limits hold for it too."""

    def __init__(self, name: str, root: Path, own: str) -> None:
        self._parent = {
            controller: _own_folder(root / controller, controller, own) / name
            for controller in ("cpu", "cpuacct", "memory")
        }

    def parents(self) -> list[Path]:
        """Return the parent group in each tree."""
        # cpu and cpuacct are often two names of one tree.
        return list({folder.resolve(): folder for folder in self._parent.values()}.values())

    def folders(self, service: str) -> list[Path]:
        """Return the service's group in each tree."""
        return [folder / service for folder in self.parents()]

    def create(self, service: str, ration: Ration) -> None:
        """Make a service's group in each tree and limit it."""
        for folder in self.folders(service):
            folder.mkdir(parents=True, exist_ok=True)
        if ration.cpus is not None:
            cpu = self._parent["cpu"] / service
            _write(cpu / "cpu.cfs_period_us", PERIOD_US)
            _write(cpu / "cpu.cfs_quota_us", round(ration.cpus * PERIOD_US))
        if ration.shares != USUAL_SHARES:
            _write(self._parent["cpu"] / service / "cpu.shares", ration.shares)
        if ration.memory_bytes is not None:
            memory = self._parent["memory"] / service
            _write(memory / "memory.limit_in_bytes", ration.memory_bytes)
            # Memory and swap together; only where the kernel accounts for swap.
            swap = memory / "memory.memsw.limit_in_bytes"
            if swap.exists():
                _write(swap, ration.memory_bytes)

    def read(self, service: str) -> Reading:
        """Return what the group says now, in all trees."""
        memory = self._parent["memory"] / service
        cpu = _table(self._parent["cpu"] / service / "cpu.stat")
        used = _number(memory / "memory.usage_in_bytes")
        return Reading(
            cpu_s=_number(self._parent["cpuacct"] / service / "cpuacct.usage") / 1e9,
            periods=cpu["nr_periods"],
            throttled=cpu["nr_throttled"],
            throttled_s=cpu["throttled_time"] / 1e9,
            oom_kills=_table(memory / "memory.oom_control").get("oom_kill", 0),
            memory_bytes=used,
            working_set_bytes=max(0, used - _table(memory / "memory.stat")["total_inactive_file"]),
            peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
        )


class VersionTwo:
    """One tree. Our parent is at its top: the group we are in has processes, and so may have no limited groups."""

    def __init__(self, name: str, root: Path) -> None:
        self._root = root
        self._parent = root / name

    def parents(self) -> list[Path]:
        """Return the parent group."""
        return [self._parent]

    def folders(self, service: str) -> list[Path]:
        """Return the service's group."""
        return [self._parent / service]

    def create(self, service: str, ration: Ration) -> None:
        """Make a service's group and limit it."""
        self._parent.mkdir(exist_ok=True)
        for folder in (self._root, self._parent):
            control = folder / "cgroup.subtree_control"
            if not {"cpu", "memory"} <= set(control.read_text().split() if control.exists() else ()):
                _write(control, "+cpu +memory")
        group = self._parent / service
        group.mkdir(exist_ok=True)
        if ration.cpus is not None:
            _write(group / "cpu.max", f"{round(ration.cpus * PERIOD_US)} {PERIOD_US}")
        if ration.shares != USUAL_SHARES:
            _write(group / "cpu.weight", _weight(ration.shares))
        if ration.memory_bytes is not None:
            _write(group / "memory.max", ration.memory_bytes)
            swap = group / "memory.swap.max"
            if swap.exists():
                _write(swap, 0)

    def read(self, service: str) -> Reading:
        """Return what the group says now."""
        group = self._parent / service
        cpu = _table(group / "cpu.stat")
        used = _number(group / "memory.current")
        peak = group / "memory.peak"  # since Linux 5.19
        return Reading(
            cpu_s=cpu["usage_usec"] / 1e6,
            periods=cpu.get("nr_periods", 0),
            throttled=cpu.get("nr_throttled", 0),
            throttled_s=cpu.get("throttled_usec", 0) / 1e6,
            oom_kills=_table(group / "memory.events").get("oom_kill", 0),
            memory_bytes=used,
            working_set_bytes=max(0, used - _table(group / "memory.stat")["inactive_file"]),
            peak_bytes=_number(peak) if peak.exists() else None,
        )


def hierarchy(name: str, *, root: Path = ROOT, own: Path = OWN) -> Hierarchy:
    """Return the machine's control groups, whichever version they are; `name` is that of our parent group.

    Raises:
        OSError: if there are none.
    """
    if (root / "cgroup.controllers").exists():
        return VersionTwo(name, root)
    if (root / "cpu").is_dir() and (root / "memory").is_dir():
        return VersionOne(name, root, own.read_text())
    raise FileNotFoundError(f"no control groups with cpu and memory below {root}")


def remove(tree: Hierarchy) -> list[str]:
    """Kill what is left in our groups and remove them; return what could not be removed, and why."""
    deadline_s = time.monotonic() + _REMOVE_WITHIN_S
    while True:
        left = [f"{parent}: {error}" for parent in tree.parents() if (error := _try_remove(parent)) is not None]
        if not left or time.monotonic() > deadline_s:
            return left
        # A killed process is in its group until it is gone.
        time.sleep(0.02)


def remove_abandoned(tree: Hierarchy, name: str) -> None:
    """Remove groups beside ours, called `name-PID-NUMBER`, whose process was killed before it could remove them."""
    for parent in tree.parents():
        for group in parent.parent.glob(f"{name}-*-*"):
            pid = group.name.split("-")[-2]
            if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
                _try_remove(group)


def _try_remove(parent: Path) -> OSError | None:
    if not parent.exists():
        return None
    try:
        for group in [*(one for one in parent.iterdir() if one.is_dir()), parent]:
            for pid in map(int, (group / "cgroup.procs").read_text().split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            group.rmdir()
    except OSError as error:
        return error
    return None


def _own_folder(tree: Path, controller: str, own: str) -> Path:
    """Return the group we are in; the tree's top if what /proc says is not visible here, as in a container."""
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            folder = tree / path.lstrip("/")
            return folder if folder.is_dir() else tree
    return tree


def _write(file: Path, value: int | str) -> None:
    file.write_text(str(value))


def _weight(shares: int) -> int:
    """Return version 2's weight, 1 to 10 000, for shares of version 1: the line through both ends, as runc draws it."""
    return 1 + (shares - LEAST_SHARES) * 9999 // (MOST_SHARES - LEAST_SHARES)


def _number(file: Path) -> int:
    return int(file.read_text())


def _table(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"^(\S+) (\d+)$", file.read_text(), re.MULTILINE)}
