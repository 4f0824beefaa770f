"""A local cluster under the limits of the deployment, measured service by service."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dotenv import dotenv_values

from payrouter_lab.bench.k6 import ROOT
from payrouter_lab.bench.processes import ChildError, Usage
from payrouter_lab.bench.reference_cluster import ReferenceCluster
from payrouter_lab.cluster import deployed
from payrouter_lab.cluster.limits import Limits, Ration, rations
from payrouter_lab.cluster.local import DATABASE, LocalCluster

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from payrouter_lab.cluster.limits import Used

CONTEST = ROOT / "deploy" / "contest.env"
_ELSEWHERE = {"PAYROUTER_PROCESSORS"}
_MB = 2**20

METERED = {name: Ration() for name in ("nginx", "api", "dispatcher", "redis", "postgres")}
"""Groups without limits, one for all instances of a service: what each uses is counted all the same."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a cluster is, and whether it lives within the limits of `deploy/docker-compose.yml`."""

    apis: int = 2
    dispatchers: int = 1
    limited: bool = True
    appendfsync: str = "always"


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """What one service used during a run. `working_set_mb` is the most at any sample, since its start.

    `throttled_percent`: of its 100 ms periods with work, how many ended with the quota used up.
    """

    cpu_s: float
    throttled_percent: float
    throttled_s: float
    working_set_mb: float
    limit_mb: float | None
    oom_kills: int

    @property
    def memory_percent(self) -> float | None:
        """The working set as a share of the limit."""
        return 100 * self.working_set_mb / self.limit_mb if self.limit_mb else None


def contest_settings() -> dict[str, str]:
    """Return the settings of the contest profile, but for what is elsewhere on this machine."""
    return {name: value or "" for name, value in dotenv_values(CONTEST).items() if name not in _ELSEWHERE}


class ClusterChild:
    """A running cluster, as a test bed sees what it measures. `notes` says why limits are not applied."""

    def __init__(self, cluster: LocalCluster | ReferenceCluster, limits: Limits) -> None:
        self._stack = ExitStack()
        self.cluster = cluster
        self.limits = limits
        try:
            self._stack.enter_context(self.cluster)
            self._stack.enter_context(self.limits.sampling())
        except BaseException:
            self._stack.close()
            raise

    @classmethod
    def router(cls, directory: Path, shape: Shape, port: int, settings: Mapping[str, str]) -> Self:
        """Start our router as a cluster, with the contest profile; `settings` go before."""
        limits = _limits(directory, shape)
        cluster = LocalCluster(
            directory / "cluster",
            apis=shape.apis,
            dispatchers=shape.dispatchers,
            port=port,
            limits=limits,
            settings=contest_settings() | dict(settings),
            processors=False,
            appendfsync=shape.appendfsync,
        )
        return cls(cluster, limits)

    @classmethod
    def reference(cls, directory: Path, shape: Shape, port: int, processor: str) -> Self:
        """Start do-nothing APIs behind the same nginx, within the same limits."""
        limits = _limits(directory, shape)
        return cls(ReferenceCluster(directory / "cluster", processor, shape.apis, port, limits), limits)

    @property
    def notes(self) -> list[str]:
        """Why limits are not applied; empty when they are."""
        return self.limits.notes

    @property
    def ledger_url(self) -> str:
        """Where our settled payments are; not of the reference, which keeps none."""
        assert isinstance(self.cluster, LocalCluster)
        return self.cluster.postgres.url_of(DATABASE)

    @property
    def alive(self) -> bool:
        """True while every process runs."""
        return all(one.alive for one in self.cluster.services.values())

    def check(self) -> None:
        """Raise `ChildError`, with the end of its log, if a process has ended."""
        self.cluster.check()

    def stop(self) -> None:
        """End everything."""
        self._stack.close()

    def kill(self, service: str) -> None:
        """End one service at once.

        Raises:
            ChildError: if there is none of that name.
        """
        if service not in self.cluster.services:
            raise ChildError(f"no service {service}: there are {', '.join(self.cluster.services)}")
        self.cluster.services[service].kill()

    def start(self, service: str) -> None:
        """Start a killed service again, on the same addresses and data."""
        self.cluster.services[service].start()

    def usage(self) -> Usage:
        """Return what all services have used so far: CPU from their groups, or else from their living processes."""
        used = self.limits.usage()
        if used:
            return Usage(sum(one.last.cpu_s for one in used.values()), sum(map(_working_set_mb, used.values())))
        each = [one.child.usage() for one in self.cluster.services.values()]
        return Usage(sum(one.cpu_s for one in each), sum(one.peak_mb for one in each))

    def used(self) -> dict[str, Used]:
        """Return what each limited service has used so far."""
        return self.limits.usage()

    def figures(self, before: Mapping[str, Used]) -> dict[str, ServiceFigures]:
        """Return what each limited service used since then."""
        return {
            name: _figures(before[name], after, self.limits.rations[name])
            for name, after in self.limits.usage().items()
            if name in before
        }


def _limits(directory: Path, shape: Shape) -> Limits:
    # PostgreSQL runs as a user of its own, who has to get there.
    directory.chmod(0o755)
    return Limits(rations(deployed.read_services()) if shape.limited else METERED)


def _working_set_mb(used: Used) -> float:
    return used.working_set_bytes / _MB


def _figures(before: Used, after: Used, ration: Ration) -> ServiceFigures:
    periods = after.last.periods - before.last.periods
    throttled = after.last.throttled - before.last.throttled
    return ServiceFigures(
        cpu_s=after.last.cpu_s - before.last.cpu_s,
        throttled_percent=100 * throttled / periods if periods else 0.0,
        throttled_s=after.last.throttled_s - before.last.throttled_s,
        working_set_mb=_working_set_mb(after),
        limit_mb=ration.memory_bytes / _MB if ration.memory_bytes else None,
        oom_kills=after.last.oom_kills - before.last.oom_kills,
    )
