"""One harness per engine, so that every contract runs over each of them, and short names for what contracts send.

A new engine is one class here and one entry in `ENGINES`.
"""

from __future__ import annotations

import asyncio
import shutil
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from contracts.clock import SkippingClock
from contracts.twin import SimulatedEngine
from payrouter.adapters.clock import SystemClock
from payrouter.adapters.cluster import ClusterLedger
from payrouter.adapters.memory import MemoryStore
from payrouter.adapters.memory_coordination import MemoryHealthCalls
from payrouter.adapters.memory_notices import MemoryNotices
from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.health_calls import RedisHealthCalls
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.lease import RedisLease
from payrouter.adapters.redis.notices import RedisNotices
from payrouter.adapters.redis.queue import RedisQueue
from payrouter.adapters.sqlite.health_calls import SqliteHealthCalls
from payrouter.adapters.sqlite.ledger import SqliteLedger
from payrouter.adapters.sqlite.notices import SqliteNotices
from payrouter.adapters.sqlite.queue import SqliteQueue
from payrouter.adapters.sqlite.rows import ProcessorIds
from payrouter.adapters.sqlite.store import SqliteStore
from payrouter.domain.attempt import FailedAttempt, Intent
from payrouter.domain.ledger import Settlement
from payrouter.domain.payment import Payment, PaymentEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from payrouter.domain.attempt import Delivery
    from payrouter.ports.coordination import HealthCalls
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.notices import Notices
    from payrouter.ports.queue import PaymentQueue

PROCESSORS = ("default", "fallback")
AT_US = 1_752_582_896_123_456
TEST_MAY_TAKE_S = 20.0


class Store(Protocol):
    """An engine, opened."""

    queue: PaymentQueue
    ledger: Ledger
    health_calls: HealthCalls
    notices: Notices

    async def open(self) -> None:
        """Connect to wherever it is kept."""
        ...

    async def restart(self) -> None:
        """Die without a word and come back."""
        ...

    async def skip(self, seconds: float) -> None:
        """Let so much time pass for notices."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class MemoryEngine:
    """`MemoryStore`: a crash forgets who holds what, and nothing else."""

    def __init__(self, folder: Path, limit: int, *, notices: bool = True) -> None:
        self._clock = SkippingClock()
        self.notices = MemoryNotices(self._clock)
        self.queue = self.ledger = self._store = MemoryStore(limit=limit, notices=self.notices if notices else None)
        self.health_calls = MemoryHealthCalls(SystemClock().now_us)

    async def open(self) -> None:
        return

    async def restart(self) -> None:
        self._store.crash()

    async def skip(self, seconds: float) -> None:
        self._clock.ahead_s += seconds

    async def close(self) -> None:
        return


class SqliteEngine:
    """The SQLite file. A crash leaves it as it is on disk that very moment, log included."""

    def __init__(self, folder: Path, limit: int, *, notices: bool = True) -> None:
        self._notices = notices
        self._clock = SkippingClock()
        self.path = folder / "payrouter.db"
        self._limit = limit
        self._lives = 0
        self._open()

    def _open(self) -> None:
        self.store = SqliteStore(self.path)
        self.store.linger_s = 0.0
        ids = ProcessorIds(self.store.connection, PROCESSORS)
        self.queue = SqliteQueue(self.store, ids, limit=self._limit, notices=self._notices)
        self.ledger = SqliteLedger(self.store, ids, self.queue, notices=self._notices)
        self.notices = SqliteNotices(self.store, self._clock)
        self.health_calls = SqliteHealthCalls(self.store, SystemClock())

    async def open(self) -> None:
        return

    async def restart(self) -> None:
        self._lives += 1
        after = self.path.with_name(f"life-{self._lives}.db")
        shutil.copy(self.path, after)
        shutil.copy(f"{self.path}-wal", f"{after}-wal")
        self.store.close()
        self.path = after
        self._open()

    async def skip(self, seconds: float) -> None:
        self._clock.ahead_s += seconds

    async def close(self) -> None:
        self.store.close()


class ClusterEngine:
    """Redis and PostgreSQL. A crash leaves a dispatcher's heartbeat to run out; here that happens at once."""

    redis_url: ClassVar[str] = ""
    postgres_url: ClassVar[str] = ""
    _numbers: ClassVar[count[int]] = count(1)

    def __init__(self, folder: Path, limit: int, *, notices: bool = True) -> None:
        self._notices = notices
        self.keys = Keys(f"contract{next(self._numbers)}")
        self._limit = limit

    async def open(self) -> None:
        await self._connect()
        await self.rows.purge()

    async def _connect(self) -> None:
        self.link = RedisLink(self.redis_url)
        await self.link.open(5.0)
        self._rows = PostgresStore(Access(self.postgres_url))
        await self._rows.open(5.0)
        self.rows = PostgresLedger(self._rows)
        self.queue = RedisQueue(self.link, self.keys, self.rows, limit=self._limit, notices=self._notices)
        self.notices = RedisNotices(self.link, self.keys)
        await self.queue.join()
        self.ledger = ClusterLedger(self.queue, self.rows)
        lease = RedisLease(self.link, self.keys, f"node{next(self._numbers)}", SystemClock())
        # It has watched Redis for long.
        lease.watch.watched_from_s = float("-inf")
        await lease.acquire()
        self.health_calls = RedisHealthCalls(self.link, self.keys, lease)

    async def restart(self) -> None:
        await self.link.call("ZADD", self.keys.dispatchers, 0, self.queue.membership.instance)
        await self.link.call("DEL", self.keys.leader)
        await self.close()
        await self._connect()

    async def skip(self, seconds: float) -> None:
        # Time is Redis' own: what is due comes closer instead.
        due = self.keys.of_notices[0]
        for member in await self.link.call("ZRANGE", due, 0, -1):
            await self.link.call("ZINCRBY", due, -round(seconds * 1_000_000), member)

    async def close(self) -> None:
        await self.link.close()
        await self._rows.close()


ENGINES: dict[str, Callable[[Path, int], Store]] = {
    "memory": MemoryEngine,
    "sqlite": SqliteEngine,
    "cluster": ClusterEngine,
    "simulated": SimulatedEngine,
}


def contract(test: Callable[[Any], Awaitable[None]]) -> Callable[[Callable[..., Store]], None]:
    """Run an async test over an open store, closed after it."""
    return contract_with()(test)


def contract_with(
    *, limit: int = 100_000, notices: bool = True
) -> Callable[..., Callable[[Callable[..., Store]], None]]:
    """`contract` for a queue in which at most `limit` payments may wait; `notices`: whether it writes them."""

    def decorate(test: Callable[[Any], Awaitable[None]]) -> Callable[[Callable[..., Store]], None]:
        def run(store_factory: Callable[..., Store]) -> None:
            asyncio.run(asyncio.wait_for(_over(store_factory, limit, notices, test), TEST_MAY_TAKE_S))

        run.__name__ = test.__name__  # type: ignore[attr-defined]
        return run

    return decorate


async def _over(
    factory: Callable[..., Store],
    limit: int,
    notices: bool,
    test: Callable[[Any], Awaitable[None]],
) -> None:
    store = factory(limit, notices=notices)
    await store.open()
    try:
        await test(store)
    finally:
        await store.close()


def id_of(number: int) -> str:
    """The correlationId of a numbered payment."""
    return f"{number * 0x9E3779B1 % 2**32:08x}-0000-4000-8000-{number:012x}"


def payment(number: int, amount_minor: int = 1990) -> Payment:
    """A numbered payment, accepted that many seconds after the first."""
    return Payment(id_of(number), amount_minor, AT_US + number * 1_000_000)


def payments(count: int) -> list[Payment]:
    """Payments 1 to `count`."""
    return [payment(number) for number in range(1, count + 1)]


def ids(deliveries: list[Any]) -> list[str]:
    """Their correlationIds."""
    return [one.correlation_id for one in deliveries]


def numbered(*numbers: int) -> list[str]:
    """The correlationIds of these payments."""
    return [id_of(number) for number in numbers]


def intent(delivery: Delivery, processor: str = "default", requested_us: int = AT_US) -> Intent:
    """An attempt at a delivery."""
    return Intent(delivery, processor, requested_us, "cheapest|10.0|1|32|0.10|")


def failed(one: Intent, event: PaymentEvent, detail: str = "answered 500", at_us: int = AT_US + 5) -> FailedAttempt:
    """An attempt that did not charge."""
    return FailedAttempt(one, event, at_us, detail, 4.25)


def settlement(one: Intent) -> Settlement:
    """A charge, answered 12.5 ms after it was sent."""
    return Settlement(one, one.requested_us + 12_500, 12.5)


async def begun(store: Store, number: int = 1, processor: str = "default", requested_us: int = AT_US) -> Intent:
    """Accept, claim and begin one payment; nothing else may be waiting."""
    await store.queue.accept([payment(number)])
    [delivery] = await store.queue.claim(1)
    one = intent(delivery, processor, requested_us)
    assert await store.queue.begin([one]) == [True]
    return one


async def pinned(store: Store, number: int = 1, processor: str = "default", requested_us: int = AT_US) -> Intent:
    """A payment whose only attempt is of unknown outcome."""
    one = await begun(store, number, processor, requested_us)
    await store.queue.conclude([failed(one, PaymentEvent.UNKNOWN, "no answer")])
    return one


async def settled(store: Store, number: int = 1, processor: str = "default", requested_us: int = AT_US) -> Intent:
    """A payment that is in the ledger."""
    one = await begun(store, number, processor, requested_us)
    assert await store.ledger.settle([settlement(one)]) == [True]
    return one


async def buried(store: Store, number: int = 1, detail: str = "answered 400: no") -> Intent:
    """A payment in the dead letters, with nothing unresolved anywhere."""
    one = await begun(store, number)
    await store.queue.conclude([failed(one, PaymentEvent.INVALID, detail)])
    return one


async def buried_while_pinned(store: Store, number: int = 1, requested_us: int = AT_US) -> Intent:
    """A payment in the dead letters whose earlier attempt is of unknown outcome."""
    one = await pinned(store, number, requested_us=requested_us)
    await store.queue.conclude([failed(one, PaymentEvent.INVALID, "answered 400: no")])
    return one
