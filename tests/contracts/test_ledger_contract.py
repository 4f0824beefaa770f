"""Settling, the summary and one payment's record, over every engine."""

from __future__ import annotations

import asyncio

from contracts.stores import (
    AT_US,
    Store,
    begun,
    buried,
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
from payrouter.domain.ledger import AttemptRecord, PaymentRecord, Settlement, Totals
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.domain.window import Window

EVER = Window()


@contract
async def test_a_charge_is_in_the_summary_of_its_processor(store: Store) -> None:
    await settled(store, 1, "default")
    await settled(store, 2, "fallback")
    await settled(store, 3, "fallback")
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990), "fallback": Totals(2, 3980)}


@contract
async def test_an_empty_ledger_has_an_empty_summary(store: Store) -> None:
    await begun(store, 1)
    await store.queue.accept([payment(2)])
    assert await store.ledger.summary(EVER) == {}


@contract
async def test_settling_twice_counts_once(store: Store) -> None:
    one = await settled(store, 1)
    assert await store.ledger.settle([settlement(one)]) == [False]
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}


@contract
async def test_settling_twice_within_one_batch_counts_once(store: Store) -> None:
    one = await begun(store, 1)
    assert await store.ledger.settle([settlement(one), settlement(one)]) == [True, False]
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}


@contract
async def test_settling_twice_at_the_same_time_counts_once(store: Store) -> None:
    one = await begun(store, 1)
    written = await asyncio.gather(*(store.ledger.settle([settlement(one)]) for _ in range(3)))
    assert sorted(written) == [[False], [False], [True]]
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}


@contract
async def test_settling_with_another_processor_or_instant_does_nothing_at_all(store: Store) -> None:
    one = await begun(store, 1, "default", AT_US)
    for wrong in (intent(one.delivery, "fallback", AT_US), intent(one.delivery, "default", AT_US + 1)):
        assert await store.ledger.settle([settlement(wrong)]) == [False]
    assert await store.ledger.summary(EVER) == {}
    await store.queue.conclude([failed(one, PaymentEvent.UNKNOWN)])
    assert (await store.ledger.find(id_of(1))).state is PaymentState.PINNED, "the receipt still holds"
    assert await store.ledger.settle([settlement(one)]) == [True]


@contract
async def test_what_was_never_attempted_or_never_accepted_cannot_be_settled(store: Store) -> None:
    await store.queue.accept([payment(1)])
    [delivery] = await store.queue.claim(1)
    assert await store.ledger.settle([settlement(intent(delivery))]) == [False]
    one = await begun(store, 2)
    await store.queue.purge()
    assert await store.ledger.settle([settlement(one)]) == [False]


@contract
async def test_a_pinned_payment_is_settled_with_the_instant_of_its_only_attempt(store: Store) -> None:
    one = await pinned(store, 1, requested_us=AT_US)
    late = Settlement(one, AT_US + 60_000_000, 59_000.0)
    assert await store.ledger.settle([late]) == [True]
    assert await store.ledger.summary(Window(AT_US, AT_US)) == {"default": Totals(1, 1990)}


@contract
async def test_a_charge_is_written_even_when_its_receipt_has_become_stale(store: Store) -> None:
    old = await begun(store, 1)
    await store.restart()
    [found] = await store.queue.orphans()
    assert await store.ledger.settle([settlement(old)]) == [True]
    assert await store.ledger.settle([settlement(found)]) == [False]
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}


@contract
async def test_a_charge_learned_of_late_is_written_though_its_payment_is_a_dead_letter_by_now(store: Store) -> None:
    old = await begun(store, 1)
    await store.restart()
    [found] = await store.queue.orphans()
    await store.queue.conclude([failed(found, PaymentEvent.INVALID)])
    assert await store.ledger.settle([settlement(old)]) == [True]
    assert await store.queue.dead_letters(9) == []
    assert await store.queue.retry_dead_letters(None) == 0
    assert (await store.ledger.find(id_of(1))).state is PaymentState.SETTLED
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}


@contract
async def test_a_dead_letter_without_an_unresolved_attempt_cannot_be_settled(store: Store) -> None:
    dead = await buried(store, 1)
    assert await store.ledger.settle([settlement(dead)]) == [False]
    assert len(await store.queue.dead_letters(9)) == 1


@contract
async def test_a_settled_payment_is_never_delivered_again(store: Store) -> None:
    one = await settled(store, 1)
    await store.queue.release([one.delivery])
    await store.queue.conclude([failed(one, PaymentEvent.REFUSED)])
    for _ in range(2):
        assert await store.queue.claim(9) == []
        assert await store.queue.orphans() == []
        await store.restart()
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}


@contract
async def test_a_batch_settles_what_it_can_and_says_which(store: Store) -> None:
    await store.queue.accept(payments(4))
    intents = [intent(one) for one in await store.queue.claim(4)]
    await store.queue.begin(intents[:3])
    await store.ledger.settle([settlement(intents[1])])
    assert await store.ledger.settle([settlement(one) for one in intents]) == [True, False, True, False]
    assert await store.ledger.summary(EVER) == {"default": Totals(3, 3 * 1990)}


@contract
async def test_both_ends_of_a_window_are_inclusive_to_the_microsecond(store: Store) -> None:
    for number, at_us in enumerate((AT_US - 1, AT_US, AT_US + 1, AT_US + 2), start=1):
        await settled(store, number, requested_us=at_us)

    async def count(first_us: int, last_us: int) -> int:
        return (await store.ledger.summary(Window(first_us, last_us))).get("default", Totals()).count

    assert await count(AT_US, AT_US) == 1
    assert await count(AT_US, AT_US + 1) == 2
    assert await count(AT_US - 1, AT_US + 2) == 4
    assert await count(AT_US + 1, AT_US + 5_000_000) == 2
    assert await count(AT_US - 5_000_000, AT_US) == 2
    assert await count(AT_US + 3, AT_US + 9) == 0
    assert await count(AT_US + 1, AT_US) == 0


@contract
async def test_the_summary_is_by_the_instant_of_the_attempt_and_not_of_its_answer(store: Store) -> None:
    one = await begun(store, 1, requested_us=AT_US)
    await store.ledger.settle([Settlement(one, AT_US + 90_000_000, 90_000.0)])
    assert await store.ledger.summary(Window(AT_US + 1, AT_US + 99_000_000)) == {}
    assert await store.ledger.summary(Window(AT_US, AT_US)) == {"default": Totals(1, 1990)}


@contract
async def test_a_charge_being_written_is_in_a_summary_asked_for_after_it(store: Store) -> None:
    one = await begun(store, 1)
    settling = asyncio.ensure_future(store.ledger.settle([settlement(one)]))
    await asyncio.sleep(0)
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}
    assert await settling == [True]


@contract
async def test_large_sums_are_exact(store: Store) -> None:
    most = 100_000_000_000
    await store.queue.accept([payment(number, most - number) for number in range(1, 51)])
    intents = [intent(one) for one in await store.queue.claim(50)]
    await store.queue.begin(intents)
    await store.ledger.settle([settlement(one) for one in intents])
    assert await store.ledger.summary(EVER) == {"default": Totals(50, 50 * most - 50 * 51 // 2)}


@contract
async def test_the_summary_survives_a_crash_and_a_purge_empties_it(store: Store) -> None:
    await settled(store, 1)
    await store.restart()
    assert await store.ledger.summary(EVER) == {"default": Totals(1, 1990)}
    await store.queue.purge()
    assert await store.ledger.summary(EVER) == {}
    await store.restart()
    assert await store.ledger.summary(EVER) == {}


@contract
async def test_an_unknown_payment_is_not_found(store: Store) -> None:
    assert await store.ledger.find(id_of(1)) is None


@contract
async def test_a_waiting_payment_s_record_says_only_what_has_happened(store: Store) -> None:
    await store.queue.accept([payment(1, 42)])
    assert await store.ledger.find(id_of(1)) == PaymentRecord(
        correlation_id=id_of(1),
        amount_minor=42,
        accepted_us=AT_US + 1_000_000,
        state=PaymentState.QUEUED,
        attempts=0,
        processor=None,
        requested_us=None,
        settled_us=None,
        latency_ms=None,
        reason=None,
        failures=(),
    )


@contract
async def test_a_settled_payment_s_record_says_everything(store: Store) -> None:
    refused = await begun(store, 1)
    await store.queue.conclude([failed(refused, PaymentEvent.REFUSED, "answered 500", AT_US + 5)])
    [delivery] = await store.queue.claim(1)
    second = intent(delivery, "fallback", AT_US + 10)
    await store.queue.begin([second])
    await store.queue.conclude([failed(second, PaymentEvent.UNKNOWN, "no answer", AT_US + 15)])
    await store.ledger.settle([Settlement(second, AT_US + 20, 10.5)])
    expected = PaymentRecord(
        correlation_id=id_of(1),
        amount_minor=1990,
        accepted_us=AT_US + 1_000_000,
        state=PaymentState.SETTLED,
        attempts=2,
        processor="fallback",
        requested_us=AT_US + 10,
        settled_us=AT_US + 20,
        latency_ms=10.5,
        reason=second.reason,
        failures=(
            AttemptRecord(AT_US + 5, "default", "refused", "answered 500", AT_US, 4.2, second.reason),
            AttemptRecord(AT_US + 15, "fallback", "outcome unknown", "no answer", AT_US + 10, 4.2, second.reason),
        ),
    )
    assert await store.ledger.find(id_of(1)) == expected
    await store.restart()
    assert await store.ledger.find(id_of(1)) == expected
