"""A Redis that takes no more, or no writes at all: nothing is accepted that is not kept, and what is kept moves on."""

from __future__ import annotations

import asyncio

import pytest

from contracts.stores import failed, id_of, ids, intent, numbered, payment, settlement
from integration.queue_nodes import Rows, node, places, waiting
from integration.raw_http import scenario
from payrouter.adapters.clock import SystemClock
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.health_calls import RedisHealthCalls
from payrouter.adapters.redis.lease import RedisLease
from payrouter.adapters.redis.server import require_durable
from payrouter.domain.errors import StoreMisconfigured, StoreUnavailable, StoreUncertain
from payrouter.domain.lease import Term
from payrouter.domain.payment import PaymentEvent
from payrouter.ports.queue import Acceptance

REFUSED, UNKNOWN, INVALID = PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID


def fill(redis) -> None:
    """Have Redis use more memory than it may, from this moment on."""
    redis.ask("CONFIG", "SET", "maxmemory", "1mb")
    assert redis.ask("CONFIG", "GET", "maxmemory-policy") == ["maxmemory-policy", "noeviction"]


def make_room(redis) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "0")


@scenario
async def test_a_full_redis_refuses_new_payments_and_knows_the_old_ones(own_redis):
    redis = own_redis()
    async with node(redis.url, "p", Rows()) as one:
        await waiting(one, 2)
        fill(redis)
        with pytest.raises(StoreUnavailable, match="Redis is full") as caught:
            await one.queue.accept([payment(1), payment(3), payment(4)])
        assert not isinstance(caught.value, StoreUncertain)
        assert await one.queue.accept([payment(1), payment(2, 5)]) == [Acceptance.DUPLICATE, Acceptance.CONFLICT]
        assert set(await places(one.link, one.keys)) == set(numbered(1, 2))
        make_room(redis)
        assert await one.queue.accept([payment(3)]) == [Acceptance.ACCEPTED]
        assert ids(await one.queue.claim(9)) == numbered(1, 2, 3)


@scenario
async def test_a_full_redis_is_emptied_by_its_dispatchers(own_redis):
    redis, rows = own_redis(), Rows()
    async with node(redis.url, "p", rows) as one:
        await waiting(one, 8)
        fill(redis)
        assert await one.queue.membership.beat()
        deliveries = await one.queue.claim(7)
        await one.queue.release(deliveries[6:])
        assert (await one.queue.backlog()).waiting == 8
        sent = [intent(each) for each in deliveries[:6]]
        assert await one.queue.begin(sent) == [True] * 6
        await one.queue.conclude([failed(sent[0], REFUSED), failed(sent[1], UNKNOWN), failed(sent[2], INVALID)])
        assert await one.queue.retry_dead_letters(None) == 1
        assert await one.ledger.settle([settlement(each) for each in [sent[1], *sent[3:]]]) == [True] * 4
        again = [intent(each, "fallback") for each in await one.queue.claim(9)]
        assert ids([each.delivery for each in again]) == numbered(1, 3, 7, 8)
        assert await one.queue.begin(again) == [True] * 4
        assert await one.ledger.settle([settlement(each) for each in again]) == [True] * 4
        assert await places(one.link, one.keys) == {}
        assert set(rows.settled) == set(numbered(*range(1, 9)))


@scenario
async def test_dispatchers_of_a_full_redis_come_go_and_take_over(own_redis):
    redis, rows = own_redis(), Rows()
    async with node(redis.url, "p", rows) as dead, node(redis.url, "p", rows) as leaving:
        await waiting(dead, 2)
        await dead.begun()
        await leaving.begun()
        await dead.dies()
        fill(redis)
        async with node(redis.url, "p", rows) as coming:
            await leaving.queue.leave()
            assert ids([each.delivery for each in await coming.queue.orphans()]) == numbered(1, 2)


@scenario
async def test_a_full_redis_can_be_purged(own_redis):
    redis = own_redis()
    async with node(redis.url, "p", Rows()) as one:
        await waiting(one, 2)
        fill(redis)
        await one.queue.purge()
        assert await places(one.link, one.keys) == {}


@scenario
async def test_a_full_redis_still_has_a_leader_who_may_ask_for_health(own_redis):
    redis = own_redis()
    async with node(redis.url, "p", Rows()) as one:
        lease = RedisLease(one.link, one.keys, "node-1", SystemClock())
        fill(redis)
        assert isinstance(await lease.acquire(), Term)
        assert isinstance(await lease.acquire(), Term)
        calls = RedisHealthCalls(one.link, one.keys, lease)
        await asyncio.sleep(lease.rest_s())
        assert await calls.reserve("default") == 0.0
        await calls.answered("default")
        await lease.release()


@scenario
async def test_the_bound_on_what_waits_is_kept_across_processes(own_redis):
    redis, rows = own_redis(), Rows()
    async with node(redis.url, "p", rows, limit=3) as one, node(redis.url, "p", rows, limit=3) as other:
        await one.queue.accept([payment(1), payment(2)])
        accepted = await other.queue.accept([payment(3), payment(4)])
        assert accepted == [Acceptance.ACCEPTED, Acceptance.FULL]


# -- no writes


@scenario
async def test_a_replica_is_refused_at_the_start_even_where_unsafe_stores_are_allowed(own_redis):
    primary, replica = own_redis(), own_redis()
    replica.ask("REPLICAOF", "127.0.0.1", str(primary.port))
    link = RedisLink(replica.url)
    await link.open(5.0)
    try:
        with pytest.raises(StoreMisconfigured, match="it is a slave, which takes no writes"):
            await require_durable(link, allow_unsafe=True)
    finally:
        await link.close()


@scenario
async def test_a_redis_that_becomes_a_replica_takes_nothing_and_goes_on_as_a_primary(own_redis):
    primary, redis, rows = own_redis(), own_redis(), Rows()
    async with node(redis.url, "p", rows) as one:
        await waiting(one, 3)
        [sent] = await one.begun()
        [unsent] = await one.queue.claim(1)
        # Full, so that it does not copy the empty primary before it is set free again.
        redis.ask("CONFIG", "SET", "repl-diskless-load", "disabled")
        primary.pause()
        redis.ask("REPLICAOF", "127.0.0.1", str(primary.port))
        for call in (
            one.queue.accept([payment(4)]),
            one.queue.claim(1),
            one.queue.begin([intent(unsent)]),
            one.queue.conclude([failed(sent, REFUSED)]),
        ):
            with pytest.raises(StoreUnavailable, match="replica"):
                await call
            while not one.link.up:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.005)
        redis.ask("REPLICAOF", "NO", "ONE")
        assert await one.queue.begin([intent(unsent)]) == [True]
        assert await one.ledger.settle([settlement(sent)]) == [True]
        assert ids(await one.queue.claim(9)) == numbered(3)
        assert (await one.queue.find(id_of(2))).attempts == 1


@pytest.mark.parametrize(("version", "served"), [("6.2.14", False), ("7.0.0", True), ("7.2.4", True), ("10.1.0", True)])
@scenario
async def test_a_redis_too_old_for_our_scripts_is_refused(own_redis, monkeypatch, version, served):
    link = RedisLink(own_redis().url)
    await link.open(5.0)
    call = link.call

    def answer(*args):
        if args != ("INFO",):
            return call(*args)
        answered = asyncio.get_running_loop().create_future()
        answered.set_result(f"redis_version:{version}\r\nrole:master\r\n".encode())
        return answered

    monkeypatch.setattr(link, "call", answer)
    try:
        if served:
            assert (await require_durable(link, allow_unsafe=False)).version == version
        else:
            with pytest.raises(StoreMisconfigured, match=r"6\.2\.14.*7\.0"):
                await require_durable(link, allow_unsafe=True)
    finally:
        await link.close()
