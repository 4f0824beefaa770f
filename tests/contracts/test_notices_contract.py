"""Notices: written with what they tell of, claimed by one at a time, told at least once."""

from __future__ import annotations

import asyncio

import pytest

from contracts.stores import (
    AT_US,
    ClusterEngine,
    SqliteEngine,
    begun,
    buried,
    buried_while_pinned,
    contract,
    contract_with,
    failed,
    id_of,
    intent,
    payment,
    payments,
    pinned,
    settled,
    settlement,
)
from contracts.twin import SimulatedEngine
from payrouter.adapters.rows import to_blob
from payrouter.adapters.sqlite.repairs import SqliteRepairs
from payrouter.domain.notice import LEASE_S
from payrouter.domain.payment import PaymentEvent, PaymentState

SETTLED, DEAD = PaymentState.SETTLED, PaymentState.DEAD_LETTER


def told(notices):
    return sorted((one.correlation_id, one.event) for one in notices)


async def _settle_many(store, count):
    await store.queue.accept(payments(count))
    intents = [intent(one) for one in await store.queue.claim(count)]
    await store.queue.begin(intents)
    assert await store.ledger.settle([settlement(one) for one in intents]) == [True] * len(intents)


# -- what gives a notice


@contract
async def test_a_settled_payment_gives_one(store):
    await settled(store)
    [notice] = await store.notices.claim(10)
    assert (notice.correlation_id, notice.event, notice.tries) == (id_of(1), SETTLED, 0)
    assert await store.notices.waiting() == (1, notice.at_us)


@contract
async def test_a_dead_letter_gives_one(store):
    await buried(store)
    assert told(await store.notices.claim(10)) == [(id_of(1), DEAD)]


@contract
async def test_what_is_under_way_gives_none(store):
    await pinned(store, 1)
    one = await begun(store, 2)
    await store.queue.conclude([failed(one, PaymentEvent.REFUSED)])
    assert await store.notices.claim(10) == []
    assert await store.notices.waiting() == (0, None)


@contract
async def test_a_repeated_settlement_gives_no_second_one(store):
    one = await settled(store)
    await store.notices.delivered(await store.notices.claim(10))
    await store.ledger.settle([settlement(one)])
    assert await store.notices.claim(10) == []


@contract
async def test_a_dead_letter_that_settles_later_gives_both(store):
    await buried(store)
    await store.queue.retry_dead_letters(None)
    await store.queue.orphans()
    [delivery] = await store.queue.claim(1)
    one = intent(delivery)
    await store.queue.begin([one])
    await store.ledger.settle([settlement(one)])
    assert told(await store.notices.claim(10)) == [(id_of(1), SETTLED), (id_of(1), DEAD)]


@contract
async def test_a_dead_letter_with_a_pin_that_turns_out_to_be_charged_gives_both(store):
    one = await buried_while_pinned(store)
    assert await store.ledger.settle([settlement(one)]) == [True]
    assert told(await store.notices.claim(10)) == [(id_of(1), SETTLED), (id_of(1), DEAD)]


@contract
async def test_a_charge_proven_of_a_waiting_payment_is_told_as_settled_alone(store):
    await store.queue.accept([payment(1)])
    [delivery] = await store.queue.claim(1)
    await store.queue.release([delivery])
    assert await store.ledger.settle_waiting([settlement(intent(delivery))]) == [True]
    await store.skip(1000)
    assert told(await store.notices.claim(10)) == [(id_of(1), SETTLED)]


@contract
async def test_an_earlier_death_is_told_though_a_charge_was_proven_before_it_could_be(store):
    await buried(store)
    await store.queue.retry_dead_letters(None)
    await store.queue.orphans()
    [delivery] = await store.queue.claim(1)
    await store.queue.release([delivery])
    assert await store.ledger.settle_waiting([settlement(intent(delivery))]) == [True]
    assert told(await store.notices.claim(10)) == [(id_of(1), SETTLED), (id_of(1), DEAD)]


@contract_with(notices=False)
async def test_nothing_is_written_where_nobody_is_told(store):
    await settled(store, 1)
    await buried(store, 2)
    assert await store.notices.waiting() == (0, None)


@contract
async def test_a_purge_forgets_them(store):
    await settled(store)
    await store.notices.claim(1)
    await store.queue.purge()
    await store.skip(LEASE_S + 1)
    assert await store.notices.claim(10) == []
    assert await store.notices.waiting() == (0, None)


@contract
async def test_they_outlast_a_crash(store):
    await settled(store, 1)
    await buried(store, 2)
    await store.notices.claim(1)
    await store.restart()
    await store.skip(LEASE_S + 1)
    assert told(await store.notices.claim(10)) == sorted([(id_of(1), SETTLED), (id_of(2), DEAD)])


async def spoil(store, number: int) -> bool:
    """Write garbage where a payment's record is; False where there is no such place."""
    blob = to_blob(id_of(number))
    match store:
        case ClusterEngine():
            await store.link.call("HSET", store.keys.payments, blob, "garbage")
        case SimulatedEngine():
            store.redis.data.payments[blob] = b"garbage"
        case _:
            return False
    return True


@contract
async def test_a_payment_that_settles_though_its_record_was_spoilt_is_told_and_found(store):
    one = await begun(store)
    spoilt = await spoil(store, 1)
    assert await store.ledger.settle([settlement(one)]) == [True]
    assert told(await store.notices.claim(10)) == [(id_of(1), SETTLED)]
    found = await store.ledger.find(id_of(1))
    assert found.state is SETTLED
    if spoilt:
        # Of one that is not settled nobody can say anything.
        await begun(store, 2)
        await spoil(store, 2)
        with pytest.raises(ValueError, match="unpack"):
            await store.ledger.find(id_of(2))


def test_what_is_settled_from_beside_the_router_is_told_by_it(tmp_path):
    async def settle_beside() -> None:
        store = SqliteEngine(tmp_path, 10)
        one = await begun(store)
        assert await SqliteRepairs(store.path, notices=True).settle([settlement(one)]) == [True]
        await store.queue.accept([payment(2)])
        [delivery] = await store.queue.claim(1)
        await store.queue.release([delivery])
        waiting = [settlement(intent(delivery))]
        assert await SqliteRepairs(store.path, notices=True).settle_waiting(waiting) == [True]
        assert told(await store.notices.claim(10)) == sorted([(id_of(1), SETTLED), (id_of(2), SETTLED)])
        await store.close()

    asyncio.run(settle_beside())


# -- claiming


@contract
async def test_nobody_else_is_given_a_claimed_one_before_its_lease_ends(store):
    await _settle_many(store, 20)
    first, second = await store.notices.claim(12), await store.notices.claim(12)
    assert len(first) == 12
    assert len(second) == 8
    assert not {one.correlation_id for one in first} & {one.correlation_id for one in second}
    await store.skip(LEASE_S - 1)
    assert await store.notices.claim(12) == []
    await store.skip(2)
    assert len(await store.notices.claim(100)) == 20


@contract
async def test_those_due_longest_come_first(store):
    for number in (3, 1, 2):
        await settled(store, number, requested_us=AT_US + 10 - number)
    await store.skip(1)
    for one in await store.notices.claim(3):
        # Due again in another order than they were written in.
        await store.notices.failed(one, {id_of(1): 5, id_of(2): 1, id_of(3): 3}[one.correlation_id])
    await store.skip(10)
    claimed = [(await store.notices.claim(1))[0].correlation_id for _ in range(3)]
    assert claimed == [id_of(2), id_of(3), id_of(1)]


@contract
async def test_a_claim_of_nothing_is_nothing(store):
    await settled(store)
    assert await store.notices.claim(0) == []
    assert len(await store.notices.claim(1)) == 1


# -- ending


@contract
async def test_what_was_delivered_never_comes_again(store):
    await settled(store)
    await store.notices.delivered(await store.notices.claim(1))
    await store.skip(LEASE_S + 1)
    assert await store.notices.claim(1) == []
    assert await store.notices.waiting() == (0, None)


@contract
async def test_what_failed_comes_again_when_it_was_said_and_counts_its_tries(store):
    await settled(store)
    [notice] = await store.notices.claim(1)
    for tries in (1, 2):
        await store.notices.failed(notice, 100)
        await store.skip(99)
        assert await store.notices.claim(1) == []
        await store.skip(2)
        [notice] = await store.notices.claim(1)
        assert notice.tries == tries
        assert await store.notices.waiting() == (1, notice.at_us)


@contract
async def test_what_happened_anew_since_the_claim_is_told_too(store):
    one = await buried(store)
    [first] = await store.notices.claim(1)
    await store.queue.retry_dead_letters(None)
    await store.queue.orphans()
    [delivery] = await store.queue.claim(1)
    one = intent(delivery)
    await store.queue.begin([one])
    await store.queue.conclude([failed(one, PaymentEvent.INVALID, "answered 400: still no", at_us=AT_US + 99)])
    await store.notices.failed(first, 1000)
    await store.notices.delivered([first])
    [second] = await store.notices.claim(10)
    assert (second.correlation_id, second.event, second.tries) == (id_of(1), DEAD, 0)
    assert second.at_us != first.at_us
    assert second.webhook_id != first.webhook_id


@contract
async def test_the_oldest_is_given_up_when_there_are_too_many(store):
    await settled(store, 1)
    [first] = await store.notices.claim(1)
    await store.notices.failed(first, 1000)
    await _settle_many(store, 10)
    assert await store.notices.trim(20) == 0
    # Nine more came, as payment 1 was there; the one put off is due last.
    assert await store.notices.trim(4) == 6
    assert (await store.notices.waiting()) == (4, first.at_us)
    await store.skip(2000)
    left = await store.notices.claim(10)
    assert first.correlation_id in {one.correlation_id for one in left}
    assert len(left) == 4
