"""The dispatcher as a whole, in virtual time: outcomes and what follows from them."""

from __future__ import annotations

import asyncio

import pytest

from application.virtual_time import virtually
from application.world import (
    CHEAP,
    DEAR,
    World,
    busy,
    failing,
    instant_s,
    invalid,
    lost,
    ok,
    unreachable,
)
from payrouter.domain.breaker import BreakerState
from payrouter.domain.events import PaymentBuried, PaymentsSettled, Recovered, StandingChanged
from payrouter.domain.payment import PaymentState
from payrouter.domain.routing import LeastCost


@virtually
async def test_a_charge_settles_once_at_the_cheapest():
    async with World() as world:
        await world.pay(300)
        await world.until_settled()
        world.check_books()
        assert len(world.cheap.books) == len(world.sent) == 300
        assert sum(event.count for event in world.events.of(PaymentsSettled)) == 300


@virtually
async def test_the_instant_stored_and_sent_is_the_one_it_left_at():
    async with World() as world:
        await asyncio.sleep(7.25)
        [one] = await world.pay()
        await world.until_settled()
        [sent] = world.sends_of(one)
        # The intent is made durable first, which takes some milliseconds.
        assert 0 <= sent.at_s - instant_s(sent.requested_us) < 0.01
        assert (await world.store.find(one)).requested_us == sent.requested_us
        assert world.cheap.books[one][1] == sent.requested_us


@virtually
async def test_a_refused_payment_is_soon_sent_again_as_a_new_attempt_of_its_own_instant():
    async with World() as world:
        world.cheap.script = lambda intent, times: failing() if times == 1 else ok()
        [one] = await world.pay()
        await world.until_settled()
        first, second = world.sends_of(one)
        assert first.processor == second.processor == CHEAP
        assert first.requested_us < second.requested_us
        assert second.at_s - first.at_s < 0.1, "nothing else was waiting: it must not have to wait for a timer"
        assert (await world.store.find(one)).attempts == 2


@virtually
async def test_a_refused_payment_may_go_elsewhere_after_its_patience():
    async with World(patience_s=2.0) as world:
        world.cheap.script = failing()
        [one] = await world.pay()
        await world.until_settled()
        *refused, last = world.sends_of(one)
        assert refused
        assert {sent.processor for sent in refused} == {CHEAP}
        assert last.processor == DEAR
        assert 2.0 <= last.at_s < 2.6
        assert len({sent.requested_us for sent in world.sent}) == len(world.sent)
        world.check_books()


@virtually
async def test_a_refused_payment_keeps_its_place_in_the_queue():
    async with World(most=1) as world:
        refused = []

        def the_first_once(intent, times):
            if not refused:
                refused.append(intent.delivery.correlation_id)
                return failing()
            return ok()

        world.cheap.script = the_first_once
        ids = await world.pay(20)
        await world.until_settled()
        order = [sent.correlation_id for sent in world.sent]
        assert order[0] == ids[0] == refused[0]
        assert ids[0] in order[1:4], "back in front, not at the end"


@pytest.mark.parametrize("later", [failing, busy, unreachable, lost], ids=lambda fate: fate.__name__)
@virtually
async def test_an_unknown_outcome_pins_whatever_the_repeats_are_answered(later):
    async with World(patience_s=1.0) as world:
        # Asleep over there for 20 s, then charged; until then every repeat is turned away.
        world.cheap.script = lambda intent, times: (
            lost(after_s=1.0, charged_s=20.0) if times == 1 else (later() if times < 12 else ok())
        )
        [one] = await world.pay()
        await world.until_settled(within_s=120)
        sends = world.sends_of(one)
        if later is lost:
            # A repeat without an answer lets us look at the processor's record, which shows the charge once it is made.
            assert 2 <= len(sends) <= 12
        else:
            assert len(sends) == 12
        assert {(sent.processor, sent.requested_us) for sent in sends} == {(CHEAP, sends[0].requested_us)}
        assert one in world.cheap.books
        assert not world.dear.books
        world.check_books()


@virtually
async def test_an_answer_of_422_settles_and_is_no_failure_of_the_processor():
    async with World() as world:
        world.cheap.script = lambda intent, times: lost() if times == 1 else ok()
        ids = await world.pay(2)
        await world.until_settled()
        assert world.cheap.duplicates == 2
        assert {len(world.sends_of(one)) for one in ids} == {2}
        assert world.boards[CHEAP].breaker.failures == 0
        assert world.boards[CHEAP].breaker.state(asyncio.get_running_loop().time()) is BreakerState.CLOSED
        world.check_books()


@virtually
async def test_an_invalid_payment_is_a_dead_letter_with_its_reason_until_it_is_retried():
    async with World() as world:
        world.cheap.script = invalid()
        [one] = await world.pay()
        await world.until(lambda: world.states()[PaymentState.DEAD_LETTER] == 1)
        await asyncio.sleep(600)
        assert len(world.sent) == 1
        [letter] = await world.store.dead_letters(10)
        assert (letter.correlation_id, letter.reason, letter.pinned_to) == (one, "answered 400: no", None)
        assert [event.reason for event in world.events.of(PaymentBuried)] == ["answered 400: no"]
        world.cheap.script = ok()
        assert await world.store.retry_dead_letters(None) == 1
        await world.until_settled(within_s=5)
        first, second = world.sent
        assert first.requested_us < second.requested_us
        world.check_books()


@virtually
async def test_a_dead_letter_that_is_pinned_repeats_its_very_attempt_when_retried():
    async with World() as world:
        world.cheap.script = lambda intent, times: lost(charged_s=None) if times == 1 else invalid()
        [one] = await world.pay()
        await world.until(lambda: world.states()[PaymentState.DEAD_LETTER] == 1)
        await asyncio.sleep(60)
        assert len(world.sent) == 2
        world.cheap.script = ok()
        await world.store.retry_dead_letters([one])
        await world.until_settled(within_s=5)
        assert len({(sent.processor, sent.requested_us) for sent in world.sends_of(one)}) == 1
        world.check_books()


# -- processors that come and go


@virtually
async def test_a_processor_that_is_down_is_waited_for_and_then_passed_over():
    async with World(patience_s=5.0) as world:
        world.cheap.script = unreachable()
        await world.pay(50)
        await world.until(lambda: len(world.dear.books) > 0)
        assert 5.0 <= asyncio.get_running_loop().time() < 5.6
        await world.until_settled()
        assert len(world.dear.books) == 50
        assert len(world.sends_to(CHEAP)) < 50, "one probe at a time, not everybody"


@virtually
async def test_the_cheapest_gets_everything_when_it_is_back_within_patience():
    async with World(patience_s=10.0) as world:
        world.cheap.script = failing()
        await world.pay(100)
        await asyncio.sleep(6.0)
        world.cheap.script = ok()
        await world.until_settled(within_s=3.0)
        assert len(world.cheap.books) == 100
        assert (CHEAP, "down") in [(one.processor, one.after) for one in world.events.of(StandingChanged)]


@virtually
async def test_after_an_expensive_time_payments_go_to_the_cheapest_again():
    async with World(patience_s=1.0) as world:
        world.cheap.script = failing()
        for _ in range(60):
            await world.pay(2)
            await asyncio.sleep(0.1)
        expensive = len(world.dear.books)
        assert expensive > 60
        world.cheap.script = ok()
        await asyncio.sleep(2.5)
        before = len(world.dear.books)
        await world.pay(100)
        await world.until_settled()
        assert len(world.dear.books) == before
        world.check_books()


@virtually
async def test_in_an_outage_older_than_patience_nobody_waits_for_its_end():
    async with World(patience_s=3.0) as world:
        world.cheap.script = failing()
        for _ in range(35):
            await world.pay(5)
            await asyncio.sleep(0.1)
        assert len(world.dear.books) > 0.9 * 175, "when it was 3 s old, everything that had waited went"
        for _ in range(50):
            await world.pay(5)
            await asyncio.sleep(0.1)
            assert len(world.store._waiting()) <= 5, "all but the one that finds out"
        world.cheap.script = ok()
        await asyncio.sleep(1.5)
        before = len(world.dear.books)
        await world.pay(50)
        await world.until_settled()
        assert len(world.dear.books) == before
        world.check_books()


@virtually
async def test_a_processor_that_stops_answering_has_few_payments_stuck():
    async with World(patience_s=5.0) as world:
        for _ in range(100):
            await world.pay(2)
            await asyncio.sleep(0.01)
        world.cheap.script = ok(after_s=4.0)
        begun_s = asyncio.get_running_loop().time()
        for _ in range(200):
            await world.pay(2)
            await asyncio.sleep(0.01)
        stuck = [sent for sent in world.sends_to(CHEAP) if sent.at_s >= begun_s]
        print("stuck of 400 in two seconds:", len(stuck))
        assert len(stuck) < 0.15 * 400, "what left until it was missed, and then probes"
        await world.until_settled()
        world.check_books()


@virtually
async def test_where_all_are_slow_a_payment_waits_for_its_last_resort():
    async with World(policy=LeastCost(1.0, last_resort_s=6.0)) as world:
        world.cheap.script = world.dear.script = ok(after_s=2.0)
        await world.pay(3)
        await asyncio.sleep(5.0)
        ids = await world.pay(400)
        await asyncio.sleep(5.9)
        sent = {one.correlation_id for one in world.sent}
        assert len(sent.intersection(ids)) < 60, "only probes, a few a second"
        await asyncio.sleep(30.0)
        assert {one.correlation_id for one in world.sent}.issuperset(ids)
        await world.until_settled()


@virtually
async def test_a_slow_processor_is_passed_over_at_once():
    async with World(patience_s=10.0) as world:
        world.cheap.script = ok(after_s=3.0)
        await world.pay(5)
        await asyncio.sleep(1.5)
        [one] = await world.pay()
        await asyncio.sleep(0.2)
        assert one in world.dear.books or world.sends_of(one)[0].processor == CHEAP  # that one was the probe
        ids = await world.pay(20)
        await asyncio.sleep(0.2)
        assert set(ids) <= world.dear.books.keys()


@virtually
async def test_with_everything_down_payments_wait_and_are_drained_when_a_processor_is_back():
    async with World(patience_s=1.0) as world:
        world.cheap.script = unreachable()
        world.dear.script = failing()
        await world.pay(500)
        await asyncio.sleep(120)
        assert not world.cheap.books
        assert not world.dear.books
        probes = [sent for sent in world.sent if sent.at_s > 60]
        assert 10 < len(probes) < 200, "somebody is asked every second or two, not more"
        world.dear.script = ok()
        await world.until_settled(within_s=15)
        world.check_books()
        assert world.states() == {PaymentState.SETTLED: 500}


@virtually
async def test_a_processor_that_is_always_busy_is_asked_modestly():
    async with World(patience_s=2.0) as world:
        world.cheap.script = world.dear.script = busy()
        await world.pay(50)
        await asyncio.sleep(30)
        per_second = [sum(1 for sent in world.sent if int(sent.at_s) == second) for second in range(10, 30)]
        print("sends per second to two processors answering 429:", per_second)
        assert all(in_flight <= 1 for in_flight in (sent.in_flight for sent in world.sent if sent.at_s > 10))
        world.cheap.script = ok()
        await world.until_settled(within_s=30)
        world.check_books()


@virtually
async def test_no_processor_gets_more_at_once_than_its_limit():
    async with World(most=24) as world:
        world.cheap.script = ok(after_s=0.2)
        world.dear.script = ok(after_s=0.3)
        for _ in range(20):
            await world.pay(60)
            await asyncio.sleep(0.1)
        await world.until_settled()
        assert max(sent.in_flight for sent in world.sent) == 23
        assert all(sent.in_flight < sent.limit for sent in world.sent)
        assert world.boards[CHEAP].limiter.in_flight == world.boards[DEAR].limiter.in_flight == 0


# -- answers that never come


@virtually
async def test_few_payments_are_pinned_to_a_processor_that_hangs():
    async with World(patience_s=5.0) as world:
        world.cheap.script = lost(after_s=15.0, charged_s=None)
        most = 0
        for _ in range(600):
            await world.pay(2)
            await asyncio.sleep(0.1)
            most = max(most, world.pinned())
        print("most pinned to a processor that hangs:", most)
        assert most <= 80, "what was in flight when it began, and then a probe now and then"
        assert len(world.dear.books) > 0.85 * 1200
        world.cheap.script = ok()
        await world.until_settled()
        world.check_books()


@virtually
async def test_payments_pinned_to_a_processor_that_swallows_every_first_answer_stay_few():
    async with World(patience_s=5.0, most=64) as world:
        # It charges, and says so only when asked again: repeats succeed, so the breaker closes again and again.
        world.cheap.script = lambda intent, times: lost() if times == 1 else ok()
        pinned = []
        for _ in range(120):
            await world.pay(8)
            await asyncio.sleep(0.5)
            pinned.append(world.pinned())
        print("pinned after 10, 20, … 60 s:", pinned[19::20], "most", max(pinned))
        assert max(pinned) < 2 * 64
        world.cheap.script = ok()
        await world.until_settled(within_s=300)
        world.check_books()


@virtually
async def test_the_probe_of_an_open_breaker_is_the_pinned_payment():
    async with World(patience_s=60.0) as world:
        world.cheap.script = lost(after_s=0.1, charged_s=None)
        pinned = await world.pay(3)
        await world.until(lambda: world.pinned() == 3)
        await world.pay(100)
        await asyncio.sleep(30)
        later = [sent for sent in world.sent if sent.at_s > 1.0]
        assert later
        assert {sent.correlation_id for sent in later} <= set(pinned)


# -- starting, stopping, emptying


@virtually
async def test_attempts_of_a_dead_predecessor_are_repeated_first_and_as_they_were():
    world = World(patience_s=1.0)
    world.start()
    world.cheap.script = ok(after_s=0.5)
    ids = await world.pay(10)
    await asyncio.sleep(0.3)
    assert len(world.sent) == 10
    await world.restart()
    await world.until_settled()
    for one in ids:
        first, repeated = world.sends_of(one)
        assert (first.processor, first.requested_us) == (repeated.processor, repeated.requested_us)
    assert world.events.of(Recovered)[-1] == Recovered(standing_intents=10, waiting=0)
    world.check_books()
    await world.die()


@pytest.mark.parametrize("answer", [failing, busy, unreachable], ids=lambda fate: fate.__name__)
@virtually
async def test_an_attempt_a_dead_predecessor_left_stays_pinned_however_it_is_refused(answer):
    world = World(patience_s=1.0)
    world.start()
    world.cheap.script = lambda intent, times: ok(after_s=30.0) if times == 1 else answer()
    [one] = await world.pay()
    await asyncio.sleep(0.5)
    await world.restart()
    # The first attempt still sleeps over there while the repeats are refused; after 30 s it is charged.
    await asyncio.sleep(25.0)
    await world.restart()
    await asyncio.sleep(25.0)
    world.cheap.script = ok()
    await world.until_settled()
    assert {(sent.processor, sent.requested_us) for sent in world.sends_of(one)} == {
        (CHEAP, world.sends_of(one)[0].requested_us)
    }
    world.check_books()
    await world.die()


@virtually
async def test_a_drain_lets_what_is_in_flight_finish_and_claims_nothing_more():
    async with World(most=4) as world:
        world.cheap.script = ok(after_s=0.5)
        await world.pay(50)
        await asyncio.sleep(0.2)
        assert await world.dispatcher.drain(5.0) is True
        assert asyncio.get_running_loop().time() < 1.0
        assert world.states() == {PaymentState.SETTLED: 4, PaymentState.QUEUED: 46}
        await asyncio.sleep(10)
        assert len(world.sent) == 4
        world.check_books()


@virtually
async def test_a_drain_gives_up_when_its_time_is_over():
    async with World() as world:
        world.cheap.script = ok(after_s=60.0)
        await world.pay(3)
        await asyncio.sleep(0.2)
        assert await world.dispatcher.drain(2.0) is False
        assert 2.2 <= asyncio.get_running_loop().time() < 2.3


@virtually
async def test_draining_twice_takes_no_longer_than_once():
    async with World() as world:
        world.cheap.script = ok(after_s=60.0)
        await world.pay(3)
        await asyncio.sleep(0.2)
        await asyncio.gather(world.dispatcher.drain(2.0), world.dispatcher.drain(2.0))
        assert await world.dispatcher.drain(2.0) is False
        assert asyncio.get_running_loop().time() < 2.3


@virtually
async def test_purged_payments_are_not_repeated():
    async with World() as world:
        world.cheap.script = lost(after_s=2.0, charged_s=None)
        [pinned] = await world.pay()
        await world.until(lambda: world.pinned() == 1)
        world.cheap.script = lost(after_s=5.0, charged_s=None)
        in_flight = await world.pay(2)
        await world.until(lambda: len(world.sends_of(pinned)) == 2 and len(world.sends_of(in_flight[0])) == 1)
        await world.store.purge()
        world.dispatcher.forget()
        purged_s = asyncio.get_running_loop().time()
        world.cheap.script = ok()
        await asyncio.sleep(60)
        assert [sent for sent in world.sent if sent.at_s > purged_s] == []
        await world.pay(5)
        await world.until_settled()
        assert len(world.cheap.books) == 5


@virtually
async def test_an_attempt_at_a_processor_no_longer_configured_stands_and_harms_nothing():
    world = World()
    world.start()
    world.cheap.script = lost(after_s=30.0, charged_s=None)
    [one] = await world.pay()
    await asyncio.sleep(0.5)
    await world.die()
    world.configured = world.configured[1:]
    world.start()
    await world.pay(10)
    await world.until(lambda: len(world.dear.books) == 10)
    assert (await world.store.find(one)).processor == CHEAP
    assert len(world.sends_of(one)) == 1
    await world.die()


@virtually
async def test_a_processor_slower_than_our_timeout_proves_the_charge_by_its_record():
    async with World() as world:
        # Charged long after we gave up, and no repeat is ever answered in time either.
        world.cheap.script = lambda intent, times: lost(after_s=1.0, charged_s=8.0)
        [one] = await world.pay()
        await world.until_settled()
        assert len(world.cheap.books) == 1
        assert not world.dear.books
        assert {sent.processor for sent in world.sends_of(one)} == {CHEAP}
        assert (await world.store.find(one)).state is PaymentState.SETTLED
        world.check_books()


@virtually
async def test_a_record_that_is_missing_proves_nothing():
    async with World() as world:
        world.cheap.script = lambda intent, times: lost(after_s=1.0, charged_s=None)
        [one] = await world.pay()
        await asyncio.sleep(60)
        assert (await world.store.find(one)).state is PaymentState.PINNED
        assert {sent.processor for sent in world.sends_of(one)} == {CHEAP}
        world.cheap.script = ok()
        await world.until_settled()
        world.check_books()
