"""Engines as the model check drives them: one process or several, which die, fall silent and lose answers on request.

A process is named by its number; what it claims it holds under the name that `holder` gives, until it dies or joins
anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from contracts.stores import ClusterEngine, MemoryEngine, SqliteEngine
from integration.queue_nodes import places
from payrouter.adapters.cluster import ClusterLedger
from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.queue import RedisQueue
from payrouter.domain.errors import StoreUncertain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from payrouter.adapters.postgres.ledger import SettledRow
    from payrouter.adapters.redis.scripts import Script
    from payrouter.domain.payment import PaymentState
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.queue import PaymentQueue

LONG_MS = 3_600_000


class Loss(Enum):
    """What becomes of a request whose answer is lost."""

    DONE = "done"
    LOST = "never done"
    LATE = "on its way, and done when the test says so"


@dataclass
class LateCall:
    """A request that is still on its way. `effect` is what it does if it is not refused."""

    script: Script
    keys: Sequence[str | bytes]
    args: Sequence[bytes | str | int]
    effect: Callable[[], None] = lambda: None


class Process(Protocol):
    """What every process has."""

    queue: PaymentQueue
    ledger: Ledger


class Processes(Protocol):
    """An engine with its processes. `many`: they are several, and everything of `ClusterProcesses` is there."""

    many: bool
    processes: Sequence[Process]

    async def open(self) -> None:
        """Start."""
        ...

    def holder(self, number: int) -> str:
        """Return the name under which a process holds what it claims; empty while it may not claim."""
        ...

    async def crash(self, number: int) -> None:
        """Kill a process and start it again."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class OneProcess:
    """The embedded engines: a crash frees everything at once."""

    many = False
    engine: Callable[[Path, int], Any]

    def __init__(self, folder: Path, limit: int) -> None:
        self.store = type(self).engine(folder, limit)
        self.processes = [self.store]
        self._life = 0

    async def open(self) -> None:
        await self.store.open()

    def holder(self, number: int) -> str:
        return f"life {self._life}"

    async def crash(self, number: int) -> None:
        await self.store.restart()
        self._life += 1

    async def close(self) -> None:
        await self.store.close()


class MemoryProcess(OneProcess):
    engine = MemoryEngine


class SqliteProcess(OneProcess):
    engine = SqliteEngine


class LossyLink(RedisLink):
    """A link that loses the answer to the next call of the script of that name, if told to.

    `late`: the last request that is still on its way.
    """

    losing: tuple[str, Loss] | None = None
    late: LateCall | None = None

    async def eval(self, script: Script, keys: Sequence[str | bytes], args: Sequence[bytes | str | int]) -> Any:
        if self.losing is None or self.losing[0] != script.name:
            return await super().eval(script, keys, args)
        loss, self.losing = self.losing[1], None
        if loss is Loss.DONE:
            await super().eval(script, keys, args)
        elif loss is Loss.LATE:
            self.late = LateCall(script, keys, args)
        raise StoreUncertain("the test lost the answer")


class LossyRows(PostgresLedger):
    """Rows in PostgreSQL; the answer to the next settling is lost, if told to."""

    losing: Loss | None = None

    async def settle(self, rows: Sequence[SettledRow]) -> list[bool]:
        loss, self.losing = self.losing, None
        written = await super().settle(rows) if loss is not Loss.LOST else []
        if loss is not None:
            raise StoreUncertain("the test lost the answer")
        return written


class Dispatcher:
    """One process on Redis and PostgreSQL."""

    def __init__(self, link: LossyLink, rows: LossyRows, keys: Keys, limit: int) -> None:
        self.link = link
        self.rows = rows
        self.queue = RedisQueue(link, keys, rows, limit=limit)
        self.queue.membership.lasts_ms = LONG_MS
        self.ledger = ClusterLedger(self.queue, rows)

    @property
    def registered_as(self) -> str:
        return self.queue.membership.consumer

    async def keep(self) -> None:
        """What `queue.keep` does at every heartbeat."""
        await self.queue._keep_once()
        self.rows.lane = self.queue.membership.lane


class ClusterProcesses:
    """Dispatchers. Heartbeats run out only where `set_heartbeats` says so."""

    many = True
    size = 3
    _numbers: ClassVar[count[int]] = count(1)

    def __init__(self, folder: Path, limit: int) -> None:
        self.keys = Keys(f"model{next(self._numbers)}")
        self._limit = limit
        self.processes: list[Dispatcher] = []

    async def open(self) -> None:
        self.admin = RedisLink(ClusterEngine.redis_url)
        await self.admin.open(5.0)
        self._postgres = PostgresStore(Access(ClusterEngine.postgres_url))
        await self._postgres.open(5.0)
        await PostgresLedger(self._postgres).purge()
        for _ in range(self.size):
            self.processes.append(await self._started())

    async def _started(self) -> Dispatcher:
        link = LossyLink(ClusterEngine.redis_url)
        await link.open(5.0)
        started = Dispatcher(link, LossyRows(self._postgres), self.keys, self._limit)
        await started.keep()
        return started

    def holder(self, number: int) -> str:
        return self.processes[number].registered_as

    async def crash(self, number: int) -> None:
        """The one that died is silent by now: who joins next, here itself, takes over from all that are."""
        await self.processes[number].link.close()
        self.processes[number] = await self._started()

    async def set_heartbeats(self, *, silent: set[str]) -> None:
        """Let the heartbeats of these holders be long ago, and everybody else's just now."""
        keys = self.keys
        now_ms = int((await self.admin.call("TIME"))[0]) * 1000
        for name in await self.admin.call("ZRANGE", keys.dispatchers, 0, -1):
            until_ms = 0 if name.decode().partition(".")[0] in silent else now_ms + LONG_MS - 10_000
            await self.admin.call("ZADD", keys.dispatchers, "XX", until_ms, name)

    async def deliver(self, late: LateCall) -> None:
        """Hand over a request that was on its way, and let it have its effect if its sender still has that name."""
        by_anybody = late.script.name in {"accept", "settled"}
        may = by_anybody or await self.admin.call("ZSCORE", self.keys.dispatchers, late.args[0]) is not None
        await self.admin.eval(late.script, late.keys, late.args)
        if may:
            late.effect()

    async def places(self) -> dict[str, tuple[PaymentState, str]]:
        """Return state and place of every payment in Redis; each is in one place only."""
        return await places(self.admin, self.keys)

    async def close(self) -> None:
        for each in self.processes:
            await each.link.close()
        await self.admin.close()
        await self._postgres.close()
