"""Charges that a processor's record proves, settled by nobody who holds the payment, over every engine."""

from __future__ import annotations

import asyncio

import pytest

from contracts.stores import (
    AT_US,
    Store,
    begun,
    buried,
    buried_while_pinned,
    contract,
    failed,
    id_of,
    intent,
    payment,
    payments,
    pinned,
    settled,
    settlement,
)
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.ledger import Settlement, Totals
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.domain.window import Window

EVER = Window()


def proven(
    number: int = 1, processor: str = "fallback", requested_us: int = AT_US + 7, amount: int = 1990
) -> Settlement:
    """A charge as a processor has it; the receipt is nobody's."""
    delivery = Delivery(id_of(number), amount, payment(number).accepted_us, receipt=0)
    return settlement(Intent(delivery, processor, requested_us, "proven|0.0|0|0|1.00|"))


async def state(store: Store, number: int = 1) -> tuple[PaymentState, str | None, int | None]:
    record = await store.ledger.find(id_of(number))
    assert record is not None
    return record.state, record.processor, record.requested_us


@contract
async def test_a_waiting_payment_is_settled_where_it_was_charged(store: Store) -> None:
    await store.queue.accept(payments(3))
    assert await store.ledger.settle_waiting([proven(2)]) == [True]
    assert await state(store, 2) == (PaymentState.SETTLED, "fallback", AT_US + 7)
    assert await store.ledger.summary(EVER) == {"fallback": Totals(1, 1990)}
    record = await store.ledger.find(id_of(2))
    assert record is not None
    assert (record.attempts, record.reason, record.failures) == (1, "proven|0.0|0|0|1.00|", ())
    assert (await store.queue.backlog()).waiting == 2
    assert [one.correlation_id for one in await store.queue.claim(9)] == [id_of(1), id_of(3)]
    assert await store.queue.dead_letters(9) == []


@contract
async def test_whoever_holds_it_cannot_begin_it_any_more(store: Store) -> None:
    await store.queue.accept(payments(2))
    first, second = await store.queue.claim(2)
    assert await store.ledger.settle_waiting([proven(1)]) == [True]
    assert await store.queue.begin([intent(first), intent(second)]) == [False, True]
    assert (await store.queue.backlog()).waiting == 0
    await store.queue.release([first])
    assert await store.queue.claim(2) == []
    assert await state(store) == (PaymentState.SETTLED, "fallback", AT_US + 7)


@contract
async def test_begun_and_proven_at_the_same_time_only_one_of_them_happens(store: Store) -> None:
    for number in range(1, 21):
        await store.queue.accept([payment(number)])
        [delivery] = await store.queue.claim(1)
        ways = [store.queue.begin([intent(delivery)]), store.ledger.settle_waiting([proven(number)])]
        [[one], [other]] = await asyncio.gather(*(ways if number % 2 else reversed(ways)))
        assert one is not other
        record = await store.ledger.find(id_of(number))
        assert record is not None
        won = one if number % 2 else other
        assert record.state is (PaymentState.ATTEMPTING if won else PaymentState.SETTLED)


@contract
async def test_one_that_was_given_back_after_a_refusal_waits_too(store: Store) -> None:
    one = await begun(store)
    await store.queue.conclude([failed(one, PaymentEvent.REFUSED)])
    assert await store.ledger.settle_waiting([proven()]) == [True]
    record = await store.ledger.find(id_of(1))
    assert record is not None
    assert (record.attempts, [one.outcome for one in record.failures]) == (2, ["refused"])
    assert await store.queue.claim(1) == []


@contract
async def test_an_attempt_that_stands_is_not_settled_as_another_one(store: Store) -> None:
    await begun(store, 1)
    await pinned(store, 2)
    await buried_while_pinned(store, 3)
    await buried(store, 4)
    await settled(store, 5)
    charges = [proven(number) for number in range(1, 7)]
    assert await store.ledger.settle_waiting(charges) == [False] * 6
    assert await store.ledger.settle(charges) == [False] * 6
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}


@contract
async def test_another_amount_proves_nothing(store: Store) -> None:
    await store.queue.accept([payment(1)])
    assert await store.ledger.settle_waiting([proven(amount=1991)]) == [False]
    assert await state(store) == (PaymentState.QUEUED, None, None)


@contract
async def test_proven_twice_counts_once(store: Store) -> None:
    await store.queue.accept([payment(1)])
    assert await store.ledger.settle_waiting([proven(), proven()]) == [True, False]
    assert await store.ledger.settle_waiting([proven()]) == [False]
    assert await store.ledger.summary(EVER) == {"fallback": Totals(1, 1990)}


@contract
async def test_a_proven_payment_survives_a_crash_and_is_known_when_it_is_sent_again(store: Store) -> None:
    await store.queue.accept([payment(1)])
    await store.ledger.settle_waiting([proven()])
    await store.restart()
    assert await state(store) == (PaymentState.SETTLED, "fallback", AT_US + 7)
    assert (await store.queue.accept([payment(1)]))[0].value == "duplicate"
    assert await store.queue.claim(1) == []
    assert await store.queue.orphans() == []


@pytest.mark.parametrize("bury", [False, True])
def test_a_standing_attempt_is_settled_by_whoever_proves_it(store_factory, bury: bool) -> None:
    @contract
    async def test(store: Store) -> None:
        one = await (buried_while_pinned(store) if bury else pinned(store))
        assert await store.ledger.settle([proven(1, one.processor, one.requested_us)]) == [True]
        assert await state(store) == (PaymentState.SETTLED, one.processor, one.requested_us)
        assert await store.queue.dead_letters(9) == []
        assert await store.queue.retry_dead_letters(None) == 0
        assert await store.ledger.summary(EVER) == {one.processor: Totals(1, 1990)}
        # Whoever held the attempt learns the same in the end, or something worse: neither changes anything.
        assert await store.ledger.settle([settlement(one)]) == [False]
        await store.queue.conclude([failed(one, PaymentEvent.REFUSED)])
        await store.restart()
        assert await store.queue.orphans() == []
        assert await store.queue.claim(1) == []

    test(store_factory)
