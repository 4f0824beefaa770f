"""What payments cost in Redis, and that they leave nothing behind but what is to be remembered."""

from __future__ import annotations

from contracts.stores import AT_US, id_of, intent, payment, settlement
from integration.queue_nodes import Rows, node, places
from integration.raw_http import scenario
from payrouter.domain.payment import Payment

BATCH = 1000


def used_memory(redis) -> int:
    return int(redis.ask("INFO", "memory").partition("used_memory:")[2].split()[0])


async def fill(one, count: int) -> None:
    for first in range(1, count, BATCH):
        await one.queue.accept([Payment(id_of(first + each), 1990, AT_US + first) for each in range(BATCH)])


async def settle_all(one) -> int:
    settled = 0
    while sent := [intent(each) for each in await one.queue.claim(BATCH)]:
        await one.queue.begin(sent)
        settled += sum(await one.ledger.settle([settlement(each) for each in sent]))
    return settled


@scenario
async def test_a_hundred_thousand_waiting_payments_take_little_memory_and_give_it_back(own_redis):
    """Measured with Redis 7.0: 155 bytes for a waiting payment, and 0.7 MB left when all are settled."""
    redis = own_redis(appendfsync="no")
    async with node(redis.url, "p", Rows(), remember=1000) as one:
        empty = used_memory(redis)
        await fill(one, 100_000)
        each = (used_memory(redis) - empty) / 100_000
        assert (await one.queue.backlog()).waiting == 100_000
        assert await settle_all(one) == 100_000
        assert await one.link.call("XLEN", one.keys.queue) == 0
        assert await places(one.link, one.keys) == {}
        left = used_memory(redis) - empty
        print(f"{each:.0f} bytes for a waiting payment, {left / 1e6:.1f} MB left of them all")
        assert each < 300
        assert left < 8_000_000


@scenario
async def test_a_settled_payment_is_remembered_in_little_memory(own_redis):
    """Measured with Redis 7.0: 86 bytes; a million of them take 86 MB."""
    redis = own_redis(appendfsync="no")
    async with node(redis.url, "p", Rows()) as one:
        await fill(one, BATCH)
        await settle_all(one)
        before = used_memory(redis)
        for first in range(BATCH + 1, 40 * BATCH, BATCH):
            await one.queue.accept([payment(first + each) for each in range(BATCH)])
            await settle_all(one)
        each = (used_memory(redis) - before) / (39 * BATCH)
        print(f"{each:.0f} bytes for a settled payment")
        assert each < 150


@scenario
async def test_dispatchers_that_come_and_go_leave_nothing_behind(own_redis):
    redis = own_redis(appendfsync="no")
    async with node(redis.url, "p", Rows()) as staying:
        await staying.queue.accept([payment(1)])
        names = None
        for turn in range(30):
            async with node(redis.url, "p", Rows()) as passing:
                await passing.queue.claim(1)
                await (passing.queue.leave() if turn % 2 else passing.dies())
            await staying.queue.orphans()
            found = sorted(redis.ask("KEYS", "*"))
            assert names in (None, found)
            names = found
        assert len(redis.ask("XINFO", "CONSUMERS", staying.keys.queue, "dispatchers")) <= 1
        assert redis.ask("ZCARD", staying.keys.dispatchers) == 1
