"""Health calls, lease and news board in memory: for unit tests, simulations and several nodes in one process."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter.domain.health import CALL_PAUSE_S, call_turn
from payrouter.domain.lease import LEASE_S, RENEW_EVERY_S, KeeperWatch, Taken, Term, trusted_until
from payrouter.domain.news import HintNews, PauseNews, PurgeNews, ReportNews, VacancyNews

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.health import HealthReport
    from payrouter.domain.news import News
    from payrouter.ports.clock import Clock


def _never() -> float:
    return 0.0


class MemoryHealthCalls:
    """`HealthCalls` by one clock (UTC microseconds).

    `rest_s` gives for how long this caller has to rest in any case, None when it may not call at all; `doubt_s`, for
    how long it does not trust what is kept of when a call was made.
    """

    def __init__(
        self,
        now_us: Callable[[], int],
        *,
        pause_s: float = CALL_PAUSE_S,
        newest_us: dict[str, int] | None = None,
        rest_s: Callable[[], float | None] = _never,
        doubt_s: Callable[[], float] = _never,
    ) -> None:
        self._now_us = now_us
        self._pause_s = pause_s
        self._newest_us = {} if newest_us is None else newest_us
        self._rest_s = rest_s
        self._doubt_s = doubt_s
        self._called: set[str] = set()

    async def reserve(self, processor: str) -> float:
        """Ask for a turn: 0.0, or seconds until it is worth asking again."""
        rest_s = self._rest_s()
        if rest_s is None or rest_s > 0:
            return RENEW_EVERY_S if rest_s is None else rest_s
        if processor in self._newest_us and processor not in self._called and (doubt_s := self._doubt_s()) > 0:
            return doubt_s
        turn = call_turn(self._newest_us.get(processor), self._now_us(), pause_s=self._pause_s)
        self._newest_us[processor] = turn.newest_us
        if turn.wait_s == 0:
            self._called.add(processor)
        return turn.wait_s

    async def answered(self, processor: str) -> None:
        """Our call ended just now: the pause counts from here."""
        if self._rest_s() is not None:
            self._newest_us[processor] = self._now_us()


@dataclass(slots=True)
class MemoryCluster:
    """What the nodes of a cluster share. `now_us` is its clock, which may be wrong and may jump."""

    now_us: Callable[[], int]
    leader: str = ""
    token: int = 0
    until_us: int = 0
    health_calls: dict[str, int] = field(default_factory=dict)
    notes: dict[str, tuple[int, int, str, News]] = field(default_factory=dict)
    """By what they are about: number (rising), instant, node, and the news as told."""
    listeners: list[Callable[[News], None]] = field(default_factory=list)
    posted: int = 0


class MemoryLease:
    """`Lease` of one node of a `MemoryCluster`."""

    def __init__(self, cluster: MemoryCluster, node: str, clock: Clock, *, ttl_s: float = LEASE_S) -> None:
        self._cluster = cluster
        self._clock = clock
        self._ttl_s = ttl_s
        self.node = node
        self.token = 0
        self.watch = KeeperWatch()

    async def acquire(self) -> Term | Taken:
        """Win the lease if it is free, renew it if it is ours."""
        cluster, started_s = self._cluster, self._clock.monotonic_s()
        now_us, ttl_us = cluster.now_us(), round(self._ttl_s * 1_000_000)
        # No longer than one lease from now: the clock may have been set back since.
        cluster.until_us = min(cluster.until_us, now_us + ttl_us)
        taken = cluster.leader != self.node and cluster.until_us > now_us
        if cluster.leader != self.node and not taken:
            cluster.leader, cluster.token = self.node, cluster.token + 1
        leader = (cluster.token, cluster.leader)
        self.watch.looked(now_us, leader, asked_s=started_s, answered_s=self._clock.monotonic_s())
        if taken:
            return Taken(cluster.leader, (cluster.until_us - now_us) / 1_000_000)
        cluster.until_us = now_us + ttl_us
        self.token = cluster.token
        return Term(self.token, trusted_until(started_s, ttl_s=self._ttl_s))

    async def release(self) -> None:
        """Give it up, so that another node can have it at once."""
        if self.holds():
            self._cluster.until_us = 0
            for listener in self._cluster.listeners:
                listener(VacancyNews())

    def holds(self) -> bool:
        """Whether this node's token is the current lease's, now."""
        cluster = self._cluster
        return (cluster.leader, cluster.token) == (self.node, self.token) and cluster.until_us > cluster.now_us()

    def health_calls(self, *, pause_s: float = CALL_PAUSE_S) -> MemoryHealthCalls:
        """Return the cluster's health calls, fenced by this lease."""
        cluster = self._cluster
        return MemoryHealthCalls(
            cluster.now_us,
            pause_s=pause_s,
            newest_us=cluster.health_calls,
            rest_s=self._may_call_in_s,
            doubt_s=lambda: self.watch.doubt_s(self._clock.monotonic_s()),
        )

    def _may_call_in_s(self) -> float | None:
        return self.watch.rest_s(self._clock.monotonic_s()) if self.holds() else None


class MemoryNewsBoard:
    """`NewsBoard` of one node of a `MemoryCluster`."""

    def __init__(self, cluster: MemoryCluster, lease: MemoryLease, clock: Clock) -> None:
        self._cluster = cluster
        self._lease = lease
        self._clock = clock
        self._seen: int | None = None
        self._vacant: deque[News] = deque(maxlen=1)

    async def post_report(self, processor: str, report: HealthReport) -> bool:
        """Tell a health report; False when we do not lead any more."""
        if not self._lease.holds():
            return False
        self._post(f"report:{processor}", ReportNews(processor, report, 0.0))
        return True

    async def post_hint(self, processor: str, *, up: bool) -> None:
        """Tell that our payments found a processor down, or back."""
        self._post(f"{'up' if up else 'down'}:{processor}", HintNews(processor, up, 0.0))

    async def post_purge(self) -> None:
        """Tell that everything was purged just now."""
        self._post("purge", PurgeNews(0.0))

    async def post_pause(self, processor: str, *, paused: bool) -> None:
        """Tell that an operator paused a processor, or let it go on."""
        self._post(f"pause:{processor}", PauseNews(processor, paused))

    def _post(self, about: str, one: News) -> None:
        cluster = self._cluster
        cluster.posted += 1
        cluster.notes[about] = (cluster.posted, cluster.now_us(), self._lease.node, one)
        for listener in cluster.listeners:
            listener(one)

    async def news(self) -> list[News]:
        """Return what was told since the last call, in the order told."""
        cluster, now_s, first = self._cluster, self._clock.monotonic_s(), self._seen is None
        # A board whose numbers start from the beginning has lost its notes: those it has are new.
        seen = 0 if self._seen is None or self._seen > cluster.posted else self._seen
        fresh = sorted(note for note in cluster.notes.values() if note[0] > seen)
        self._seen = cluster.posted
        told: list[News] = []
        for _, at_us, by, one in fresh:
            made_s = now_s - max(0, cluster.now_us() - at_us) / 1_000_000
            match one:
                case ReportNews(processor, report) if by != self._lease.node:
                    told.append(ReportNews(processor, report, made_s))
                case HintNews(processor, up) if by != self._lease.node:
                    told.append(HintNews(processor, up, made_s))
                case PauseNews():
                    told.append(one)
                case PurgeNews() if not first:
                    told.append(PurgeNews(made_s))
        while self._vacant:
            told.append(self._vacant.popleft())
        return told

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever there may be news, for ever."""

        def listener(one: News) -> None:
            if isinstance(one, VacancyNews):
                self._vacant.append(one)
            heard()

        self._cluster.listeners.append(listener)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._cluster.listeners.remove(listener)
