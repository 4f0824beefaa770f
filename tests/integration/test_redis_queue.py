"""Several dispatchers on one Redis: each payment is in one hand, and in another's soon after that one is gone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from contracts.stores import AT_US, failed, id_of, ids, intent, numbered, payment, payments, settlement
from integration.queue_nodes import A, D, P, Q, Rows, node, places, waiting
from integration.raw_http import scenario
from payrouter.adapters.redis.membership import LANES
from payrouter.domain.payment import PaymentEvent
from payrouter.ports.queue import Acceptance

REFUSED, UNKNOWN, INVALID = PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID


@pytest.fixture
def nodes(redis_server, redis_prefix):
    """Open so many dispatchers on one ledger: `async with nodes(2) as (one, other)`."""

    class Several(AsyncExitStack):
        def __init__(self, count, **options):
            super().__init__()
            self.count, self.options = count, options

        async def __aenter__(self):
            await super().__aenter__()
            rows = Rows()
            opened = [node(redis_server.url, redis_prefix, rows, **self.options) for _ in range(self.count)]
            return [await self.enter_async_context(one) for one in opened]

    return Several


# -- one payment, one hand


@scenario
async def test_claims_of_several_dispatchers_are_disjoint_and_together_complete(nodes):
    async with nodes(4) as several:
        await waiting(several[0], 200)
        claimed: list[str] = []
        while batch := await asyncio.gather(*(one.queue.claim(7) for one in several)):
            found = [one.correlation_id for deliveries in batch for one in deliveries]
            if not found:
                break
            claimed += found
        assert sorted(claimed) == sorted(numbered(*range(1, 201)))


@scenario
async def test_of_two_who_begin_with_the_same_payment_only_its_holder_does(nodes):
    async with nodes(2) as (one, other):
        await waiting(one, 1)
        [mine] = await one.queue.claim(1)
        await one.queue.release([mine])
        [theirs] = await other.queue.claim(1)
        assert await one.queue.begin([intent(mine, "default")]) == [False]
        assert await other.queue.begin([intent(theirs, "fallback")]) == [True]


@scenario
async def test_a_dispatcher_cannot_end_what_another_holds(nodes):
    async with nodes(2) as (one, other):
        await waiting(one, 1)
        [mine] = await one.queue.claim(1)
        await one.queue.release([mine])
        [theirs] = await other.begun()
        await one.queue.conclude([failed(intent(mine), INVALID)])
        await one.queue.release([mine])
        assert (await places(one.link, one.keys))[id_of(1)] == (A, other.queue.membership.consumer)
        assert await other.ledger.settle([settlement(theirs)]) == [True]


# -- taking over


@scenario
async def test_what_a_dead_dispatcher_held_is_where_it_belongs_and_its_attempts_have_one_adopter(nodes):
    async with nodes(4) as (dead, *living):
        await waiting(dead, 8)
        claimed = await dead.queue.claim(6)
        sent = [intent(one, "fallback", AT_US + index) for index, one in enumerate(claimed)]
        assert await dead.queue.begin(sent[1:5]) == [True] * 4
        await dead.queue.conclude([failed(sent[1], REFUSED), failed(sent[2], UNKNOWN), failed(sent[3], INVALID)])
        await dead.dies()
        found = await asyncio.gather(*(one.queue.orphans() for one in living))
        assert sorted(len(one) for one in found) == [0, 0, 2]
        [adopted] = [one for one in found if one]
        adopter = living[found.index(adopted)]
        assert [(one.delivery.correlation_id, one.processor, one.requested_us) for one in adopted] == [
            (id_of(3), "fallback", AT_US + 2),
            (id_of(5), "fallback", AT_US + 4),
        ]
        mine = adopter.queue.membership.consumer
        assert await places(dead.link, dead.keys) == {
            id_of(1): (Q, "again"),
            id_of(2): (Q, "again"),
            id_of(3): (P, mine),
            id_of(4): (D, "dead"),
            id_of(5): (A, mine),
            id_of(6): (Q, "again"),
            id_of(7): (Q, "new"),
            id_of(8): (Q, "new"),
        }
        assert ids(await living[0].queue.claim(9)) == numbered(1, 2, 6, 7, 8)


@scenario
async def test_an_attempt_of_a_dead_dispatcher_can_only_be_repeated_where_it_was(nodes):
    async with nodes(2) as (dead, living):
        await waiting(dead, 1)
        await dead.begun(processor="default")
        await dead.dies()
        [adopted] = await living.queue.orphans()
        await living.queue.conclude([failed(adopted, REFUSED)])
        assert (await places(living.link, living.keys))[id_of(1)][0] is P
        assert await living.queue.claim(9) == []
        assert await living.ledger.settle([settlement(adopted)]) == [True]


@scenario
async def test_the_living_are_not_taken_over(nodes):
    async with nodes(2) as (one, other):
        await waiting(one, 2)
        await one.begun()
        [unsent] = await one.queue.claim(1)
        assert await other.queue.orphans() == []
        assert await one.queue.begin([intent(unsent)]) == [True]


@scenario
async def test_whoever_looks_for_the_dead_never_strikes_itself_off(nodes):
    async with nodes(1) as (one,):
        registered = one.queue.membership.instance
        # It was silent for long, and nobody has taken over. Often, as it takes a tick of the clock in between.
        for _ in range(4000):
            await one.link.call("ZADD", one.keys.dispatchers, "XX", 0, registered)
            await one.queue.orphans()
        assert await one.queue.membership.beat()
        assert one.queue.membership.instance == registered


@scenario
async def test_a_row_written_just_before_death_is_found_and_not_sent_again(nodes):
    async with nodes(2) as (dead, living):
        await waiting(dead, 1)
        [sent] = await dead.begun()
        rows = living.queue._ledger
        rows.amounts[id_of(1)] = sent.delivery.amount_minor
        await dead.dies()
        assert await living.queue.orphans() == []
        assert await places(living.link, living.keys) == {}
        assert await living.queue.accept([payment(1)]) == [Acceptance.DUPLICATE]


@scenario
async def test_with_the_ledger_away_a_dead_dispatchers_attempts_are_adopted_all_the_same(nodes):
    async with nodes(2) as (dead, living):
        await waiting(dead, 1)
        [sent] = await dead.begun()
        rows = living.queue._ledger
        rows.amounts[id_of(1)] = sent.delivery.amount_minor
        rows.away = True
        await dead.dies()
        [adopted] = await living.queue.orphans()
        rows.away = False
        assert await living.ledger.settle([settlement(adopted)]) == [False], "it is in the ledger already"
        assert await places(living.link, living.keys) == {}


@scenario
async def test_many_attempts_of_a_dead_dispatcher_are_adopted_oldest_first(nodes):
    async with nodes(2) as (dead, living):
        await waiting(dead, 1300)
        assert len(await dead.begun(limit=1300)) == 1000, "so many at once"
        await dead.begun(limit=1300)
        await dead.dies()
        adopted = await living.queue.orphans()
        assert ids([one.delivery for one in adopted]) == numbered(*range(1, 1301))


@scenario
async def test_a_heartbeat_stamped_while_redis_clock_was_ahead_does_not_keep_the_dead_alive(nodes):
    async with nodes(2) as (dead, living):
        await waiting(dead, 1)
        await dead.begun()
        hour_ms = 3_600_000
        seconds, _ = await living.link.call("TIME")
        for one in (dead, living):
            name = one.queue.membership.instance
            await living.link.call("ZADD", living.keys.dispatchers, int(seconds) * 1000 + hour_ms, name)
        assert await living.queue.membership.beat()
        assert await living.queue.orphans() == []
        [score] = await living.link.call("ZMSCORE", living.keys.dispatchers, dead.queue.membership.consumer)
        assert float(score) - int(seconds) * 1000 < 10_000, "it counts for one heartbeat from now, not for an hour"


# -- paused, and awake again


@scenario
async def test_a_paused_dispatcher_that_wakes_changes_nothing_but_its_charge_is_settled_once(nodes):
    async with nodes(2) as (paused, living):
        await waiting(paused, 5)
        claimed = await paused.queue.claim(4)
        sent = [intent(one, "default", AT_US + index) for index, one in enumerate(claimed)]
        await paused.queue.begin(sent[:2])
        await paused.dies()
        adopted = await living.queue.orphans()
        before = await places(living.link, living.keys)

        assert await paused.queue.begin(sent[2:3]) == [False]
        assert paused.queue.membership.instance == ""
        await paused.queue.conclude([failed(sent[0], REFUSED), failed(sent[1], INVALID)])
        await paused.queue.release(claimed[2:])
        assert await paused.queue.claim(9) == []
        assert await paused.queue.orphans() == []
        assert await places(living.link, living.keys) == before

        assert await paused.ledger.settle([settlement(sent[0])]) == [True]
        assert await living.ledger.settle([settlement(adopted[0])]) == [False]
        assert await living.ledger.settle([settlement(adopted[1])]) == [True]
        assert await paused.ledger.settle([settlement(sent[1])]) == [False]
        await paused.queue.join()
        assert ids(await paused.queue.claim(9)) == numbered(3, 4, 5)


@pytest.mark.parametrize("call", ["claim", "begin", "conclude", "release", "orphans"])
@scenario
async def test_whichever_call_comes_first_after_a_pause_learns_that_it_was_taken_over(nodes, call):
    async with nodes(2) as (paused, living):
        await waiting(paused, 2)
        [sent] = await paused.begun()
        [unsent] = await paused.queue.claim(1)
        await paused.dies()
        await living.queue.orphans()
        argument = {
            "claim": (1,),
            "begin": ([intent(unsent)],),
            "conclude": ([failed(sent, REFUSED)],),
            "release": ([unsent],),
            "orphans": (),
        }[call]
        await getattr(paused.queue, call)(*argument)
        assert paused.queue.membership.instance == ""
        assert paused.held([sent.delivery, unsent]) == [False, False]


@scenario
async def test_a_dispatcher_paused_twice_comes_back_twice_with_empty_hands(nodes):
    async with nodes(2) as (paused, living):
        names = set()
        await waiting(paused, 6)
        for round_number in (1, 2):
            names.add(paused.queue.membership.consumer)
            [sent] = await paused.begun(requested_us=AT_US + round_number)
            await paused.queue.claim(1)
            await paused.dies()
            [adopted] = await living.queue.orphans()
            assert await living.ledger.settle([settlement(adopted)]) == [True]
            assert not await paused.queue.membership.beat()
            assert paused.held([sent.delivery]) == [False]
            await paused.queue.join()
        assert len(names | {paused.queue.membership.instance}) == 3
        assert ids(await paused.queue.claim(9)) == numbered(3, 4, 5, 6)


@scenario
async def test_one_that_was_struck_off_cannot_beat_itself_back(nodes):
    async with nodes(2) as (stale, living):
        name = stale.queue.membership.instance
        await stale.dies()
        await living.queue.orphans()
        assert not await stale.queue.membership.beat()
        assert not await stale.queue.membership.beat()
        registered = await living.link.call("ZRANGE", living.keys.dispatchers, 0, -1)
        assert registered == [living.queue.membership.instance.encode()]
        assert name != stale.queue.membership.instance == ""


@scenario
async def test_two_calls_that_learn_of_one_takeover_do_not_strike_off_the_next_registration(nodes):
    async with nodes(2) as (paused, living):
        await waiting(paused, 2)
        await paused.dies()
        await living.queue.orphans()
        slow = asyncio.ensure_future(paused.queue.claim(1))
        beat = asyncio.ensure_future(paused.queue.membership.beat())
        assert (await slow, await beat) == ([], False)
        await paused.queue.join()
        assert ids(await paused.queue.claim(1)) == numbered(1)


# -- coming and going


@scenario
async def test_whoever_leaves_frees_everything_at_once(nodes):
    async with nodes(2) as (leaving, staying):
        await waiting(leaving, 3)
        await leaving.begun()
        await leaving.queue.claim(1)
        await leaving.queue.leave()
        assert await leaving.queue.claim(1) == []
        assert ids([one.delivery for one in await staying.queue.orphans()]) == numbered(1)
        assert ids(await staying.queue.claim(9)) == numbered(2, 3)
        assert await staying.link.call("ZCARD", staying.keys.dispatchers) == 1
        consumers = await staying.link.call("XINFO", "CONSUMERS", staying.keys.queue, "dispatchers")
        assert [one[1].decode() for one in consumers] == [staying.queue.membership.consumer]


@scenario
async def test_living_dispatchers_have_lanes_of_their_own_and_a_free_one_is_used_again(nodes):
    async with nodes(4) as several:
        assert [one.queue.membership.lane for one in several] == [0, 1, 2, 3]
        await several[1].queue.leave()
        await several[2].dies()
        await several[1].queue.join()
        assert several[1].queue.membership.lane == 1
        await several[2].queue.membership.beat()
        await several[2].queue.join()
        assert several[2].queue.membership.lane == 2


@scenario
async def test_more_dispatchers_than_lanes_share_them(nodes):
    async with nodes(LANES + 2) as several:
        assert [one.queue.membership.lane for one in several] == [*range(LANES), 0, 1]


@scenario
async def test_a_dispatcher_that_keeps_on_living_is_not_taken_over_and_a_killed_one_is_soon(nodes, monkeypatch):
    monkeypatch.setattr("payrouter.adapters.redis.queue.HEARTBEAT_S", 0.1)
    async with nodes(3) as (one, other, looking):
        for each in (one, other, looking):
            each.queue.membership.lasts_ms = 400
        await waiting(one, 2)
        await one.begun()
        [kept] = await other.begun()
        lives = [asyncio.ensure_future(each.queue.keep()) for each in (one, other, looking)]
        await asyncio.sleep(0.6)
        assert await looking.queue.orphans() == []
        lives[0].cancel()
        began_s = asyncio.get_running_loop().time()
        while not (found := await looking.queue.orphans()):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)
        assert 0.2 < asyncio.get_running_loop().time() - began_s < 1.5
        assert ids([each.delivery for each in found]) == numbered(1)
        assert other.held([kept.delivery]) == [True]
        for life in lives:
            life.cancel()
        await asyncio.wait(lives)


@scenario
async def test_one_that_was_taken_over_comes_back_by_itself(nodes, monkeypatch):
    monkeypatch.setattr("payrouter.adapters.redis.queue.HEARTBEAT_S", 0.02)
    async with nodes(2) as (paused, living):
        await waiting(paused, 1)
        await paused.queue.claim(1)
        await paused.dies()
        await living.queue.orphans()
        life = asyncio.ensure_future(paused.queue.keep())
        while not await paused.queue.claim(1):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        life.cancel()
        await asyncio.wait([life])


# -- a purge


@scenario
async def test_a_purge_under_others_hands_ends_what_they_hold_and_nothing_newer(nodes):
    async with nodes(2) as (purging, other):
        await waiting(other, 4)
        [old] = await other.begun()
        [unsent] = await other.queue.claim(1)
        await purging.queue.purge()
        # The other has not heard of it yet.
        assert await other.queue.begin([intent(unsent)]) == [False]
        await other.queue.conclude([failed(old, REFUSED)])
        assert await places(purging.link, purging.keys) == {}
        await purging.queue.accept(payments(3))
        [sent] = await other.begun(requested_us=AT_US + 9)
        await other.queue.claim(1)
        # Now it hears, and cannot tell old from new: it gives everything up.
        other.queue.forget()
        await other.queue._keep_once()
        assert {one: place for one, (_, place) in (await places(other.link, other.keys)).items()} == {
            id_of(1): "orphans",
            id_of(2): "again",
            id_of(3): "new",
        }
        [adopted] = await purging.queue.orphans()
        assert (adopted.delivery.correlation_id, adopted.requested_us) == (id_of(1), AT_US + 9)
        assert await other.ledger.settle([settlement(sent)]) == [True], "the attempt was made after the purge"
        assert await purging.ledger.settle([settlement(adopted)]) == [False]


@scenario
async def test_two_installations_on_one_redis_do_not_see_each_other(redis_server, redis_prefix):
    async with (
        node(redis_server.url, redis_prefix, Rows()) as one,
        node(redis_server.url, redis_prefix + "x", Rows()) as other,
    ):
        await waiting(one, 2)
        [sent] = await one.begun()
        await one.dies()
        assert await other.queue.accept([payment(1, 5)]) == [Acceptance.ACCEPTED]
        assert await other.queue.orphans() == []
        assert [(one.correlation_id, one.amount_minor) for one in await other.queue.claim(9)] == [(id_of(1), 5)]
        await other.queue.purge()
        assert (await one.queue.backlog()).waiting == 1
        assert await one.ledger.settle([settlement(sent)]) == [True]
        assert {one.queue.membership.lane, other.queue.membership.lane} == {0}
