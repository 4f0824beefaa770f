"""The dispatcher while the store cannot make anything durable: nothing new leaves, nothing received is dropped."""

from __future__ import annotations

import asyncio

import pytest

from application.virtual_time import virtually
from application.world import CHEAP, World, failing, invalid, lost, ok
from payrouter.application import dispatch
from payrouter.domain.events import StoreFailed
from payrouter.domain.payment import PaymentState

WRITES = {"begin", "conclude", "settle"}


@virtually
async def test_a_charge_that_cannot_be_written_is_written_later_and_never_sent_again():
    async with World() as world:
        world.cheap.script = ok(after_s=0.2)
        await world.pay(20)
        await world.until(lambda: len(world.sent) == 20)
        world.store.away = set(WRITES)
        await asyncio.sleep(30)
        assert len(world.cheap.books) == 20
        assert not world.states()[PaymentState.SETTLED]
        world.store.away.clear()
        await world.until_settled(within_s=0.5)
        assert len(world.sent) == 20
        assert {event.doing for event in world.events.of(StoreFailed)} == {"settling"}
        world.check_books()


@virtually
async def test_no_attempt_leaves_without_a_durable_intent():
    async with World() as world:
        world.store.away = {"begin"}
        await world.pay(50)
        await asyncio.sleep(20)
        assert world.sent == []
        assert world.states() == {PaymentState.QUEUED: 50}
        assert world.boards[CHEAP].limiter.in_flight == 0
        world.store.away.clear()
        await world.until_settled(within_s=2)
        assert len(world.sent) == 50
        world.check_books()


@virtually
async def test_a_probe_whose_intent_cannot_be_written_gives_its_place_back():
    async with World(patience_s=60.0) as world:
        world.cheap.script = failing()
        await world.pay(5)
        await asyncio.sleep(3.0)
        world.store.away = {"begin"}
        await asyncio.sleep(10.0)
        world.store.away.clear()
        world.cheap.script = ok()
        await world.until_settled(within_s=5)
        assert len(world.cheap.books) == 5


@pytest.mark.parametrize(
    ("fate", "state"),
    [(failing, PaymentState.QUEUED), (lost, PaymentState.PINNED), (invalid, PaymentState.DEAD_LETTER)],
    ids=["refused", "unknown", "invalid"],
)
@virtually
async def test_a_failed_attempt_that_cannot_be_written_is_written_later(fate, state):
    async with World(patience_s=600.0) as world:
        world.cheap.script = fate(after_s=0.1)
        [one] = await world.pay()
        await world.until(lambda: len(world.sent) == 1)
        world.store.away = set(WRITES)
        await asyncio.sleep(30)
        assert world.states() == {PaymentState.ATTEMPTING: 1}
        if state is not PaymentState.PINNED:
            assert len(world.sent) == 1, "nothing may be sent before this outcome is written"
        assert {(sent.processor, sent.requested_us) for sent in world.sent} == {(CHEAP, world.sent[0].requested_us)}
        world.store.away.clear()
        await world.until(lambda: (world.store._rows[one].failures or [None])[0] is not None, within_s=0.6)
        await world.until(lambda: world.states() == {state: 1}, within_s=0.6)


@virtually
async def test_outcomes_that_cannot_be_written_are_bounded(monkeypatch):
    monkeypatch.setattr(dispatch, "MOST_UNRECORDED", 200)
    async with World() as world:
        world.store.away = {"settle"}
        most = 0
        for _ in range(30):
            await world.pay(20)
            await asyncio.sleep(0.05)
            most = max(most, world.dispatcher._recorder.unrecorded)
        await asyncio.sleep(10)
        print("most unrecorded outcomes:", most)
        assert 200 <= most <= 200 + world.boards[CHEAP].limiter.limit
        assert len(world.cheap.books) == len(world.sent) < 600
        world.store.away.clear()
        await world.until_settled(within_s=30)
        assert len(world.cheap.books) == len(world.sent) == 600


@virtually
async def test_a_flush_returns_once_every_outcome_received_is_in_the_books():
    async with World() as world:
        await world.pay(40)
        await world.until(lambda: len(world.cheap.books) == 40)
        await asyncio.sleep(0.001)
        await world.dispatcher.flush(5.0)
        assert world.all_settled()


@virtually
async def test_a_flush_gives_up_when_the_store_is_away():
    async with World() as world:
        world.store.away = {"settle"}
        await world.pay(3)
        await asyncio.sleep(0.1)
        before_s = asyncio.get_running_loop().time()
        await world.dispatcher.flush(0.5)
        assert asyncio.get_running_loop().time() - before_s == pytest.approx(0.5, abs=0.01)


@virtually
async def test_a_router_that_dies_with_unwritten_charges_learns_of_them_again():
    world = World()
    world.start()
    world.cheap.script = ok(after_s=0.1)
    ids = await world.pay(30)
    await world.until(lambda: len(world.sent) == 30)
    world.store.away = set(WRITES)
    await asyncio.sleep(5)
    assert len(world.cheap.books) == 30
    await world.die()
    world.store.away.clear()
    world.start()
    await world.until_settled(within_s=10)
    for one in ids:
        first, repeated = world.sends_of(one)
        assert (first.processor, first.requested_us) == (repeated.processor, repeated.requested_us)
    assert world.cheap.duplicates == 30
    world.check_books()
    await world.die()


@virtually
async def test_a_drain_waits_for_outcomes_that_are_not_written_yet():
    async with World() as world:
        world.cheap.script = ok(after_s=0.05)
        await world.pay(5)
        await world.until(lambda: len(world.sent) == 5)
        world.store.away = {"settle"}
        await asyncio.sleep(1)
        asyncio.get_running_loop().call_later(1.0, world.store.away.clear)
        assert await world.dispatcher.drain(5.0) is True
        assert world.all_settled()
