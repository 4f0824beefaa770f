"""What Redis still knows of settled payments, and what happens when it does not: nothing is charged a second time."""

from __future__ import annotations

import asyncio

import pytest

from contracts.stores import id_of, ids, intent, numbered, payment, payments, settlement
from integration.queue_nodes import Rows, node, places
from integration.raw_http import scenario
from payrouter.domain.errors import StoreUnavailable
from payrouter.ports.queue import Acceptance

DUPLICATE, CONFLICT, ACCEPTED = Acceptance.DUPLICATE, Acceptance.CONFLICT, Acceptance.ACCEPTED
REMEMBERED = 20


@pytest.fixture
def opened(redis_server, redis_prefix):
    """A dispatcher that remembers twenty settled payments: `opened()`, or `opened(rows)` for a given ledger."""
    return lambda rows=None: node(redis_server.url, redis_prefix, rows or Rows(), remember=REMEMBERED)


async def settle(one, numbers) -> None:
    """Take numbered payments all the way."""
    await one.queue.accept([payment(number) for number in numbers])
    claimed = [intent(each) for each in await one.queue.claim(len(numbers))]
    await one.queue.begin(claimed)
    await one.ledger.settle([settlement(each) for each in claimed])


async def remembered(one) -> int:
    return await one.link.call("HLEN", one.keys.known) + await one.link.call("HLEN", one.keys.known_before)


@scenario
async def test_at_least_half_of_what_is_to_be_remembered_is_and_never_more_than_all_of_it(opened):
    async with opened() as one:
        sizes = set()
        for number in range(1, 101):
            await settle(one, [number])
            sizes.add(await remembered(one))
            if number > REMEMBERED:
                newest = [payment(each) for each in range(number - REMEMBERED // 2 + 1, number + 1)]
                assert set(await one.queue.accept(newest)) == {DUPLICATE}
        assert max(sizes) <= REMEMBERED


@scenario
async def test_a_batch_larger_than_the_memory_is_settled_all_the_same(opened):
    async with opened() as one:
        await settle(one, range(1, 3 * REMEMBERED))
        assert await places(one.link, one.keys) == {}
        assert await one.queue.accept([payment(1)]) == [DUPLICATE]


@scenario
async def test_the_ledger_is_asked_only_once_something_was_forgotten(opened):
    rows = Rows()
    async with opened(rows) as one:
        await settle(one, range(1, REMEMBERED // 2))
        assert rows.asked == 0
        for number in range(REMEMBERED, 3 * REMEMBERED):
            await settle(one, [number])
        assert rows.asked > 0


@scenario
async def test_a_forgotten_payment_that_comes_again_is_accepted_and_not_charged_again(opened):
    async with opened() as one:
        for number in range(1, 41):
            await settle(one, [number])
        assert await one.queue.accept([payment(1), payment(41)]) == [ACCEPTED, ACCEPTED]
        assert ids(await one.queue.claim(9)) == numbered(41)
        assert (await one.queue.backlog()).waiting == 1
        assert await one.queue.accept([payment(1), payment(1, 5)]) == [DUPLICATE, CONFLICT], "remembered anew"


@scenario
async def test_a_forgotten_id_with_another_amount_is_buried_with_the_reason_as_often_as_it_is_sent(opened):
    async with opened() as one:
        for number in range(1, 41):
            await settle(one, [number])
        await one.queue.accept([payment(1, 5), payment(41)])
        for _ in range(2):
            claimed = await one.queue.claim(9)
            assert set(ids(claimed)) <= {id_of(41)}
            [letter] = await one.queue.dead_letters(9)
            assert (letter.correlation_id, letter.amount_minor) == (id_of(1), 5)
            assert "settled before with another amount" in letter.reason
            assert await one.queue.retry_dead_letters(None) == 1
        assert one.queue._ledger.amounts[id_of(1)] == 1990


@scenario
async def test_with_the_ledger_away_what_may_have_been_settled_before_is_not_sent(opened):
    rows = Rows()
    async with opened(rows) as one:
        for number in range(1, 41):
            await settle(one, [number])
        await one.queue.accept([payment(1), payment(41)])
        rows.away = True
        with pytest.raises(StoreUnavailable):
            await one.queue.claim(9)
        assert {place for _, place in (await places(one.link, one.keys)).values()} == {"again"}
        rows.away = False
        assert ids(await one.queue.claim(9)) == numbered(41)


@scenario
async def test_a_delivery_is_not_stuck_when_redis_goes_away_while_the_ledger_is_asked(opened, monkeypatch):
    async with opened() as one:
        for number in range(1, 41):
            await settle(one, [number])
        await one.queue.accept([payment(1, 5), payment(2), payment(41)])
        known, hang_up = one.queue._ledger.known, []

        async def known_but_cut(correlation_ids):
            found = await known(correlation_ids)
            if not hang_up:
                hang_up.append(one.link._pipe.end("the test cuts it"))
            return found

        monkeypatch.setattr(one.queue._ledger, "known", known_but_cut)
        with pytest.raises(StoreUnavailable):
            await one.queue.claim(9)
        while not one.link.up:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
        await one.queue._keep_once()
        assert ids(await one.queue.claim(9)) == numbered(41)
        assert [each.correlation_id for each in await one.queue.dead_letters(9)] == numbered(1)


# -- a Redis that is new


@scenario
async def test_a_new_redis_before_an_old_ledger_charges_nothing_again(opened):
    rows = Rows({id_of(1): 1990})
    async with opened(rows) as one:
        await one.queue.accept(payments(2))
        assert ids(await one.queue.claim(9)) == numbered(2)


@scenario
async def test_a_new_redis_before_a_new_ledger_does_not_ask_it(opened):
    rows = Rows()
    async with opened(rows) as one:
        await one.queue.accept(payments(2))
        assert ids(await one.queue.claim(9)) == numbered(1, 2)
        assert rows.asked == 0


@scenario
async def test_a_redis_that_lost_everything_charges_nothing_again_even_if_the_ledger_was_away_just_then(
    redis_server, redis_prefix
):
    rows = Rows()
    async with node(redis_server.url, redis_prefix, rows) as one:
        await settle(one, [1, 2])
        names = await one.link.call("KEYS", "{" + redis_prefix + "}*")
        await one.link.call("DEL", *names)
        rows.away = True
        await one.queue._keep_once()
        await one.queue.accept([payment(1), payment(3)])
        with pytest.raises(StoreUnavailable):
            await one.queue.claim(9)
        rows.away = False
        await one.queue._keep_once()
        assert ids(await one.queue.claim(9)) == numbered(3)


@scenario
async def test_a_dispatcher_killed_while_it_asks_a_new_ledger_leaves_that_to_the_next(redis_server, redis_prefix):
    rows = Rows({id_of(1): 1990}, away=True)
    async with node(redis_server.url, redis_prefix, rows, joins=False) as dead:
        await asyncio.gather(dead.queue.join(), return_exceptions=True)
        rows.away = False
        async with node(redis_server.url, redis_prefix, rows) as living:
            await living.queue.accept(payments(2))
            assert ids(await living.queue.claim(9)) == numbered(2)


@scenario
async def test_a_purge_that_could_not_empty_the_ledger_charges_nothing_again(opened):
    rows = Rows()
    async with opened(rows) as one:
        await settle(one, [1])
        rows.away = True
        with pytest.raises(StoreUnavailable):
            await one.queue.purge()
        rows.away = False
        await one.queue.accept(payments(2))
        assert ids(await one.queue.claim(9)) == numbered(2)
        await one.queue.purge()
        await one.queue.accept(payments(2))
        asked = rows.asked
        assert ids(await one.queue.claim(9)) == numbered(1, 2)
        assert rows.asked == asked, "the ledger is new again"
