"""Requests whose answers are lost: done, not done, or done later than everything that followed. Nothing is stuck."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from contracts.stores import AT_US, failed, id_of, ids, intent, numbered, payment, settlement
from integration.cutting_proxy import Cut, cutting_proxy
from integration.queue_nodes import A, Q, Rows, Work, node, nothing_left, places, waiting
from integration.raw_http import scenario
from payrouter.adapters.redis import membership as membership_module
from payrouter.adapters.redis import queue as queue_module
from payrouter.adapters.redis import recovery as recovery_module
from payrouter.adapters.redis.departures import _SETTLED
from payrouter.domain.errors import StoreUnavailable, StoreUncertain
from payrouter.domain.payment import PaymentEvent
from payrouter.ports.queue import Acceptance

REFUSED, UNKNOWN, INVALID = PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID
SCRIPTS = {
    "accept": queue_module._ACCEPT,
    "claim": queue_module._CLAIM,
    "begin": queue_module._BEGIN,
    "conclude": queue_module._CONCLUDE,
    "release": queue_module._RELEASE,
    "orphans": recovery_module._ORPHANS,
    "settled": _SETTLED,
    "leave": membership_module._LEAVE,
}
DISPATCHERS_SCRIPTS = [
    *(script for name, script in SCRIPTS.items() if name not in {"accept", "leave"}),
    *(membership_module._JOIN, membership_module._BEAT, membership_module._RENEW),
    *(recovery_module._HELD, recovery_module._GIVE_UP),
]
DONE, LOST, LATE = Cut.DONE, Cut.LOST, Cut.LATE
either = pytest.mark.parametrize("cut", [DONE, LOST])


@pytest.fixture
def cut_off(redis_server, redis_prefix):
    """A dispatcher behind a proxy that loses answers, another one that is not, and the proxy."""

    @asynccontextmanager
    async def opened():
        rows = Rows()
        async with (
            cutting_proxy(redis_server) as proxy,
            node(proxy.url, redis_prefix, rows) as one,
            node(redis_server.url, redis_prefix, rows) as other,
        ):
            for script in SCRIPTS.values():
                # Else the request whose answer is lost would only learn that Redis does not know the script.
                await other.link.call("SCRIPT", "LOAD", script.source)
            await waiting(other, 3)
            yield one, other, proxy

    return opened


async def reconnected(one):
    """Wait until the link is up again, and make up for what was missed, as `keep` does."""
    while True:
        try:
            await one.queue._keep_once()
        except StoreUnavailable:
            await asyncio.sleep(0.005)
        else:
            return


@either
@scenario
async def test_an_accepted_payment_whose_answer_was_lost_is_known_when_it_is_repeated(cut_off, cut):
    async with cut_off() as (one, other, proxy):
        proxy.next(SCRIPTS["accept"].sha1, cut)
        with pytest.raises(StoreUncertain):
            await one.queue.accept([payment(4)])
        await reconnected(one)
        assert await one.queue.accept([payment(4)]) == [Acceptance.DUPLICATE if cut is DONE else Acceptance.ACCEPTED]
        assert ids(await other.queue.claim(9)) == numbered(1, 2, 3, 4)


@either
@scenario
async def test_deliveries_whose_answer_was_lost_are_given_up(cut_off, cut):
    async with cut_off() as (one, other, proxy):
        proxy.next(SCRIPTS["claim"].sha1, cut)
        with pytest.raises(StoreUncertain):
            await one.queue.claim(2)
        await reconnected(one)
        assert {state for state, _ in (await places(one.link, one.keys)).values()} == {Q}
        assert ids(await other.queue.claim(9)) == numbered(1, 2, 3)


@scenario
async def test_deliveries_that_could_not_be_given_up_are_given_up_later(cut_off, monkeypatch):
    async with cut_off() as (one, other, proxy):
        proxy.next(SCRIPTS["claim"].sha1)
        with pytest.raises(StoreUncertain):
            await one.queue.claim(2)
        evaluate, gone = one.link.eval, []

        async def away_when_giving_up(script, names, args):
            if script is recovery_module._GIVE_UP and not gone:
                gone.append(one.link._pipe.end("the test hangs up"))
            return await evaluate(script, names, args)

        monkeypatch.setattr(one.link, "eval", away_when_giving_up)
        await reconnected(one)
        assert gone
        assert ids(await other.queue.claim(9)) == numbered(1, 2, 3)


@either
@scenario
async def test_intents_whose_answer_was_lost_are_taken_back_when_they_are_released(cut_off, cut):
    async with cut_off() as (one, other, proxy):
        deliveries = await one.queue.claim(2)
        proxy.next(SCRIPTS["begin"].sha1, cut)
        with pytest.raises(StoreUncertain):
            await one.queue.begin([intent(each) for each in deliveries])
        await one.queue.release(deliveries)
        await reconnected(one)
        assert (await places(one.link, one.keys))[id_of(1)] == (Q, "again")
        assert await other.queue.orphans() == []
        again = await other.queue.claim(9)
        assert ids(again) == numbered(1, 2, 3)
        assert [each.attempts for each in again] == [0, 0, 0]


@either
@scenario
async def test_intents_whose_answer_was_lost_may_be_written_again_as_they_were(cut_off, cut):
    async with cut_off() as (one, _, proxy):
        intents = [intent(each) for each in await one.queue.claim(2)]
        proxy.next(SCRIPTS["begin"].sha1, cut)
        with pytest.raises(StoreUncertain):
            await one.queue.begin(intents)
        await reconnected(one)
        assert await one.queue.begin(intents) == [True, True]
        assert await one.ledger.settle([settlement(each) for each in intents]) == [True, True]


@scenario
async def test_an_intent_that_was_written_unheard_and_followed_by_another_is_adopted(cut_off):
    async with cut_off() as (one, other, proxy):
        [delivery] = await one.queue.claim(1)
        proxy.next(SCRIPTS["begin"].sha1)
        with pytest.raises(StoreUncertain):
            await one.queue.begin([intent(delivery, "default", AT_US)])
        await reconnected(one)
        assert await one.queue.begin([intent(delivery, "fallback", AT_US + 1)]) == [False]
        await reconnected(one)
        [adopted] = await other.queue.orphans()
        assert (adopted.processor, adopted.requested_us) == ("default", AT_US)


@either
@pytest.mark.parametrize("event", [REFUSED, UNKNOWN, INVALID])
@scenario
async def test_a_failure_whose_answer_was_lost_is_written_once_when_it_is_repeated(cut_off, cut, event):
    async with cut_off() as (one, other, proxy):
        [sent] = await one.begun()
        proxy.next(SCRIPTS["conclude"].sha1, cut)
        with pytest.raises(StoreUncertain):
            await one.queue.conclude([failed(sent, event)])
        await reconnected(one)
        await one.queue.conclude([failed(sent, event)])
        found = await one.queue.find(id_of(1))
        assert (found.attempts, len(found.failures)) == (1, 1)
        assert one.held([sent.delivery]) == [event is UNKNOWN]
        assert ids(await other.queue.claim(9)) == (numbered(1, 2, 3) if event is REFUSED else numbered(2, 3))


@scenario
async def test_a_refusal_repeated_after_another_dispatcher_went_on_with_the_payment_changes_nothing(cut_off):
    async with cut_off() as (one, other, proxy):
        [sent] = await one.begun()
        proxy.next(SCRIPTS["conclude"].sha1)
        with pytest.raises(StoreUncertain):
            await one.queue.conclude([failed(sent, REFUSED)])
        [theirs] = await other.begun(processor="fallback", requested_us=AT_US)
        await reconnected(one)
        await one.queue.conclude([failed(sent, REFUSED)])
        assert (await places(one.link, one.keys))[id_of(1)] == (A, other.queue.membership.consumer)
        assert await other.ledger.settle([settlement(theirs)]) == [True]


@scenario
async def test_a_refusal_repeated_while_we_claim_the_payment_again_does_not_let_go_of_it(cut_off):
    async with cut_off() as (one, _, proxy):
        [sent] = await one.begun()
        proxy.next(SCRIPTS["conclude"].sha1)
        with pytest.raises(StoreUncertain):
            await one.queue.conclude([failed(sent, REFUSED)])
        while not one.link.up:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
        [again], _ = await asyncio.gather(one.queue.claim(1), one.queue.conclude([failed(sent, REFUSED)]))
        assert again.correlation_id == id_of(1)
        assert one.held([again]) == [True]
        assert await one.queue.begin([intent(again, "fallback")]) == [True]


@pytest.mark.parametrize("meanwhile", [False, True], ids=["", "after another one tried"])
@scenario
async def test_a_payment_refused_unheard_and_then_delivered_unheard_is_given_up(cut_off, meanwhile):
    async with cut_off() as (one, other, proxy):
        [sent] = await one.begun()
        proxy.next(SCRIPTS["conclude"].sha1)
        with pytest.raises(StoreUncertain):
            await one.queue.conclude([failed(sent, REFUSED)])
        if meanwhile:
            await other.queue.conclude([failed(each, REFUSED) for each in await other.begun()])
        await reconnected(one)
        proxy.next(SCRIPTS["claim"].sha1)
        with pytest.raises(StoreUncertain):
            await one.queue.claim(1)
        await reconnected(one)
        await one.queue.conclude([failed(sent, REFUSED)])
        await reconnected(one)
        assert ids(await other.queue.claim(9)) == numbered(1, 2, 3)


@scenario
async def test_a_call_that_waited_while_its_dispatcher_was_taken_over_has_no_effect(cut_off):
    async with cut_off() as (one, other, proxy):
        [delivery] = await one.queue.claim(1)
        proxy.next(SCRIPTS["claim"].sha1, LOST)
        with pytest.raises(StoreUncertain):
            await one.queue.claim(1)
        while not one.link.up:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
        async with one.queue.membership._renewing:
            begun = asyncio.ensure_future(one.queue.begin([intent(delivery)]))
            await asyncio.sleep(0)
            await other.link.call("ZADD", one.keys.dispatchers, 0, one.queue.membership.instance)
            await other.queue.orphans()
            await one.queue.join()
        [theirs] = await other.queue.claim(1)
        assert await begun == [False]
        assert await other.queue.begin([intent(theirs, "fallback")]) == [True]


@either
@scenario
async def test_a_release_whose_answer_was_lost_is_made_up_for(cut_off, cut):
    async with cut_off() as (one, other, proxy):
        deliveries = await one.queue.claim(2)
        proxy.next(SCRIPTS["release"].sha1, cut)
        await one.queue.release(deliveries)
        assert one.held(deliveries) == [False, False]
        await reconnected(one)
        assert ids(await other.queue.claim(9)) == numbered(1, 2, 3)


@scenario
async def test_a_release_that_is_repeated_takes_nothing_from_whoever_claimed_the_payment_meanwhile(cut_off):
    async with cut_off() as (one, other, proxy):
        deliveries = await one.queue.claim(1)
        proxy.next(SCRIPTS["release"].sha1)
        await one.queue.release(deliveries)
        [theirs] = await other.queue.claim(1)
        await reconnected(one)
        assert (await places(one.link, one.keys))[id_of(1)] == (Q, other.queue.membership.consumer)
        assert await other.queue.begin([intent(theirs)]) == [True]
        assert ids(await one.queue.claim(9)) == numbered(2, 3)


@scenario
async def test_a_release_that_is_repeated_takes_nothing_from_ourselves(cut_off):
    async with cut_off() as (one, other, proxy):
        deliveries = await one.queue.claim(1)
        proxy.next(SCRIPTS["release"].sha1)
        await one.queue.release(deliveries)
        while not one.link.up:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
        claimed = one.queue.claim(1)
        made_up = one.queue._keep_once()
        [mine], _ = await asyncio.gather(claimed, made_up)
        assert mine.correlation_id == id_of(1)
        assert (await places(one.link, one.keys))[id_of(1)] == (Q, one.queue.membership.consumer)
        assert ids(await other.queue.claim(9)) == numbered(2, 3)
        assert await one.queue.begin([intent(mine)]) == [True]


@either
@scenario
async def test_a_settled_payment_leaves_the_queue_even_if_nobody_hears_of_it(cut_off, cut):
    async with cut_off() as (one, other, proxy):
        [sent] = await one.begun()
        proxy.next(SCRIPTS["settled"].sha1, cut)
        assert await one.ledger.settle([settlement(sent)]) == [True]
        await reconnected(one)
        assert id_of(1) not in await places(one.link, one.keys)
        assert await other.queue.accept([payment(1)]) == [Acceptance.DUPLICATE]
        assert one.held([sent.delivery]) == [False]


@either
@scenario
async def test_attempts_adopted_unheard_are_adopted_by_somebody_else(cut_off, cut):
    async with cut_off() as (one, other, proxy):
        await other.begun()
        await other.dies()
        proxy.next(SCRIPTS["orphans"].sha1, cut)
        with pytest.raises(StoreUncertain):
            await one.queue.orphans()
        await reconnected(one)
        assert ids([each.delivery for each in await one.queue.orphans()]) == numbered(1)
        assert one.held([]) == []


@scenario
async def test_attempts_adopted_before_the_connection_was_lost_are_not_forgotten(cut_off, monkeypatch):
    monkeypatch.setattr("payrouter.adapters.redis.recovery._ADOPT_AT_ONCE", 2)
    async with cut_off() as (one, other, proxy):
        await other.begun(limit=3)
        await other.dies()
        first = one.link.eval
        calls = []

        async def second_is_cut(script, names, args):
            if script is SCRIPTS["orphans"]:
                calls.append(script)
                if len(calls) == 2:
                    proxy.next(script.sha1)
            return await first(script, names, args)

        monkeypatch.setattr(one.link, "eval", second_is_cut)
        found = await one.queue.orphans()
        await reconnected(one)
        found += await one.queue.orphans()
        assert ids([each.delivery for each in found]) == numbered(1, 2, 3)


# -- requests that Redis gets later than those that followed


@scenario
async def test_a_claim_that_comes_late_claims_nothing(cut_off):
    async with cut_off() as (one, other, proxy):
        proxy.next(SCRIPTS["claim"].sha1, LATE)
        with pytest.raises(StoreUncertain):
            await one.queue.claim(2)
        await reconnected(one)
        await proxy.deliver_late()
        assert {place for _, place in (await places(one.link, one.keys)).values()} == {"new"}
        assert ids(await other.queue.claim(9)) == numbered(1, 2, 3)


@scenario
async def test_an_intent_that_comes_late_does_not_stand(cut_off):
    async with cut_off() as (one, other, proxy):
        deliveries = await one.queue.claim(1)
        proxy.next(SCRIPTS["begin"].sha1, LATE)
        with pytest.raises(StoreUncertain):
            await one.queue.begin([intent(each) for each in deliveries])
        await one.queue.release(deliveries)
        await reconnected(one)
        await proxy.deliver_late()
        assert (await places(one.link, one.keys))[id_of(1)] == (Q, "again")
        assert ids(await other.queue.claim(1)) == numbered(1)


@scenario
async def test_a_release_that_comes_late_frees_nothing_that_is_held_again(cut_off):
    async with cut_off() as (one, other, proxy):
        deliveries = await one.queue.claim(1)
        proxy.next(SCRIPTS["release"].sha1, LATE)
        await one.queue.release(deliveries)
        await reconnected(one)
        [mine] = await one.queue.claim(1)
        await proxy.deliver_late()
        assert (await places(one.link, one.keys))[id_of(1)] == (Q, one.queue.membership.consumer)
        assert await one.queue.begin([intent(mine)]) == [True]
        assert ids(await other.queue.claim(9)) == numbered(2, 3)


@either
@scenario
async def test_whoever_left_without_an_answer_goes_on_only_after_joining_anew(cut_off, cut):
    async with cut_off() as (one, _, proxy):
        await one.queue.claim(1)
        proxy.next(SCRIPTS["leave"].sha1, cut)
        await one.queue.leave()
        while not one.link.up:  # noqa: ASYNC110 - it cannot tell us
            await asyncio.sleep(0.005)
        assert await one.queue.claim(1) == []
        before = await one.link.call("ZRANGE", one.keys.dispatchers, 0, -1)
        assert all(name.partition(b".")[0] for name in before), "nobody is registered without a name"
        await reconnected(one)
        assert ids(await one.queue.claim(1)) == numbered(2 if cut is LOST else 1)


@scenario
async def test_whoever_left_before_it_could_give_back_takes_nothing_from_who_adopted_it(cut_off):
    async with cut_off() as (one, other, proxy):
        deliveries = await one.queue.claim(1)
        proxy.next(SCRIPTS["begin"].sha1, DONE)
        with pytest.raises(StoreUncertain):
            await one.queue.begin([intent(each) for each in deliveries])
        await one.queue.release(deliveries)
        assert (await places(other.link, other.keys))[id_of(1)][0] is A, "the link was down: it is given back later"
        while not one.link.up:  # noqa: ASYNC110 - it cannot tell us
            await asyncio.sleep(0.005)
        await one.queue.leave()
        [adopted] = await other.queue.orphans()
        await one.queue._keep_once()
        assert (await places(other.link, other.keys))[id_of(1)] == (A, other.queue.membership.consumer)
        assert await other.ledger.settle([settlement(adopted)]) == [True]


@scenario
async def test_an_adoption_that_comes_late_adopts_nothing(cut_off):
    async with cut_off() as (one, other, proxy):
        await other.begun()
        await other.queue.leave()
        proxy.next(SCRIPTS["orphans"].sha1, LATE)
        with pytest.raises(StoreUncertain):
            await one.queue.orphans()
        await reconnected(one)
        await proxy.deliver_late()
        assert (await places(one.link, one.keys))[id_of(1)] == (A, "orphans")
        assert ids([each.delivery for each in await one.queue.orphans()]) == numbered(1)


# -- all of it together


@pytest.mark.parametrize("seed", range(4))
@scenario
async def test_whatever_answers_are_lost_every_payment_is_settled_once_and_none_is_stuck(
    redis_server, redis_prefix, monkeypatch, seed
):
    monkeypatch.setattr("payrouter.adapters.redis.queue.HEARTBEAT_S", 0.02)
    chance, rows = random.Random(seed), Rows()
    work = Work(chance)
    async with (
        cutting_proxy(redis_server) as proxy,
        cutting_proxy(redis_server) as other_proxy,
        node(proxy.url, redis_prefix, rows) as one,
        node(other_proxy.url, redis_prefix, rows) as other,
        node(redis_server.url, redis_prefix, rows, joins=False) as api,
        asyncio.TaskGroup() as tasks,
    ):
        working = [*work.begin(tasks, one), *work.begin(tasks, other)]
        for turn in range(40):
            await api.queue.accept([payment(3 * turn + each) for each in (1, 2, 3)])
            cut_off, proxy_of_it = chance.choice([(one, proxy), (other, other_proxy)])
            if chance.random() < 0.7:
                proxy_of_it.next(chance.choice(DISPATCHERS_SCRIPTS).sha1, chance.choice([DONE, LOST, LATE]))
            if chance.random() < 0.3:
                await proxy_of_it.deliver_late()
            if chance.random() < 0.05:
                await cut_off.dies_if_it_can()
            await asyncio.sleep(chance.random() * 0.03)
        for each in (proxy, other_proxy):
            each.next("")
            await each.deliver_late()
        work.calm = True
        await nothing_left(api)
        for task in working:
            task.cancel()
        assert await places(api.link, api.keys) == {}
        assert set(rows.settled) == set(numbered(*range(1, 121)))
        assert {each: {where} for each, (where, _) in rows.settled.items()} == work.charged
        assert proxy.cuts + other_proxy.cuts
