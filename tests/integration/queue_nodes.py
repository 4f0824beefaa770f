"""Several dispatchers on one Redis, each with a link and hands of its own, and a look at where every payment is."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from contracts.stores import AT_US, failed, intent, payments, settlement
from payrouter.adapters.cluster import ClusterLedger
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.keys import GROUP, Keys
from payrouter.adapters.redis.queue import RedisQueue
from payrouter.adapters.redis.records import decode
from payrouter.adapters.redis.views import pairs
from payrouter.adapters.rows import from_blob
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.ledger import Totals
from payrouter.domain.payment import PaymentEvent, PaymentState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from random import Random

    from payrouter.adapters.postgres.ledger import SettledRow
    from payrouter.domain.attempt import Delivery, Intent
    from payrouter.domain.window import Window

Q, A, P, D = PaymentState.QUEUED, PaymentState.ATTEMPTING, PaymentState.PINNED, PaymentState.DEAD_LETTER


@dataclass
class Rows:
    """Settled payments in RAM, in the place of PostgreSQL. `away`: it can neither be asked nor written."""

    amounts: dict[str, int] = field(default_factory=dict)
    settled: dict[str, tuple[str, int]] = field(default_factory=dict)
    away: bool = False
    asked: int = 0

    def _here(self) -> None:
        if self.away:
            raise StoreUnavailable("PostgreSQL is away, says the test")

    async def settle(self, rows: Sequence[SettledRow]) -> list[bool]:
        self._here()
        written = []
        for row in rows:
            one = row.settlement.intent
            written.append(one.delivery.correlation_id not in self.amounts)
            self.amounts.setdefault(one.delivery.correlation_id, one.delivery.amount_minor)
            self.settled.setdefault(one.delivery.correlation_id, (one.processor, one.requested_us))
        return written

    async def known(self, correlation_ids: Sequence[str]) -> dict[str, int]:
        self._here()
        self.asked += 1
        return {one: self.amounts[one] for one in correlation_ids if one in self.amounts}

    async def summary(self, window: Window) -> dict[str, Totals]:
        self._here()
        return {"default": Totals(len(self.amounts), sum(self.amounts.values()))} if self.amounts else {}

    async def find(self, correlation_id: str) -> None:
        self._here()

    async def purge(self) -> None:
        self._here()
        self.amounts.clear()
        self.settled.clear()


@dataclass
class Node:
    """One process: a link, a queue and the ledger over both stores."""

    link: RedisLink
    keys: Keys
    queue: RedisQueue
    ledger: ClusterLedger
    pinned: list[Intent] = field(default_factory=list)

    async def begun(self, *, limit: int = 1, processor: str = "default", requested_us: int = 7) -> list[Intent]:
        """Claim and begin."""
        intents = [intent(one, processor, requested_us) for one in await self.queue.claim(limit)]
        assert all(await self.queue.begin(intents))
        return intents

    async def dies(self) -> None:
        """Let the heartbeat be long ago; the process itself goes on."""
        assert await self.link.call("ZADD", self.keys.dispatchers, "XX", "CH", 0, self.queue.membership.instance) == 1

    async def dies_if_it_can(self) -> None:
        """`dies`, unless it is not registered just now or cannot be reached."""
        with suppress(StoreUnavailable, AssertionError):
            await self.dies()

    def held(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Which of these are still in this dispatcher's hands."""
        return [self.queue._holdings.behind(one) is not None for one in deliveries]


@asynccontextmanager
async def node(
    url: str, prefix: str, rows: Rows, *, joins: bool = True, limit: int = 1_000_000, remember: int = 1_000_000
) -> AsyncIterator[Node]:
    """Give a dispatcher; with `joins=False` a process that only accepts."""
    link, keys = RedisLink(url, call_timeout_s=0.5), Keys(prefix)
    await link.open(5.0)
    try:
        queue = RedisQueue(link, keys, rows, limit=limit, remember=remember)
        if joins:
            await queue.join()
        yield Node(link, keys, queue, ClusterLedger(queue, rows))  # type: ignore[arg-type]
    finally:
        await link.close()


async def waiting(one: Node, count: int) -> None:
    """Accept so many payments, numbered from 1."""
    answers = await one.queue.accept(payments(count))
    assert {answer.value for answer in answers} == {"accepted"}


async def places(link: RedisLink, keys: Keys) -> dict[str, tuple[PaymentState, str]]:
    """Return state and place of every payment, after making sure that each is in one place only, and the right one.

    Places: `new` (never delivered), `again`, `orphans`, `dead`, or the name of the dispatcher that holds it.
    """
    records = {blob: decode(text) for blob, text in pairs(await link.call("HGETALL", keys.payments))}
    entries = {entry.decode(): fields[1] for entry, fields in await link.call("XRANGE", keys.queue, "-", "+")}
    assert {one.entry: blob for blob, one in records.items()} == entries
    [group] = [dict(zip(one[::2], one[1::2], strict=True)) for one in await link.call("XINFO", "GROUPS", keys.queue)]
    delivered = _parts(group[b"last-delivered-id"].decode())
    pending = {
        entry.decode(): consumer.decode()
        for entry, consumer, _, _ in await link.call("XPENDING", keys.queue, GROUP, "-", "+", 1_000_000)
    }
    assert set(pending) <= set(entries)
    found: dict[bytes, list[str]] = {blob: [] for blob in records}
    for name in ("again", "orphans", "dead"):
        for member in await link.call("ZRANGE", keys.of(name), 0, -1):
            found[member[-16:]].append(name)
    for blob, record in records.items():
        if record.entry in pending:
            found[blob].append(pending[record.entry])
        if _parts(record.entry) > delivered:
            found[blob].append("new")
    assert {len(one) for one in found.values()} <= {1}, {from_blob(blob): one for blob, one in found.items()}
    result = {from_blob(blob): (record.state, found[blob][0]) for blob, record in records.items()}
    for state, place in result.values():
        allowed = {Q: {"new", "again"}, A: {"orphans"}, P: {"orphans"}, D: {"dead"}}[state]
        assert place in allowed or (place in pending.values() and state is not D), (state, place)
    counted = int(await link.call("HGET", keys.meta, "waiting") or 0)
    assert counted == Counter(state for state, _ in result.values())[Q]
    return result


def _parts(entry: str) -> tuple[int, int]:
    ms, number = entry.split("-")
    return int(ms), int(number)


# -- work


@dataclass
class Work:
    """Dispatchers at work, each with everything at once as in production, and what the processors charged, where.

    What is claimed, given back, charged, refused or never heard of is chance, until `calm`: then all is charged.
    """

    chance: Random
    charged: dict[str, set[str]] = field(default_factory=dict)
    calm: bool = False

    def begin(self, tasks: asyncio.TaskGroup, one: Node) -> list[asyncio.Task[None]]:
        """Let a dispatcher work, until its tasks are cancelled."""
        return [tasks.create_task(each) for each in (self._dispatch(one, tasks), self._adopt(one), one.queue.keep())]

    async def _dispatch(self, one: Node, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(0.001)
            try:
                deliveries = await one.queue.claim(self.chance.randint(1, 6))
            except StoreUnavailable:
                await asyncio.sleep(0.01)
                continue
            if not self.calm and self.chance.random() < 0.2:
                await one.queue.release(deliveries)
                continue
            processor = self.chance.choice(["default", "fallback"])
            intents = [intent(each, processor, AT_US + self.chance.randrange(1_000_000)) for each in deliveries]
            try:
                written = await one.queue.begin(intents)
            except StoreUnavailable:
                await one.queue.release(deliveries)
                continue
            tasks.create_task(self._landed(one, [each for each, mine in zip(intents, written, strict=True) if mine]))

    async def _landed(self, one: Node, intents: list[Intent]) -> None:
        await asyncio.sleep(self.chance.random() * 0.02)
        fates: dict[str, list[Intent]] = {"charged": [], "refused": [], "not heard of": []}
        for each in intents:
            fate = self.chance.choice(["charged", "charged", "refused", "not heard of"])
            fates["charged" if self.calm else fate].append(each)
        await self._charge(one, fates["charged"])
        await _until_done(one.queue.conclude, [failed(each, PaymentEvent.REFUSED) for each in fates["refused"]])
        await _until_done(one.queue.conclude, [failed(each, PaymentEvent.UNKNOWN) for each in fates["not heard of"]])
        one.pinned += fates["not heard of"]

    async def _adopt(self, one: Node) -> None:
        while True:
            await asyncio.sleep(0.03)
            with suppress(StoreUnavailable):
                one.pinned += await one.queue.orphans()
            repeated, one.pinned = one.pinned, []
            await self._charge(one, repeated)

    async def _charge(self, one: Node, intents: list[Intent]) -> None:
        for each in intents:
            self.charged.setdefault(each.delivery.correlation_id, set()).add(each.processor)
        await _until_done(one.ledger.settle, [settlement(each) for each in intents])


async def _until_done(call: Callable[[list[Any]], Awaitable[object]], batch: list[Any]) -> None:
    while batch:
        try:
            await call(batch)
        except StoreUnavailable:
            await asyncio.sleep(0.01)
        else:
            return


async def nothing_left(one: Node, within_s: float = 3.0) -> None:
    """Return once no payment is in Redis any more, which takes so long at most."""
    async with asyncio.timeout(within_s):
        while True:
            with suppress(StoreUnavailable):
                if not await one.link.call("HLEN", one.keys.payments):
                    return
            await asyncio.sleep(0.01)
