"""The CPU and memory limits of `deploy/docker-compose.yml`, applied to processes of this machine without containers."""

from __future__ import annotations

import os
import re
import shlex
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from payrouter_lab.cluster.deployed import UnknownDeployment
from payrouter_lab.cluster.hierarchy import (
    LEAST_SHARES,
    MOST_SHARES,
    OWN,
    ROOT,
    USUAL_SHARES,
    Hierarchy,
    Reading,
    hierarchy,
    remove,
    remove_abandoned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

SAMPLE_EVERY_S = 0.5
GROUP = "payrouter"
_numbers = count(1)
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True, slots=True)
class Ration:
    """What a service may use at most: CPUs (0.25 is a quarter of one) and bytes of memory; None is no limit.

    `shares`: its weight where services compete for a core; 1024 is the usual one.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    shares: int = USUAL_SHARES

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU" if self.cpus is not None else "any CPU"
        memory = f"{self.memory_bytes / 2**20:g} MB" if self.memory_bytes is not None else "any memory"
        weight = f", weight {self.shares}" if self.shares != USUAL_SHARES else ""
        return f"{cpus}, {memory}{weight}"


def rations(services: Mapping[str, Mapping[str, Any]]) -> dict[str, Ration]:
    """Return the limits of the services of a compose file, by name: `deploy.resources.limits` and `cpu_shares`.

    Raises:
        UnknownDeployment: if one of them cannot be read.
    """
    return {name: _ration(name, service) for name, service in services.items()}


def _ration(name: str, service: Mapping[str, Any]) -> Ration:
    limits: Any = service
    try:
        for key in ("deploy", "resources", "limits"):
            limits = limits.get(key) or {}
        cpus, memory = limits.get("cpus"), limits.get("memory")
        cpus, memory = None if cpus is None else _cpus(cpus), None if memory is None else _bytes(memory)
    except (ValueError, AttributeError) as error:
        raise UnknownDeployment(f"services.{name}.deploy.resources.limits: {error}") from None
    shares = service.get("cpu_shares", USUAL_SHARES)
    if type(shares) is not int or not LEAST_SHARES <= shares <= MOST_SHARES:
        raise UnknownDeployment(
            f"services.{name}.cpu_shares must be a whole number from {LEAST_SHARES} to {MOST_SHARES}, got {shares!r}"
        )
    return Ration(cpus, memory, shares)


def _cpus(value: Any) -> float:
    try:
        cpus = float(value)
    except (TypeError, ValueError):
        cpus = 0.0
    # The kernel takes no quota below 1 ms of the 100 ms period.
    if not 0.01 <= cpus < 1e6:
        raise ValueError(f"cpus must be a number of at least 0.01, got {value!r}")
    return cpus


def _bytes(value: Any) -> int:
    """Return bytes; as in Docker, MB means 2**20."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?\s*", str(value).lower())
    if found is None:
        raise ValueError(f"memory must look like 48MB, got {value!r}")
    return round(float(found[1]) * _UNITS[found[2]])


@dataclass(frozen=True, slots=True)
class Used:
    """What a service has used. `working_set_bytes`: the most of all samples, counted as `docker stats` does."""

    last: Reading
    peak_bytes: int
    working_set_bytes: int


class Limits:
    """One control group per service. As a context manager: made on entering, always removed on leaving.

    `notes`: why nothing is limited, or what could not be removed; one line each, empty when all is well.
    """

    def __init__(self, rations: Mapping[str, Ration], *, root: Path = ROOT, own: Path = OWN) -> None:
        self.rations = dict(rations)
        self.group = f"{GROUP}-{os.getpid()}-{next(_numbers)}"
        self.notes: list[str] = []
        self._root = root
        self._own = own
        self._tree: Hierarchy | None = None
        self._used: dict[str, Used] = {}
        self._reading = threading.Lock()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def applied(self) -> bool:
        """True while the groups are there."""
        return self._tree is not None

    def open(self) -> None:
        """Make the groups; where that is not possible, `notes` says why and nothing is limited."""
        tree: Hierarchy | None = None
        try:
            tree = hierarchy(self.group, root=self._root, own=self._own)
            remove_abandoned(tree, GROUP)
            for service, ration in self.rations.items():
                tree.create(service, ration)
        except OSError as error:
            self.notes.append(f"limits are not applied, CPU and memory are free for all: {error} (root is needed)")
            if tree is not None:
                remove(tree)
            return
        self._tree = tree

    def close(self) -> None:
        """End what still runs in the groups and remove them; what they said last can be read on."""
        with self._reading:
            if self._tree is None:
                return
            tree, self._tree = self._tree, None
        try:
            self._sample(tree)
        finally:
            self.notes += [f"a control group is left over: {one}" for one in remove(tree)]

    def name_of(self, service: str) -> str | None:
        """Return the name whose limits a service has: its own, or without the number at its end; None for no limits."""
        names = (service, service.rstrip("0123456789").rstrip("-_"))
        return next((name for name in names if name in self.rations), None)

    def prefix(self, service: str) -> tuple[str, ...]:
        """Return words before a command that put it, and all it starts, into the service's group; none if unlimited."""
        name = self.name_of(service)
        if self._tree is None or name is None:
            return ()
        files = [shlex.quote(str(folder / "cgroup.procs")) for folder in self._tree.folders(name)]
        return ("/bin/sh", "-c", " && ".join([*(f"echo $$ > {file}" for file in files), 'exec "$@"']), "sh")

    def sample(self) -> None:
        """Read all groups once; the working set is known only from such moments."""
        with self._reading:
            if self._tree is not None:
                self._sample(self._tree)

    @contextmanager
    def sampling(self, every_s: float = SAMPLE_EVERY_S) -> Iterator[None]:
        """Sample from a thread, until left."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(every_s):
                self.sample()

        thread = threading.Thread(target=run, name="limits")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def usage(self) -> dict[str, Used]:
        """Return what each service has used by now, or had by the end; empty if nothing was limited."""
        self.sample()
        return dict(self._used)

    def _sample(self, tree: Hierarchy) -> None:
        for name in self.rations:
            now = tree.read(name)
            before = self._used.get(name, Used(now, 0, 0))
            peak = max(before.peak_bytes, now.memory_bytes) if now.peak_bytes is None else now.peak_bytes
            self._used[name] = Used(now, peak, max(before.working_set_bytes, now.working_set_bytes))
