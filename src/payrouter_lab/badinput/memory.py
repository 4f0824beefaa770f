"""How much memory processes hold at an instant, and whether it stays flat. Linux only: figures come from /proc."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from payrouter_lab.bench.processes import process_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from payrouter_lab.bench.bed import Bed

FLAT_MB = 2.0
"""What a process may grow by over the second half of a run, and still counts as flat."""
WARM_UP = 20_000
SHORT_MB = 6.0
"""The same for runs of fewer requests than `WARM_UP`: caches still fill."""


def resident_mb(root: int) -> float:
    """Return the resident memory (VmRSS) of a process and its descendants, in MB of 2**20 bytes."""
    return sum(map(_resident_mb, process_tree(root)))


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def watched(bed: Bed) -> dict[str, int]:
    """Return the processes that face bad input, by name, with their ids: ours and nginx, not the stores."""
    if bed.cluster is not None:
        services = bed.cluster.cluster.services
        return {
            name: one.child.process.pid
            for name, one in services.items()
            if name == "nginx" or name.startswith(("api", "dispatcher"))
        }
    assert bed.child is not None
    return {"payrouter": bed.child.process.pid}


def take(processes: Mapping[str, int]) -> dict[str, float]:
    """Return what each holds now, in MB."""
    return {name: resident_mb(pid) for name, pid in processes.items()}


def limit_mb(requests: int) -> float:
    """Return what a process may grow by over the second half of a run of so many requests."""
    return FLAT_MB if requests >= WARM_UP else SHORT_MB


def growth_mb(course: Sequence[float]) -> float:
    """Return what memory grew by over the second half of its course, from median to median of three samples.

    0 for fewer than six samples.
    """
    if len(course) < 6:
        return 0.0
    middle = len(course) // 2
    return statistics.median(course[-3:]) - statistics.median(course[middle - 1 : middle + 2])
