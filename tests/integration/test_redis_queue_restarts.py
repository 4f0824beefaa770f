"""Redis is killed and comes back with its log: between any two steps, nothing is lost and nothing is there twice."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress

import pytest

from contracts.stores import AT_US, failed, id_of, ids, intent, numbered, payment, settlement
from integration.queue_nodes import A, D, P, Q, Rows, Work, node, nothing_left, places, waiting
from integration.raw_http import scenario
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.payment import PaymentEvent
from payrouter.ports.queue import Acceptance

REFUSED, UNKNOWN, INVALID = PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID


async def killed(redis, *nodes, rewritten: bool = False) -> None:
    """Kill Redis, start it again and wait until everybody is connected. `rewritten`: its log was compacted before."""
    before = await places(nodes[0].link, nodes[0].keys)
    if rewritten:
        redis.ask("BGREWRITEAOF")
        while "aof_rewrite_in_progress:1" in redis.ask("INFO", "persistence"):  # noqa: ASYNC110 - it cannot tell us
            await asyncio.sleep(0.01)
    await asyncio.to_thread(redis.kill)
    await asyncio.to_thread(redis.start)
    for each in nodes:
        while True:
            try:
                await each.link.call("PING")
                break
            except StoreUnavailable:
                await asyncio.sleep(0.005)
    assert await places(nodes[0].link, nodes[0].keys) == before


@scenario
async def test_redis_may_be_killed_between_any_two_steps_of_a_payment(own_redis):
    redis, rows = own_redis(), Rows()
    async with node(redis.url, "p", rows) as one, node(redis.url, "p", rows) as other:
        kills = itertools.count()

        async def kill() -> None:
            await killed(redis, one, other, rewritten=next(kills) % 2 == 1)

        await waiting(one, 6)
        await kill()
        claimed = await one.queue.claim(5)
        await kill()
        assert ids(await other.queue.claim(9)) == numbered(6)
        await one.queue.release(claimed[4:])
        await kill()
        sent = [intent(each, "default", AT_US + index) for index, each in enumerate(claimed[:4])]
        assert await one.queue.begin(sent) == [True] * 4
        await kill()
        await one.queue.conclude([failed(sent[0], REFUSED), failed(sent[1], UNKNOWN), failed(sent[2], INVALID)])
        await kill()
        assert await one.ledger.settle([settlement(sent[3])]) == [True]
        await kill()
        assert await one.queue.accept([payment(4)]) == [Acceptance.DUPLICATE]
        mine, theirs = one.queue.membership.consumer, other.queue.membership.consumer
        assert await places(one.link, one.keys) == {
            id_of(1): (Q, "again"),
            id_of(2): (P, mine),
            id_of(3): (D, "dead"),
            id_of(5): (Q, "again"),
            id_of(6): (Q, theirs),
        }
        await one.dies()
        assert ids([each.delivery for each in await other.queue.orphans()]) == numbered(2)
        await kill()
        assert ids(await other.queue.claim(9)) == numbered(1, 5)
        assert await other.queue.retry_dead_letters(None) == 1
        await kill()
        assert ids(await other.queue.claim(9)) == numbered(3)
        await other.queue.leave()
        await kill()
        assert {place for _, place in (await places(one.link, one.keys)).values()} == {"again", "orphans"}
        await one.queue.purge()
        await kill()
        assert await places(one.link, one.keys) == {}


@scenario
async def test_an_empty_stream_keeps_its_group_and_its_place_over_a_rewrite_and_a_kill(own_redis):
    redis, rows = own_redis(), Rows()
    async with node(redis.url, "p", rows) as one:
        await waiting(one, 3)
        sent = await one.begun(limit=3)
        assert await one.ledger.settle([settlement(each) for each in sent]) == [True] * 3
        await killed(redis, one, rewritten=True)
        await one.queue.accept([payment(4)])
        assert ids(await one.queue.claim(9)) == numbered(4)


@scenario
async def test_nobody_is_taken_over_because_redis_was_away(own_redis, monkeypatch):
    """Everybody's heartbeat stopped with it. A dispatcher that died meanwhile is noticed a little later."""
    monkeypatch.setattr("payrouter.adapters.redis.queue.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("payrouter.adapters.redis.recovery.LASTS_S", 1.0)
    redis, rows = own_redis(), Rows()
    async with (
        node(redis.url, "p", rows) as one,
        node(redis.url, "p", rows) as other,
        node(redis.url, "p", rows) as dead,
    ):
        for each in (one, other, dead):
            each.queue.membership.lasts_ms = 1000
        await waiting(one, 3)
        for each in (one, other, dead):
            await each.begun()
        lives = [asyncio.ensure_future(each.queue.keep()) for each in (one, other)]
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(1.2)
        await asyncio.to_thread(redis.start)
        began_s, adopted = asyncio.get_running_loop().time(), []
        while not adopted:
            for each in (one, other):
                try:
                    adopted += await each.queue.orphans()
                except StoreUnavailable:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() - began_s < 4.0
        assert ids([each.delivery for each in adopted]) == numbered(3)
        assert {state for state, _ in (await places(one.link, one.keys)).values()} == {A}
        for life in lives:
            life.cancel()
        await asyncio.wait(lives)


@pytest.mark.parametrize("seed", range(2))
@scenario
async def test_redis_killed_under_work_loses_nothing_and_doubles_nothing(own_redis, monkeypatch, seed):
    monkeypatch.setattr("payrouter.adapters.redis.queue.HEARTBEAT_S", 0.02)
    chance, redis, rows = random.Random(seed), own_redis(), Rows()
    work, accepted = Work(chance), set()

    async def accept(api) -> None:
        for number in itertools.count(1):
            await asyncio.sleep(0.002)
            with suppress(StoreUnavailable):
                await api.queue.accept([payment(number)])
                accepted.add(id_of(number))

    async with (
        node(redis.url, "p", rows) as one,
        node(redis.url, "p", rows) as other,
        node(redis.url, "p", rows, joins=False) as api,
        asyncio.TaskGroup() as tasks,
    ):
        accepting = tasks.create_task(accept(api))
        working = [*work.begin(tasks, one), *work.begin(tasks, other)]
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)
        await asyncio.sleep(0.3)
        accepting.cancel()
        work.calm = True
        await nothing_left(api)
        for task in working:
            task.cancel()
        assert await places(api.link, api.keys) == {}
        assert set(rows.settled) == set(work.charged) >= accepted
        assert {each: {where} for each, (where, _) in rows.settled.items()} == work.charged
        assert len(accepted) > 5
