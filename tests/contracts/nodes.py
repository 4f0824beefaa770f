"""Nodes of a cluster over each engine that can have several, with leases and pauses short enough to be waited for."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.memory_coordination import MemoryCluster, MemoryLease, MemoryNewsBoard
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.health_calls import RedisHealthCalls
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.lease import RedisLease
from payrouter.adapters.redis.news import RedisNewsBoard
from payrouter.adapters.redis.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from payrouter.domain.lease import Term
    from payrouter.ports.coordination import HealthCalls, NewsBoard

LEASE_S = 0.4
PAUSE_S = 0.2
TEST_MAY_TAKE_S = 20.0
LONG_AGO_S = float("-inf")


@dataclass(frozen=True)
class Node:
    """What one node uses."""

    name: str
    lease: MemoryLease | RedisLease
    health_calls: HealthCalls
    news: NewsBoard

    async def lead(self) -> Term:
        """Win the lease, which must be free."""
        term = await self.lease.acquire()
        assert not hasattr(term, "by"), f"{term} is in the way"
        return term


class Cluster(Protocol):
    """A cluster's shared store."""

    async def node(self, name: str, *, lease_s: float = LEASE_S, new: bool = False) -> Node:
        """Start a node; unless it is `new` it has watched the store for long."""
        ...

    async def forget(self) -> None:
        """Lose all data."""
        ...

    async def shift_clock(self, by_s: float) -> None:
        """Set the store's clock; what is kept is then that much older (or, below 0, from the future)."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class MemoryNodes:
    """Nodes in one process."""

    def __init__(self) -> None:
        self._ahead_us = 0
        self._cluster = MemoryCluster(lambda: SystemClock().now_us() + self._ahead_us)

    async def node(self, name: str, *, lease_s: float = LEASE_S, new: bool = False) -> Node:
        clock = SystemClock()
        lease = MemoryLease(self._cluster, name, clock, ttl_s=lease_s)
        lease.watch.watched_from_s = LONG_AGO_S if not new else lease.watch.watched_from_s
        news = MemoryNewsBoard(self._cluster, lease, clock)
        return Node(name, lease, lease.health_calls(pause_s=PAUSE_S), news)

    async def forget(self) -> None:
        cluster = self._cluster
        cluster.leader, cluster.token, cluster.until_us, cluster.posted = "", 0, 0, 0
        cluster.health_calls.clear()
        cluster.notes.clear()

    async def shift_clock(self, by_s: float) -> None:
        self._ahead_us += round(by_s * 1_000_000)

    async def close(self) -> None:
        return


class RedisNodes:
    """Nodes with a link each to a real Redis. Its clock is not ours to set: what it wrote is moved instead."""

    url: ClassVar[str] = ""
    _numbers: ClassVar[count[int]] = count(1)

    def __init__(self) -> None:
        self.keys = Keys(f"nodes{next(self._numbers)}")
        self._links: list[RedisLink] = []

    async def node(self, name: str, *, lease_s: float = LEASE_S, new: bool = False) -> Node:
        link, clock = RedisLink(self.url), SystemClock()
        await link.open(5.0)
        self._links.append(link)
        lease = RedisLease(link, self.keys, name, clock, ttl_s=lease_s)
        lease.watch.watched_from_s = LONG_AGO_S if not new else lease.watch.watched_from_s
        news = RedisNewsBoard(link, Subscription(self.url, self.keys.news), self.keys, lease, clock)
        return Node(name, lease, RedisHealthCalls(link, self.keys, lease, pause_s=PAUSE_S), news)

    async def forget(self) -> None:
        await self._links[0].call("DEL", self.keys.leader, self.keys.health, self.keys.board)

    async def shift_clock(self, by_s: float) -> None:
        by_us, link, keys = round(by_s * 1_000_000), self._links[0], self.keys
        await link.call("HINCRBY", keys.leader, "until_us", -by_us)
        for field in await link.call("HKEYS", keys.health):
            await link.call("HINCRBY", keys.health, field, -by_us)
        for field in set(await link.call("HKEYS", keys.board)) - {b"number"}:
            number, at_us, rest = (await link.call("HGET", keys.board, field)).split(b" ", 2)
            await link.call("HSET", keys.board, field, b"%b %d %b" % (number, int(at_us) - by_us, rest))

    async def close(self) -> None:
        for link in self._links:
            await link.close()


CLUSTERS: dict[str, Callable[[], Cluster]] = {"memory": MemoryNodes, "redis": RedisNodes}


def cluster_contract(test: Callable[[Any], Awaitable[None]]) -> Callable[[Callable[[], Cluster]], None]:
    """Run an async test over a cluster, closed after it."""

    async def over(cluster: Cluster) -> None:
        try:
            await test(cluster)
        finally:
            await cluster.close()

    def run(cluster_factory: Callable[[], Cluster]) -> None:
        asyncio.run(asyncio.wait_for(over(cluster_factory()), TEST_MAY_TAKE_S))

    functools.update_wrapper(run, test, assigned=("__name__", "__doc__"), updated=())
    del run.__wrapped__  # type: ignore[attr-defined]
    return run
