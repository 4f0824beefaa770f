"""Accepting, claiming and giving back, over every engine."""

from __future__ import annotations

from contracts.stores import (
    AT_US,
    Store,
    begun,
    buried,
    contract,
    contract_with,
    failed,
    id_of,
    ids,
    intent,
    numbered,
    payment,
    payments,
    pinned,
    settled,
    settlement,
)
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.ports.queue import Acceptance

ACCEPTED, DUPLICATE, CONFLICT, FULL = (
    Acceptance.ACCEPTED,
    Acceptance.DUPLICATE,
    Acceptance.CONFLICT,
    Acceptance.FULL,
)


# -- accept


@contract
async def test_a_payment_is_accepted_once(store: Store) -> None:
    assert await store.queue.accept([payment(1)]) == [ACCEPTED]
    assert await store.queue.accept([payment(1)]) == [DUPLICATE]
    assert (await store.queue.backlog()).waiting == 1


@contract
async def test_the_same_id_with_another_amount_is_a_conflict_and_changes_nothing(store: Store) -> None:
    await store.queue.accept([payment(1, 1990)])
    assert await store.queue.accept([payment(1, 1991)]) == [CONFLICT]
    [delivery] = await store.queue.claim(9)
    assert delivery.amount_minor == 1990


@contract
async def test_duplicates_and_conflicts_are_found_within_one_batch(store: Store) -> None:
    batch = [payment(1, 10), payment(2, 10), payment(1, 10), payment(1, 11), payment(2, 10), payment(3, 10)]
    assert await store.queue.accept(batch) == [ACCEPTED, ACCEPTED, DUPLICATE, CONFLICT, DUPLICATE, ACCEPTED]
    assert ids(await store.queue.claim(9)) == numbered(1, 2, 3)


@contract
async def test_nothing_accepted_is_nothing_answered(store: Store) -> None:
    assert await store.queue.accept([]) == []


@contract
async def test_a_payment_is_known_in_every_state_it_can_be_in(store: Store) -> None:
    await settled(store, 1)
    await buried(store, 2)
    await pinned(store, 3)
    await begun(store, 4)
    await store.queue.accept([payment(5), payment(6)])
    await store.queue.claim(1)
    known = [payment(number) for number in range(1, 7)]
    assert await store.queue.accept(known) == [DUPLICATE] * 6
    others = [payment(number, 1) for number in range(1, 7)]
    assert await store.queue.accept(others) == [CONFLICT] * 6
    assert (await store.queue.backlog()).waiting == 2


@contract
async def test_what_was_accepted_survives_a_crash_in_order(store: Store) -> None:
    await store.queue.accept(payments(3))
    await store.queue.accept([payment(4)])
    await store.restart()
    assert (await store.queue.backlog()).waiting == 4
    assert await store.queue.accept([payment(2)]) == [DUPLICATE]
    assert await store.queue.claim(9) != []
    assert (await store.queue.backlog()).waiting == 4


@contract_with(limit=3)
async def test_beyond_the_bound_a_new_payment_is_refused_and_a_known_one_still_known(store: Store) -> None:
    assert await store.queue.accept(payments(5)) == [ACCEPTED, ACCEPTED, ACCEPTED, FULL, FULL]
    assert await store.queue.accept([payment(2), payment(2, 1), payment(4)]) == [DUPLICATE, CONFLICT, FULL]
    assert (await store.queue.backlog()).waiting == 3


@contract_with(limit=2)
async def test_claimed_and_unsent_payments_count_against_the_bound(store: Store) -> None:
    await store.queue.accept(payments(2))
    await store.queue.claim(2)
    assert await store.queue.accept([payment(3)]) == [FULL]


@contract_with(limit=2)
async def test_an_attempt_makes_room_and_its_refusal_takes_it_again(store: Store) -> None:
    await store.queue.accept(payments(2))
    [first, _] = await store.queue.claim(2)
    await store.queue.begin([intent(first)])
    assert await store.queue.accept([payment(3), payment(4)]) == [ACCEPTED, FULL]
    await store.queue.conclude([failed(intent(first), PaymentEvent.REFUSED)])
    assert (await store.queue.backlog()).waiting == 3, "nothing accepted is dropped for the bound"
    assert await store.queue.accept([payment(4)]) == [FULL]


@contract_with(limit=2)
async def test_a_refused_payment_may_come_again_once_there_is_room(store: Store) -> None:
    await store.queue.accept(payments(3))
    [first] = await store.queue.claim(1)
    await store.queue.begin([intent(first)])
    assert await store.queue.accept([payment(3)]) == [ACCEPTED]
    assert ids(await store.queue.claim(9)) == numbered(2, 3)


# -- claim


@contract
async def test_claims_come_oldest_first_and_no_payment_twice(store: Store) -> None:
    await store.queue.accept(payments(5))
    assert ids(await store.queue.claim(2)) == numbered(1, 2)
    assert ids(await store.queue.claim(2)) == numbered(3, 4)
    assert ids(await store.queue.claim(2)) == numbered(5)
    assert await store.queue.claim(2) == []


@contract
async def test_a_delivery_says_what_was_accepted_and_when(store: Store) -> None:
    await store.queue.accept([payment(7, 123)])
    [delivery] = await store.queue.claim(1)
    assert (delivery.correlation_id, delivery.amount_minor) == (id_of(7), 123)
    assert (delivery.accepted_us, delivery.attempts) == (AT_US + 7_000_000, 0)


@contract
async def test_claiming_none_or_less_takes_nothing(store: Store) -> None:
    await store.queue.accept(payments(2))
    assert await store.queue.claim(0) == []
    assert await store.queue.claim(-1) == []
    assert (await store.queue.backlog()).oldest_us == AT_US + 1_000_000


@contract
async def test_every_claim_has_a_receipt_of_its_own(store: Store) -> None:
    await store.queue.accept(payments(3))
    receipts = set()
    for _ in range(3):
        deliveries = await store.queue.claim(3)
        receipts |= {one.receipt for one in deliveries}
        await store.queue.release(deliveries)
    assert len(receipts) == 9


@contract
async def test_what_was_claimed_and_unsent_is_claimed_again_after_a_crash(store: Store) -> None:
    await store.queue.accept(payments(3))
    await store.queue.claim(2)
    await store.restart()
    assert await store.queue.orphans() == []
    assert ids(await store.queue.claim(9)) == numbered(1, 2, 3)


# -- release


@contract
async def test_what_is_given_back_keeps_its_place(store: Store) -> None:
    await store.queue.accept(payments(5))
    first, second, third = await store.queue.claim(3)
    await store.queue.release([third, first])
    assert ids(await store.queue.claim(1)) == numbered(1)
    await store.queue.release([second])
    await store.queue.accept([payment(6)])
    assert ids(await store.queue.claim(9)) == numbered(2, 3, 4, 5, 6)


@contract
async def test_a_stale_receipt_gives_nothing_back(store: Store) -> None:
    await store.queue.accept(payments(1))
    [stale] = await store.queue.claim(1)
    await store.queue.release([stale])
    [fresh] = await store.queue.claim(1)
    await store.queue.release([stale])
    assert await store.queue.claim(1) == []
    await store.queue.release([fresh, fresh])
    assert ids(await store.queue.claim(9)) == numbered(1)


# -- how much waits, and since when


@contract
async def test_waiting_counts_until_the_attempt_is_written_down(store: Store) -> None:
    assert (await store.queue.backlog()).waiting == 0
    await store.queue.accept(payments(3))
    [first, second] = await store.queue.claim(2)
    assert (await store.queue.backlog()).waiting == 3
    await store.queue.begin([intent(first), intent(second)])
    assert (await store.queue.backlog()).waiting == 1
    await store.queue.conclude([failed(intent(first), PaymentEvent.REFUSED)])
    assert (await store.queue.backlog()).waiting == 2
    await store.ledger.settle([settlement(intent(second))])
    assert (await store.queue.backlog()).waiting == 2


@contract
async def test_the_oldest_waiting_is_the_next_to_be_claimed(store: Store) -> None:
    assert (await store.queue.backlog()).oldest_us is None
    await store.queue.accept(payments(2))
    [first] = await store.queue.claim(1)
    assert (await store.queue.backlog()).oldest_us == AT_US + 2_000_000
    await store.queue.release([first])
    assert (await store.queue.backlog()).oldest_us == AT_US + 1_000_000
    await store.queue.claim(2)
    assert (await store.queue.backlog()).oldest_us is None


# -- purge


@contract
async def test_a_purge_forgets_everything(store: Store) -> None:
    await settled(store, 1)
    await buried(store, 2)
    await pinned(store, 3)
    await store.queue.accept([payment(4), payment(5)])
    await store.queue.claim(1)
    await store.queue.purge()
    assert (await store.queue.backlog()).waiting == 0
    assert await store.queue.claim(9) == []
    assert await store.queue.orphans() == []
    assert await store.queue.dead_letters(9) == []
    assert [await store.ledger.find(id_of(number)) for number in range(1, 6)] == [None] * 5
    await store.restart()
    assert await store.queue.orphans() == []
    assert await store.queue.claim(9) == []


@contract
async def test_after_a_purge_the_same_ids_are_new(store: Store) -> None:
    await settled(store, 1)
    await store.queue.purge()
    assert await store.queue.accept([payment(1, 5), payment(2)]) == [ACCEPTED, ACCEPTED]
    assert ids(await store.queue.claim(9)) == numbered(1, 2)


@contract
async def test_an_answer_from_before_a_purge_settles_nothing(store: Store) -> None:
    old = await begun(store, 1, requested_us=AT_US)
    await store.queue.purge()
    assert await store.ledger.settle([settlement(old)]) == [False]
    new = await begun(store, 1, requested_us=AT_US + 1)
    assert await store.ledger.settle([settlement(old)]) == [False]
    await store.queue.conclude([failed(old, PaymentEvent.REFUSED)])
    await store.queue.release([old.delivery])
    assert await store.queue.claim(9) == []
    assert (await store.ledger.find(id_of(1))).state is PaymentState.ATTEMPTING
    assert await store.ledger.settle([settlement(new)]) == [True]
