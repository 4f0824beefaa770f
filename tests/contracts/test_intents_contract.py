"""Attempts: written before they are sent, concluded, pinned, found again and sent again; over every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.stores import (
    AT_US,
    Store,
    begun,
    buried,
    buried_while_pinned,
    contract,
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
from payrouter.ports.queue import DeadLetter

if TYPE_CHECKING:
    from payrouter.domain.attempt import Intent

REFUSED, UNKNOWN, INVALID = PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID


async def state(store: Store, number: int = 1) -> PaymentState:
    record = await store.ledger.find(id_of(number))
    assert record is not None
    return record.state


def told(intents: list[Intent]) -> list[tuple[str, str, int]]:
    return [(one.delivery.correlation_id, one.processor, one.requested_us) for one in intents]


# -- begin


@contract
async def test_an_attempt_is_written_with_its_processor_and_instant(store: Store) -> None:
    await begun(store, 1, "fallback", AT_US + 7)
    record = await store.ledger.find(id_of(1))
    assert record.state is PaymentState.ATTEMPTING
    assert (record.processor, record.requested_us, record.attempts) == ("fallback", AT_US + 7, 1)


@contract
async def test_an_attempt_where_one_stands_is_refused(store: Store) -> None:
    first = await begun(store, 1, "default")
    assert await store.queue.begin([intent(first.delivery, "fallback", AT_US + 1)]) == [False]
    record = await store.ledger.find(id_of(1))
    assert (record.processor, record.requested_us, record.attempts) == ("default", AT_US, 1)


@contract
async def test_of_two_attempts_in_one_batch_one_is_written(store: Store) -> None:
    await store.queue.accept(payments(2))
    first, second = await store.queue.claim(2)
    batch = [intent(first), intent(second), intent(first, "fallback")]
    assert await store.queue.begin(batch) == [True, True, False]
    assert (await store.queue.backlog()).waiting == 0


@contract
async def test_an_attempt_with_a_stale_receipt_is_refused(store: Store) -> None:
    await store.queue.accept(payments(1))
    [stale] = await store.queue.claim(1)
    await store.queue.release([stale])
    assert await store.queue.begin([intent(stale)]) == [False]
    [fresh] = await store.queue.claim(1)
    assert await store.queue.begin([intent(stale), intent(fresh, "fallback")]) == [False, True]


@contract
async def test_a_settled_or_buried_payment_is_never_attempted_again(store: Store) -> None:
    done = await settled(store, 1)
    dead = await buried(store, 2)
    assert await store.queue.begin([done, dead]) == [False, False]


# -- conclude


@contract
async def test_a_refused_payment_is_back_in_its_place_with_its_attempts_counted(store: Store) -> None:
    await store.queue.accept(payments(3))
    first, second = await store.queue.claim(2)
    await store.queue.begin([intent(first), intent(second)])
    await store.queue.conclude([failed(intent(second), REFUSED), failed(intent(first), REFUSED)])
    again = await store.queue.claim(9)
    assert ids(again) == numbered(1, 2, 3)
    assert [one.attempts for one in again] == [1, 1, 0]
    await store.queue.begin([intent(again[0], "fallback")])
    await store.queue.conclude([failed(intent(again[0], "fallback"), REFUSED)])
    assert [one.attempts for one in await store.queue.claim(1)] == [2]


@contract
async def test_a_refused_payment_has_no_processor_any_more(store: Store) -> None:
    await store.queue.conclude([failed(await begun(store), REFUSED)])
    record = await store.ledger.find(id_of(1))
    assert record.state is PaymentState.QUEUED
    assert (record.processor, record.requested_us, record.reason) == (None, None, None)
    assert await store.queue.orphans() == []


@contract
async def test_a_refused_payment_may_go_elsewhere(store: Store) -> None:
    await store.queue.conclude([failed(await begun(store), REFUSED)])
    [delivery] = await store.queue.claim(1)
    elsewhere = intent(delivery, "fallback", AT_US + 9)
    assert await store.queue.begin([elsewhere]) == [True]
    assert await store.ledger.settle([settlement(elsewhere)]) == [True]


@contract
async def test_an_unknown_outcome_keeps_the_attempt_and_its_receipt(store: Store) -> None:
    await pinned(store, requested_us=AT_US + 3)
    record = await store.ledger.find(id_of(1))
    assert record.state is PaymentState.PINNED
    assert (record.processor, record.requested_us) == ("default", AT_US + 3)
    assert await store.queue.claim(9) == []
    assert await store.queue.orphans() == [], "it is held by whoever made the attempt"


@contract
async def test_a_pinned_payment_stays_pinned_however_often_it_is_refused(store: Store) -> None:
    one = await pinned(store)
    for _ in range(5):
        await store.queue.conclude([failed(one, REFUSED)])
        assert await state(store) is PaymentState.PINNED
    assert await store.queue.claim(9) == []
    assert await store.queue.begin([intent(one.delivery, "fallback")]) == [False]
    assert await store.ledger.settle([settlement(one)]) == [True]


@contract
async def test_an_invalid_payment_is_buried_with_its_reason(store: Store) -> None:
    await buried(store, 1, "answered 400: amount too small")
    assert await state(store) is PaymentState.DEAD_LETTER
    assert await store.queue.claim(9) == []
    assert await store.queue.dead_letters(9) == [
        DeadLetter(id_of(1), 1990, AT_US + 1_000_000, "answered 400: amount too small", None)
    ]


@contract
async def test_a_pinned_dead_letter_says_where_it_is_unresolved(store: Store) -> None:
    await buried_while_pinned(store)
    [letter] = await store.queue.dead_letters(9)
    assert letter.pinned_to == "default"


@contract
async def test_a_stale_receipt_concludes_nothing(store: Store) -> None:
    one = await begun(store)
    await store.queue.conclude([failed(one, REFUSED)])
    [fresh] = await store.queue.claim(1)
    newer = intent(fresh, "fallback", AT_US + 1)
    await store.queue.begin([newer])
    for event in (REFUSED, UNKNOWN, INVALID):
        await store.queue.conclude([failed(one, event)])
        assert await state(store) is PaymentState.ATTEMPTING
    assert len((await store.ledger.find(id_of(1))).failures) == 1


@contract
async def test_concluding_the_same_attempt_twice_in_one_batch_counts_once(store: Store) -> None:
    one = await begun(store)
    await store.queue.conclude([failed(one, REFUSED), failed(one, REFUSED)])
    assert len((await store.ledger.find(id_of(1))).failures) == 1
    assert ids(await store.queue.claim(9)) == numbered(1)


@contract
async def test_what_never_began_or_was_settled_cannot_be_concluded(store: Store) -> None:
    done = await settled(store, 1)
    await store.queue.accept([payment(2)])
    [unsent] = await store.queue.claim(1)
    await store.queue.conclude([failed(done, INVALID), failed(intent(unsent), INVALID)])
    assert await state(store, 1) is PaymentState.SETTLED
    assert await state(store, 2) is PaymentState.QUEUED
    assert await store.queue.dead_letters(9) == []


@contract
async def test_the_last_twenty_failures_are_kept_oldest_first(store: Store) -> None:
    one = await pinned(store)
    for number in range(25):
        await store.queue.conclude([failed(one, REFUSED, f"refusal {number}", AT_US + number)])
    failures = (await store.ledger.find(id_of(1))).failures
    assert [record.detail for record in failures] == [f"refusal {number}" for number in range(5, 25)]
    assert {(record.processor, record.outcome) for record in failures} == {("default", "refused")}
    assert failures[0].at_us == AT_US + 5


# -- orphans


@contract
async def test_after_a_crash_every_standing_attempt_is_found_once_with_processor_and_instant(
    store: Store,
) -> None:
    await pinned(store, 1, "fallback", AT_US + 1)
    await begun(store, 2, "default", AT_US + 2)
    await settled(store, 3, requested_us=AT_US + 3)
    await buried_while_pinned(store, 4, AT_US + 4)
    await store.queue.accept([payment(5)])
    await store.restart()
    assert told(await store.queue.orphans()) == [
        (id_of(1), "fallback", AT_US + 1),
        (id_of(2), "default", AT_US + 2),
    ]
    assert await store.queue.orphans() == []
    assert ids(await store.queue.claim(9)) == numbered(5)


@contract
async def test_standing_attempts_are_found_after_a_crash_even_when_somebody_claimed_first(
    store: Store,
) -> None:
    await begun(store, 1)
    await store.queue.accept([payment(2)])
    await store.restart()
    assert ids(await store.queue.claim(9)) == numbered(2)
    assert (await store.queue.backlog()).oldest_us is None
    assert ids([one.delivery for one in await store.queue.orphans()]) == numbered(1)


@contract
async def test_an_orphan_says_everything_about_its_payment(store: Store) -> None:
    one = await pinned(store, 1)
    await store.restart()
    [found] = await store.queue.orphans()
    assert (found.delivery.amount_minor, found.delivery.accepted_us) == (1990, AT_US + 1_000_000)
    assert found.delivery.attempts == 1
    assert found.reason == one.reason


@contract
async def test_the_receipt_from_before_a_crash_is_stale(store: Store) -> None:
    await store.queue.accept(payments(2))
    _, second = await store.queue.claim(2)
    old = intent(second)
    await store.queue.begin([old])
    await store.restart()
    [found] = await store.queue.orphans()
    await store.queue.conclude([failed(old, INVALID)])
    assert await state(store, 2) is PaymentState.ATTEMPTING
    await store.queue.conclude([failed(found, UNKNOWN)])
    assert await state(store, 2) is PaymentState.PINNED


@contract
async def test_an_orphan_that_is_refused_stays_where_it_is_as_its_first_attempt_is_unknown(
    store: Store,
) -> None:
    await begun(store, 1)
    await store.restart()
    [found] = await store.queue.orphans()
    await store.queue.conclude([failed(found, REFUSED)])
    assert await state(store) is PaymentState.PINNED
    assert await store.queue.claim(9) == []
    await store.restart()
    assert told(await store.queue.orphans()) == [(id_of(1), "default", AT_US)]


@contract
async def test_an_orphan_that_is_invalid_is_buried_with_its_pin(store: Store) -> None:
    await begun(store, 1)
    await store.restart()
    [found] = await store.queue.orphans()
    await store.queue.conclude([failed(found, INVALID)])
    [letter] = await store.queue.dead_letters(9)
    assert letter.pinned_to == "default"


@contract
async def test_an_orphan_is_settled_with_the_instant_it_had(store: Store) -> None:
    await begun(store, 1, "fallback", AT_US + 5)
    await store.restart()
    [found] = await store.queue.orphans()
    assert await store.ledger.settle([settlement(found)]) == [True]
    record = await store.ledger.find(id_of(1))
    assert (record.state, record.processor, record.requested_us) == (
        PaymentState.SETTLED,
        "fallback",
        AT_US + 5,
    )
    await store.restart()
    assert await store.queue.orphans() == []


@contract
async def test_crash_after_crash_the_same_orphans_are_found(store: Store) -> None:
    await begun(store, 1)
    for _ in range(3):
        await store.restart()
        assert told(await store.queue.orphans()) == [(id_of(1), "default", AT_US)]


# -- dead letters sent again


@contract
async def test_dead_letters_come_oldest_first_and_no_more_than_asked_for(store: Store) -> None:
    for number in (1, 2, 3):
        await buried(store, number)
    assert ids(await store.queue.dead_letters(2)) == numbered(1, 2)
    assert ids(await store.queue.dead_letters(9)) == numbered(1, 2, 3)


@contract
async def test_a_dead_letter_sent_again_is_back_in_its_place(store: Store) -> None:
    await buried(store, 1)
    await store.queue.accept([payment(2)])
    assert await store.queue.retry_dead_letters(numbered(1)) == 1
    assert await store.queue.orphans() == []
    assert (await store.queue.backlog()).waiting == 2
    again = await store.queue.claim(9)
    assert ids(again) == numbered(1, 2)
    assert [one.attempts for one in again] == [1, 0]
    assert await store.queue.dead_letters(9) == []


@contract
async def test_only_the_dead_letters_asked_for_are_sent_again(store: Store) -> None:
    for number in (1, 2, 3):
        await buried(store, number)
    await settled(store, 4)
    assert await store.queue.retry_dead_letters(numbered(2, 4, 9, 2)) == 1
    await store.queue.orphans()
    assert ids(await store.queue.claim(9)) == numbered(2)
    assert await store.queue.retry_dead_letters(None) == 2
    await store.queue.orphans()
    assert ids(await store.queue.claim(9)) == numbered(1, 3)
    assert await store.queue.retry_dead_letters(None) == 0


@contract
async def test_a_pinned_dead_letter_sent_again_repeats_the_same_attempt(store: Store) -> None:
    await buried_while_pinned(store, 1, AT_US + 8)
    assert await store.queue.retry_dead_letters(None) == 1
    [found] = await store.queue.orphans()
    assert told([found]) == [(id_of(1), "default", AT_US + 8)]
    assert await state(store) is PaymentState.PINNED
    assert await store.queue.claim(9) == []
    await store.queue.conclude([failed(found, REFUSED)])
    assert await state(store) is PaymentState.PINNED
    assert await store.ledger.settle([settlement(found)]) == [True]


@contract
async def test_after_a_crash_with_nothing_waiting_dead_letters_can_still_be_sent_again(store: Store) -> None:
    await buried(store, 1)
    await buried_while_pinned(store, 2)
    await store.restart()
    assert await store.queue.orphans() == []
    assert (await store.queue.backlog()).oldest_us is None
    assert await store.queue.retry_dead_letters(None) == 2
    assert told(await store.queue.orphans()) == [(id_of(2), "default", AT_US)]
    assert ids(await store.queue.claim(9)) == numbered(1)


@contract
async def test_after_a_crash_a_dead_letter_younger_than_all_that_waits_can_be_sent_again(
    store: Store,
) -> None:
    await store.queue.accept(payments(2))
    first, second = await store.queue.claim(2)
    await store.queue.begin([intent(second)])
    await store.queue.conclude([failed(intent(second), INVALID)])
    await store.queue.release([first])
    await store.restart()
    assert await store.queue.orphans() == []
    assert ids(await store.queue.claim(9)) == numbered(1)
    assert await store.queue.retry_dead_letters(None) == 1
    await store.queue.orphans()
    assert ids(await store.queue.claim(9)) == numbered(2)
    await store.queue.accept([payment(3)])
    assert ids(await store.queue.claim(9)) == numbered(3)


@contract
async def test_dead_letters_survive_a_crash(store: Store) -> None:
    await buried(store, 1, "answered 413: too much")
    await store.restart()
    [letter] = await store.queue.dead_letters(9)
    assert letter.reason == "answered 413: too much"
