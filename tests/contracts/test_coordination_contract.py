"""What the nodes of a cluster agree on and tell each other, over every engine that can have several."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from contracts.nodes import CLUSTERS, LEASE_S, PAUSE_S, Cluster, RedisNodes, cluster_contract
from payrouter.domain.health import HealthReport
from payrouter.domain.lease import TRUST_MARGIN_S, Taken, Term
from payrouter.domain.news import HintNews, PauseNews, PurgeNews, ReportNews, VacancyNews

if TYPE_CHECKING:
    from collections.abc import Callable

FINE = HealthReport(failing=False, min_response_ms=5)
FAILING = HealthReport(failing=True, min_response_ms=4000)


@pytest.fixture(params=list(CLUSTERS))
def cluster_factory(request: pytest.FixtureRequest) -> Callable[[], Cluster]:
    """One engine after the other."""
    if request.param == "redis":
        RedisNodes.url = request.getfixturevalue("redis_server").url
    return CLUSTERS[request.param]


# -- lease


@cluster_contract
async def test_one_wins_the_lease_and_the_other_learns_who_has_it_and_for_how_long(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    assert isinstance(await one.lease.acquire(), Term)
    answer = await other.lease.acquire()
    assert isinstance(answer, Taken)
    assert answer.by == "one"
    assert 0 < answer.for_s <= LEASE_S


@cluster_contract
async def test_of_many_who_try_at_once_one_wins(cluster: Cluster) -> None:
    nodes = [await cluster.node(f"node-{number}") for number in range(5)]
    answers = await asyncio.gather(*(node.lease.acquire() for node in nodes))
    assert sum(isinstance(answer, Term) for answer in answers) == 1


@cluster_contract
async def test_trust_ends_before_the_lease_counted_from_when_it_was_asked_for(cluster: Cluster) -> None:
    one = await cluster.node("one", lease_s=10.0)
    before_s = time.monotonic()
    term = await one.lead()
    assert before_s <= term.trusted_until_s - (10.0 - TRUST_MARGIN_S) <= time.monotonic()


@cluster_contract
async def test_renewing_keeps_the_token_and_the_others_out(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    first = await one.lead()
    for _ in range(3):
        await asyncio.sleep(LEASE_S * 0.5)
        again = await one.lead()
        assert again.token == first.token
        assert again.trusted_until_s > first.trusted_until_s
        assert isinstance(await other.lease.acquire(), Taken)


@cluster_contract
async def test_a_lease_that_ran_out_is_free_and_its_next_token_is_higher(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    first = await one.lead()
    await asyncio.sleep(LEASE_S + 0.01)
    assert (await other.lead()).token > first.token
    assert isinstance(await one.lease.acquire(), Taken)


@cluster_contract
async def test_a_lease_given_up_is_free_at_once_and_its_next_token_is_higher(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    first = await one.lead()
    await one.lease.release()
    assert (await other.lead()).token > first.token


@cluster_contract
async def test_nobody_gives_up_what_another_has(cluster: Cluster) -> None:
    one, other, third = [await cluster.node(name) for name in ("one", "other", "third")]
    await one.lead()
    await asyncio.sleep(LEASE_S + 0.01)
    await other.lead()
    await one.lease.release()
    await third.lease.release()
    assert isinstance(await third.lease.acquire(), Taken)


@cluster_contract
async def test_a_clock_that_was_set_back_holds_up_the_next_leader_for_one_lease_at_most(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    await one.lead()
    await cluster.shift_clock(-3600)
    answer = await other.lease.acquire()
    assert isinstance(answer, Taken)
    assert answer.for_s <= LEASE_S
    await asyncio.sleep(answer.for_s + 0.01)
    await other.lead()


# -- health calls


@cluster_contract
async def test_the_leader_has_one_turn_per_pause_counted_from_the_end_of_its_call(cluster: Cluster) -> None:
    one = await cluster.node("one", lease_s=10.0)
    await one.lead()
    assert await one.health_calls.reserve("default") == 0.0
    assert PAUSE_S < await one.health_calls.reserve("default") <= PAUSE_S + 1.0
    await one.health_calls.answered("default")
    wait_s = await one.health_calls.reserve("default")
    assert 0 < wait_s <= PAUSE_S
    await asyncio.sleep(wait_s + 0.001)
    assert await one.health_calls.reserve("default") == 0.0


@cluster_contract
async def test_of_many_who_ask_at_once_one_has_the_turn(cluster: Cluster) -> None:
    one = await cluster.node("one")
    await one.lead()
    waits_s = await asyncio.gather(*(one.health_calls.reserve("default") for _ in range(20)))
    assert sum(wait_s == 0.0 for wait_s in waits_s) == 1


@cluster_contract
async def test_who_does_not_lead_has_no_turn_and_takes_none_away(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    assert await one.health_calls.reserve("default") > 0
    await one.lead()
    assert await other.health_calls.reserve("default") > 0
    assert await one.health_calls.reserve("default") == 0.0


@cluster_contract
async def test_a_former_leaders_token_is_refused(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    await one.lead()
    await asyncio.sleep(LEASE_S + 0.01)
    assert await one.health_calls.reserve("default") > 0, "run out, although nobody else has it yet"
    await other.lead()
    assert await one.health_calls.reserve("default") > 0
    assert await other.health_calls.reserve("default") == 0.0


@cluster_contract
async def test_an_earlier_terms_token_is_refused_also_when_the_same_node_leads_again(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    earlier = await one.lead()
    await one.lease.release()
    await other.lead()
    await other.lease.release()
    later = await one.lead()
    one.lease.token = earlier.token
    assert await one.health_calls.reserve("default") > 0
    assert await one.news.post_report("default", FINE) is False
    one.lease.token = later.token
    assert await one.health_calls.reserve("default") == 0.0


@cluster_contract
async def test_the_pause_outlasts_a_change_of_leader(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other", lease_s=10.0)
    await one.lead()
    await one.health_calls.reserve("default")
    await one.lease.release()
    await other.lead()
    assert await other.health_calls.reserve("default") > PAUSE_S
    assert await other.health_calls.reserve("fallback") == 0.0


@cluster_contract
async def test_a_former_leaders_call_that_ends_late_puts_nobody_off(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other", lease_s=10.0)
    await one.lead()
    await one.health_calls.reserve("default")
    await one.lease.release()
    await other.lead()
    before_s = await other.health_calls.reserve("default")
    await one.health_calls.answered("default")
    assert await other.health_calls.reserve("default") == pytest.approx(before_s, abs=0.1)


@cluster_contract
async def test_a_clock_that_was_set_back_silences_the_leader_for_one_pause_at_most(cluster: Cluster) -> None:
    one = await cluster.node("one", lease_s=10.0)
    await one.lead()
    await one.health_calls.reserve("default")
    await cluster.shift_clock(-3600)
    await one.lead()
    wait_s = await one.health_calls.reserve("default")
    assert 0 < wait_s <= PAUSE_S
    await asyncio.sleep(wait_s + 0.001)
    assert await one.health_calls.reserve("default") == 0.0


@cluster_contract
async def test_a_store_that_lost_its_data_gives_nobody_a_turn_who_knew_it_before(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    await one.lead()
    await other.lease.acquire()
    await one.health_calls.reserve("default")
    await cluster.forget()
    await other.lead()
    assert await other.health_calls.reserve("default") > 5.0


# -- news


@cluster_contract
async def test_who_has_not_watched_the_stores_clock_does_not_believe_it_that_a_call_was_long_ago(
    cluster: Cluster,
) -> None:
    one, new = await cluster.node("one"), await cluster.node("new", new=True)
    await one.lead()
    await one.health_calls.reserve("default")
    await cluster.shift_clock(3600)
    await new.lead()
    assert 5.9 < await new.health_calls.reserve("default") <= 6.05
    assert await new.health_calls.reserve("fallback") == 0.0, "that there was no call is believed"


@cluster_contract
async def test_a_report_reaches_the_others_with_the_instant_it_was_made(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    await one.lead()
    assert await one.news.news() == await other.news.news() == []
    before_s = time.monotonic()
    assert await one.news.post_report("default", FAILING) is True
    after_s = time.monotonic()
    await asyncio.sleep(0.1)
    [report] = await other.news.news()
    assert isinstance(report, ReportNews)
    assert (report.processor, report.report) == ("default", FAILING)
    # Rather too old, by the way to the store, than too young.
    assert before_s - 0.05 < report.made_s < after_s
    assert await one.news.news() == await other.news.news() == []


@cluster_contract
async def test_whoever_comes_later_gets_the_newest_report_of_each_processor(cluster: Cluster) -> None:
    one = await cluster.node("one")
    await one.lead()
    for processor, report in (("default", FINE), ("fallback", FINE), ("default", FAILING)):
        await one.news.post_report(processor, report)
    late = await cluster.node("late")
    assert [(one.processor, one.report) for one in await late.news.news()] == [("fallback", FINE), ("default", FAILING)]


@cluster_contract
async def test_only_the_leader_tells_reports(cluster: Cluster) -> None:
    one, other, third = [await cluster.node(name) for name in ("one", "other", "third")]
    await one.lead()
    assert await other.news.post_report("default", FAILING) is False
    await asyncio.sleep(LEASE_S + 0.01)
    assert await one.news.post_report("default", FAILING) is False
    await other.lead()
    assert await one.news.post_report("default", FAILING) is False
    assert await third.news.news() == []


@cluster_contract
async def test_hints_reach_the_others_in_order_and_each_once(cluster: Cluster) -> None:
    one, other, third = [await cluster.node(name) for name in ("one", "other", "third")]
    for node in (one, other, third):
        assert await node.news.news() == []
    await one.news.post_hint("default", up=False)
    await other.news.post_hint("default", up=True)
    told = [(one.processor, one.up) for one in await third.news.news()]
    assert told == [("default", False), ("default", True)]
    assert [one.up for one in await one.news.news()] == [True]
    assert [one.up for one in await other.news.news()] == [False]
    assert await third.news.news() == []


@cluster_contract
async def test_many_hints_are_one_and_take_no_more_room(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    for _ in range(50):
        await one.news.post_hint("default", up=False)
    [hint] = await other.news.news()
    assert isinstance(hint, HintNews)


@cluster_contract
async def test_a_purge_reaches_everybody_once_and_is_no_news_to_who_comes_later(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    await one.news.news()
    await other.news.news()
    await asyncio.sleep(0.05)
    before_s = time.monotonic()
    await one.news.post_purge()
    after_s = time.monotonic()
    for node in (one, other):
        [purge] = await node.news.news()
        assert isinstance(purge, PurgeNews)
        assert before_s - 0.05 < purge.made_s < after_s
        assert await node.news.news() == []
    late = await cluster.node("late")
    assert await late.news.news() == []
    await other.news.post_purge()
    assert len(await late.news.news()) == 1


@cluster_contract
async def test_a_pause_reaches_everybody_and_who_comes_later_until_it_is_taken_back(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    await one.news.news()
    await one.news.post_pause("default", paused=True)
    await one.news.post_pause("fallback", paused=True)
    await one.news.post_pause("fallback", paused=False)
    wanted = [PauseNews("default", paused=True), PauseNews("fallback", paused=False)]
    assert [await node.news.news() for node in (one, other)] == [wanted, wanted]
    assert await one.news.news() == []
    late = await cluster.node("late")
    assert await late.news.news() == wanted


@cluster_contract
async def test_listeners_are_called_for_every_kind_of_news(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    heard = asyncio.Event()
    listening = asyncio.ensure_future(other.news.listen(heard.set))
    await asyncio.sleep(0.1)
    term = await one.lead()
    assert term.token
    posts = [
        lambda: one.news.post_report("default", FINE),
        lambda: one.news.post_hint("default", up=True),
        one.news.post_purge,
        one.lease.release,
    ]
    await other.news.news()
    kinds = []
    for post in posts:
        heard.clear()
        await post()
        async with asyncio.timeout(1.0):
            await heard.wait()
        kinds += [type(one) for one in await other.news.news()]
    assert kinds == [ReportNews, HintNews, PurgeNews, VacancyNews]
    listening.cancel()
    await asyncio.wait([listening])


@cluster_contract
async def test_news_goes_on_after_the_board_was_lost(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    for _ in range(3):
        await one.news.post_hint("default", up=False)
    assert len(await other.news.news()) == 1
    await cluster.forget()
    await one.news.post_hint("default", up=True)
    assert [one.up for one in await other.news.news()] == [True]
    await cluster.forget()
    assert await other.news.news() == []
    await one.news.post_hint("default", up=False)
    assert [one.up for one in await other.news.news()] == [False]


@cluster_contract
async def test_no_clock_makes_news_from_the_future(cluster: Cluster) -> None:
    one, other = await cluster.node("one"), await cluster.node("other")
    await one.lead()
    await one.news.post_report("default", FINE)
    await cluster.shift_clock(-3600)
    [report] = await other.news.news()
    assert report.made_s <= time.monotonic()
