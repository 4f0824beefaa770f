"""The faults: how each strikes a cluster and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from payrouter_lab.faults.bed import BACKGROUND, Bed, ClusterBed
from payrouter_lab.faults.proxy import ProxyFaults

if TYPE_CHECKING:
    from collections.abc import Callable

BedT_contra = TypeVar("BedT_contra", bound=Bed, contravariant=True)

RESTART_AFTER_S = 0.1
"""A killed process is started again that soon, as a supervisor would."""

OURS = ("api1", "api2", "dispatcher1", "dispatcher2")
SERVERS = ("nginx", "redis", "postgres")
PROCESSORS = ("processor-default", "processor-fallback")
"""They are paused, but never killed: a simulated processor keeps its books in memory."""


@dataclass(frozen=True)
class Fault(Generic[BedT_contra]):
    """`strike`, wait, `end`. It lasts `least_s` when each has its turn, up to `most_s` when it comes at random.

    `kill`: it is the death of one process: recovery is measured from that moment on, and has bounds. Of any other
    fault recovery is measured from its end on.
    `refuses`: False where not one request may stay without a `202`.
    """

    name: str
    strike: Callable[[BedT_contra], None]
    end: Callable[[BedT_contra], None]
    least_s: float = 0.0
    most_s: float = 0.0
    kill: bool = False
    refuses: bool = True


def _nothing(_bed: Bed) -> None:
    return


def _kill(name: str, bed: Bed) -> None:
    bed.services[name].kill()


def _begin(name: str, bed: Bed) -> None:
    bed.services[name].begin()


def killed(name: str, called: str = "", *, refuses: bool = True) -> Fault[Bed]:
    """Return the fault that kills a process and starts it again."""
    return Fault(
        f"kill -9 {called or name}",
        partial(_kill, name),
        partial(_begin, name),
        RESTART_AFTER_S,
        RESTART_AFTER_S,
        kill=True,
        refuses=refuses,
    )


def _paused(name: str, least_s: float = 0.4) -> Fault[Bed]:
    return Fault(
        f"pause {name}", lambda bed: bed.services[name].pause(), lambda bed: bed.services[name].resume(), least_s, 4.0
    )


def _restarted(name: str) -> Fault[Bed]:
    def stop(bed: Bed) -> None:
        bed.services[name].stop()

    return Fault(f"restart {name}", stop, partial(_begin, name))


def _proxied(what: str, faults: ProxyFaults) -> Fault[ClusterBed]:
    return Fault(
        f"proxies: {what}", lambda bed: bed.misbehave(faults), lambda bed: bed.misbehave(BACKGROUND), 0.25, 3.0
    )


def cluster_faults() -> list[Fault[ClusterBed]]:
    """Return every fault of a cluster, each once."""
    return [
        # While one API is dead nginx goes to the other.
        *(killed(name, refuses=not name.startswith("api")) for name in (*OURS, *SERVERS)),
        # One of them for longer than its heartbeat counts, so that it is taken over and wakes up fenced.
        *(_paused(name, 2.4 if name == "dispatcher1" else 0.4) for name in (*OURS, *SERVERS, *PROCESSORS)),
        _restarted("redis"),
        _restarted("postgres"),
        Fault("reload nginx", lambda bed: bed.reload_nginx(), _nothing, 0.2, 1.0),
        Fault("cut connections to redis", lambda bed: bed.cut_redis(), _nothing),
        Fault("cut connections to postgres", lambda bed: bed.cut_postgres(), _nothing),
        Fault("cut connections to processors", lambda bed: bed.cut_processors(), _nothing),
        _proxied("answers lost", ProxyFaults(answer_lost=0.5)),
        _proxied("reset before", ProxyFaults(reset_before=0.5)),
        _proxied("reset mid-answer", ProxyFaults(reset_mid_answer=0.5)),
        _proxied("garbage", ProxyFaults(garbage=0.5)),
        _proxied("delays", ProxyFaults(delayed=0.7, delay_ms=400)),
    ]


TWO = "two at once"


def both(one: Fault[ClusterBed], other: Fault[ClusterBed]) -> Fault[ClusterBed]:
    """Return two faults at once; they share a row of the table."""

    def strike(bed: ClusterBed) -> None:
        one.strike(bed)
        other.strike(bed)

    def end(bed: ClusterBed) -> None:
        one.end(bed)
        other.end(bed)

    return Fault(TWO, strike, end, max(one.least_s, other.least_s), max(one.most_s, other.most_s))


def may_pair(one: Fault[ClusterBed], other: Fault[ClusterBed]) -> bool:
    """Return whether two faults can strike together: on different things, and both by signals."""
    verbs = ("kill -9 ", "pause ")
    return all(fault.name.startswith(verbs) for fault in (one, other)) and (
        one.name.rpartition(" ")[2] != other.name.rpartition(" ")[2]
    )
