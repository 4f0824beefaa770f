"""The simulation's servers as an engine: its twins of Redis' scripts, and its rows in the place of PostgreSQL."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, cast

from contracts.clock import SkippingClock
from payrouter.adapters.clock import SystemClock
from payrouter.adapters.cluster import ClusterLedger
from payrouter.adapters.redis.health_calls import RedisHealthCalls
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.lease import RedisLease
from payrouter.adapters.redis.notices import RedisNotices
from payrouter.adapters.redis.queue import RedisQueue
from payrouter_lab.simulation.redis import SimulatedRedis
from payrouter_lab.simulation.rows import SimulatedRows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from payrouter.adapters.postgres.ledger import PostgresLedger, SettledRow
    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.scripts import Script
    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.window import Window

KEYS = Keys("twin")


class TwinLink:
    """Calls that are answered at once; the few commands beside the scripts that reading dead letters takes."""

    connections = 1

    def __init__(self, redis: SimulatedRedis) -> None:
        self._redis = redis

    async def eval(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:
        return self._redis.run(script.name, args)

    async def call(self, command: str, key: str, *args: Any) -> Any:
        data = self._redis.data
        match command, key:
            case "ZRANGE", KEYS.dead:
                return [b"%040d%b" % (place, data.dead.ids[place]) for place in sorted(data.dead.ids)][: args[1] + 1]
            case "HSCAN", KEYS.poison:
                return [b"0", [part for pair in data.poisoned.items() for part in pair]]
        raise NotImplementedError(command, key)


class TwinRows:
    """`PostgresLedger` over the simulation's rows."""

    lane = 0

    def __init__(self, rows: SimulatedRows) -> None:
        self._rows = rows

    async def settle(self, rows: Sequence[SettledRow]) -> list[bool]:
        return self._rows.settle(rows)

    async def known(self, correlation_ids: Sequence[str]) -> dict[str, int]:
        return self._rows.known(correlation_ids)

    async def summary(self, window: Window) -> dict[str, Totals]:
        return self._rows.summary(window)

    async def purge(self) -> None:
        self._rows.purge()

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        return self._rows.find(correlation_id)


class SimulatedEngine:
    """One dispatcher on simulated servers. A crash leaves its heartbeat to run out, which happens at once."""

    _numbers: ClassVar[count[int]] = count(1)

    def __init__(self, folder: Path, limit: int, *, notices: bool = True) -> None:
        self._limit = limit
        self._notices = notices
        self._clock = SkippingClock()
        self.redis = SimulatedRedis(self._clock.now_us)
        self.rows = TwinRows(SimulatedRows())

    async def open(self) -> None:
        link, rows = cast("RedisLink", TwinLink(self.redis)), cast("PostgresLedger", self.rows)
        self.queue = RedisQueue(link, KEYS, rows, limit=self._limit, notices=self._notices)
        self.notices = RedisNotices(link, KEYS)
        await self.queue.join()
        self.ledger = ClusterLedger(self.queue, rows)
        lease = RedisLease(link, KEYS, f"node{next(self._numbers)}", SystemClock())
        # It has watched Redis for long.
        lease.watch.watched_from_s = float("-inf")
        await lease.acquire()
        self.health_calls = RedisHealthCalls(link, KEYS, lease)

    async def restart(self) -> None:
        self.redis.data.dispatchers[self.queue.membership.instance] = 0
        self.redis.data.until_us = 0
        await self.open()

    async def skip(self, seconds: float) -> None:
        self._clock.ahead_s += seconds

    async def close(self) -> None:
        return
