"""A backlog larger than what RAM holds of it: in order, once each, whatever happens meanwhile; over every engine."""

from __future__ import annotations

import asyncio
import random

import pytest

from contracts.stores import (
    Store,
    buried,
    contract,
    contract_with,
    failed,
    ids,
    intent,
    numbered,
    payment,
    payments,
    settlement,
)
from payrouter.domain.payment import PaymentEvent
from payrouter.domain.window import Window
from payrouter.ports.queue import Acceptance


@pytest.fixture(autouse=True)
def tiny_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payrouter.adapters.sqlite.queue.HEAD", 8)
    monkeypatch.setattr("payrouter.adapters.sqlite.queue._REFILL", 4)


async def claim_all(store: Store, at_once: int = 3) -> list[str]:
    claimed: list[str] = []
    while deliveries := await store.queue.claim(at_once):
        claimed += ids(deliveries)
    return claimed


@contract
async def test_a_large_backlog_accepted_at_once_comes_out_in_order(store: Store) -> None:
    await store.queue.accept(payments(100))
    assert (await store.queue.backlog()).waiting == 100
    assert await claim_all(store) == numbered(*range(1, 101))


@contract
async def test_a_large_backlog_accepted_bit_by_bit_comes_out_in_order(store: Store) -> None:
    for number in range(1, 101):
        assert await store.queue.accept([payment(number)]) == [Acceptance.ACCEPTED]
    assert await claim_all(store) == numbered(*range(1, 101))


@contract
async def test_a_large_backlog_survives_a_crash_in_order(store: Store) -> None:
    await store.queue.accept(payments(60))
    await store.queue.claim(10)
    await store.restart()
    await store.queue.accept([payment(number) for number in range(61, 71)])
    assert (await store.queue.backlog()).waiting == 70
    assert await claim_all(store) == numbered(*range(1, 71))


@contract
async def test_what_comes_in_while_the_backlog_is_worked_off_comes_last(store: Store) -> None:
    await store.queue.accept(payments(30))
    claimed: list[str] = []
    for number in range(31, 61):
        claimed += ids(await store.queue.claim(2))
        await store.queue.accept([payment(number), payment(number - 30)])
    claimed += await claim_all(store)
    assert claimed == numbered(*range(1, 61))


@contract
async def test_refused_payments_come_before_the_backlog_behind_them(store: Store) -> None:
    await store.queue.accept(payments(40))
    first = await store.queue.claim(6)
    await store.queue.begin([intent(one) for one in first])
    assert ids(await store.queue.claim(6)) == numbered(*range(7, 13))
    await store.queue.conclude([failed(intent(one), PaymentEvent.REFUSED) for one in reversed(first)])
    assert await claim_all(store) == numbered(*range(1, 7), *range(13, 41))


@contract
async def test_a_dead_letter_sent_again_comes_before_the_backlog_behind_it(store: Store) -> None:
    await buried(store, 1)
    await store.queue.accept([payment(number) for number in range(2, 41)])
    assert ids(await store.queue.claim(5)) == numbered(2, 3, 4, 5, 6)
    assert await store.queue.retry_dead_letters(None) == 1
    await store.queue.orphans()
    assert (await store.queue.backlog()).waiting == 40
    assert await claim_all(store) == numbered(1, *range(7, 41))


@contract
async def test_a_dead_letter_sent_again_comes_after_the_backlog_before_it(store: Store) -> None:
    await store.queue.accept(payments(12))
    claimed = await store.queue.claim(12)
    dead = intent(claimed.pop(3))
    await store.queue.begin([dead])
    await store.queue.conclude([failed(dead, PaymentEvent.INVALID)])
    await store.restart()
    assert await store.queue.orphans() == []
    assert ids(await store.queue.claim(1)) == numbered(1)
    assert await store.queue.retry_dead_letters(None) == 1
    assert await store.queue.orphans() == []
    assert await claim_all(store) == numbered(*range(2, 13))


@contract
async def test_dead_letters_sent_again_all_over_a_backlog_come_out_once_and_in_order(store: Store) -> None:
    await store.queue.accept(payments(60))
    claimed = await store.queue.claim(60)
    await store.queue.begin([intent(one) for one in claimed])
    await store.queue.conclude(
        [
            failed(intent(one), PaymentEvent.INVALID if index % 3 else PaymentEvent.REFUSED)
            for index, one in enumerate(claimed)
        ]
    )
    await store.restart()
    assert await store.queue.orphans() == []
    assert ids(await store.queue.claim(3)) == numbered(1, 4, 7)
    assert await store.queue.retry_dead_letters(None) == 40
    for _ in range(2):
        assert await store.queue.orphans() == []
        assert (await store.queue.backlog()).waiting == 60
    assert await claim_all(store) == numbered(*(number for number in range(1, 61) if number not in (1, 4, 7)))


@contract_with(limit=50)
async def test_the_bound_holds_for_a_backlog_that_ram_does_not(store: Store) -> None:
    results = await store.queue.accept(payments(60))
    assert results.count(Acceptance.ACCEPTED) == 50
    assert results.count(Acceptance.FULL) == 10
    assert await store.queue.accept(payments(50)) == [Acceptance.DUPLICATE] * 50
    assert await claim_all(store) == numbered(*range(1, 51))


@contract
async def test_hundreds_of_payments_through_accepts_refusals_and_crashes_are_each_settled_once(
    store: Store,
) -> None:
    chance, next_number, settled = random.Random(7), 1, 0
    for turn in range(200):
        fresh = [payment(number) for number in range(next_number, next_number + chance.randrange(5))]
        next_number += len(fresh)
        deliveries = await store.queue.claim(chance.randrange(6))
        intents = [intent(one, requested_us=turn) for one in deliveries]
        accepted, written = await asyncio.gather(store.queue.accept(fresh), store.queue.begin(intents))
        assert set(accepted) <= {Acceptance.ACCEPTED}
        assert all(written)
        refused = [one for one in intents if chance.random() < 0.4]
        charged = [one for one in intents if one not in refused]
        done, _ = await asyncio.gather(
            store.ledger.settle([settlement(one) for one in charged]),
            store.queue.conclude([failed(one, PaymentEvent.REFUSED) for one in refused]),
        )
        assert all(done)
        settled += len(done)
        if turn % 50 == 49:
            await store.restart()
            assert await store.queue.orphans() == []
        assert (await store.queue.backlog()).waiting == next_number - 1 - settled
    assert len(set(await claim_all(store))) == next_number - 1 - settled
    assert (await store.ledger.summary(Window()))["default"].count == settled
