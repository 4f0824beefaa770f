"""What dispatchers tell each other is heard soon, bounded, and never worth more than what payments say."""

from __future__ import annotations

import asyncio

import pytest

from application.virtual_time import VirtualClock, virtually
from application.world import CHEAP, DEAR, PROCESSORS, Events, World, failing, ok, unreachable
from payrouter.adapters.memory_coordination import MemoryCluster, MemoryLease, MemoryNewsBoard
from payrouter.application.dispatch import Dispatcher, Ports
from payrouter.application.news import HintTeller, NewsReader
from payrouter.domain.attempt import Charged, Refusal, Refused
from payrouter.domain.board import ProcessorBoard, Standing
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import Purged, StandingChanged, StoreFailed
from payrouter.domain.health import HealthReport
from payrouter.domain.news import HintNews

FAILING = HealthReport(failing=True, min_response_ms=5)
NO = Refused(Refusal.FAILING, "answered 500")


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Node:
    """Boards of one dispatcher, with its reader and its teller."""

    def __init__(self, cluster: MemoryCluster, name: str) -> None:
        clock = VirtualClock()
        self.boards = {one.name: ProcessorBoard(one) for one in PROCESSORS}
        self.events = Events()
        self.lease = MemoryLease(cluster, name, clock)
        self.news = MoodyBoard(cluster, self.lease, clock)
        self.teller = HintTeller(self.news, self.boards, clock, self.events)
        self.changes = 0
        self.vacancies = 0
        self.purged_before_s: list[float] = []
        self.reader = NewsReader(
            self.news,
            self.boards,
            clock,
            self.events,
            on_change=self._changed,
            on_purge=self.purged_before_s.append,
            on_vacancy=self._vacant,
        )

    def _changed(self) -> None:
        self.changes += 1

    def _vacant(self) -> None:
        self.vacancies += 1

    def standing(self, name: str = CHEAP) -> Standing:
        return self.boards[name].view(now_s()).standing

    def attempt(self, outcome, name: str = CHEAP) -> None:
        """One payment, sent and answered now; what changes is published as the dispatcher does."""
        board, before = self.boards[name], self.standing(name)
        probe = board.started(now_s(), counts_as_probe=before is Standing.PROBE)
        board.ended(outcome, now_s(), 1.0, probe=probe)
        self.look(before, name)

    def look(self, before: Standing, name: str = CHEAP) -> None:
        if self.standing(name) is not before:
            self.teller.publish(StandingChanged(name, before.value, self.standing(name).value, 1.0))

    def goes_down(self) -> None:
        for _ in range(3):
            self.attempt(NO)


class MoodyBoard(MemoryNewsBoard):
    """A board that can be away, nobody may hear when to look, and that counts how it is looked at and written to."""

    away = deaf = False
    takes_s = 0.0
    looks = 0
    hints = 0

    async def news(self):
        self.looks += 1
        if self.away:
            raise StoreUnavailable("away")
        return await super().news()

    async def listen(self, heard):
        await super().listen(lambda: None if self.deaf else heard())

    async def post_hint(self, processor, *, up):
        if self.away:
            raise StoreUnavailable("away")
        self.hints += 1
        await asyncio.sleep(self.takes_s)
        await super().post_hint(processor, up=up)


class Nodes:
    """Some nodes, reading and telling."""

    def __init__(self, count: int = 2) -> None:
        self.cluster = MemoryCluster(VirtualClock().now_us)
        self.nodes = [Node(self.cluster, f"node-{number}") for number in range(count)]
        self._tasks: list[asyncio.Task] = []

    async def __aenter__(self) -> list[Node]:
        for node in self.nodes:
            self._tasks += map(asyncio.ensure_future, (node.reader.run(), node.teller.run()))
        await asyncio.sleep(0.01)
        return self.nodes

    async def __aexit__(self, *_) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        assert all(task.cancelled() for task in self._tasks)


# -- telling


@virtually
async def test_a_processor_down_here_rests_a_moment_where_nothing_says_otherwise():
    async with Nodes(3) as (one, idle, busy):
        busy.attempt(Charged())
        one.goes_down()
        await asyncio.sleep(0.01)
        assert idle.standing() is Standing.DOWN
        assert busy.standing() is Standing.USABLE
        assert idle.changes == 1
        await asyncio.sleep(0.25)
        assert idle.standing() is Standing.PROBE


@virtually
async def test_a_processor_back_here_is_probed_at_once_elsewhere_and_only_that():
    async with Nodes() as (one, other):
        for node in (one, other):
            node.goes_down()
        await asyncio.sleep(0.3)
        for _ in range(3):
            other.attempt(NO)
            await asyncio.sleep(1.0 - 0.001)
        other.attempt(NO)
        one.attempt(Charged())
        assert one.standing() is Standing.USABLE
        await asyncio.sleep(0.26)
        assert other.standing() is Standing.PROBE, "a second early"
        other.attempt(NO)
        assert other.standing() is Standing.DOWN


@virtually
async def test_what_a_node_was_told_it_does_not_tell_again():
    async with Nodes() as (one, other):
        one.goes_down()
        await asyncio.sleep(0.01)
        other.look(Standing.USABLE)
        await asyncio.sleep(5)
        assert other.standing() is Standing.PROBE
        assert other.news.hints == 0
        assert one.news.hints == 1


@virtually
async def test_what_stays_down_is_told_once():
    async with Nodes() as (one, _):
        one.goes_down()
        for _probe in range(10):
            await asyncio.sleep(1.1)
            one.look(Standing.DOWN)
            one.attempt(NO)
        assert len(one.events.of(StandingChanged)) > 20
        assert one.news.hints == 1


@virtually
async def test_what_could_not_be_told_in_time_is_not_told_late():
    async with Nodes() as (one, other):
        one.news.takes_s = 2.0
        for name in (DEAR, CHEAP):
            for _ in range(3):
                one.attempt(NO, name)
        await asyncio.sleep(5)
        assert one.news.hints == 1
        assert (other.standing(DEAR), other.standing(CHEAP)) == (Standing.PROBE, Standing.USABLE)


@virtually
async def test_what_comes_up_about_one_processor_while_another_is_told_of_is_told_next():
    async with Nodes() as (one, other):
        one.news.takes_s = 0.1
        one.goes_down()
        await asyncio.sleep(0.05)
        for _ in range(3):
            one.attempt(NO, DEAR)
        await asyncio.sleep(0.3)
        assert one.news.hints == 2
        assert other.standing(DEAR) is Standing.DOWN


@virtually
async def test_what_a_health_report_says_is_not_told_as_our_own_experience():
    async with Nodes() as (one, _):
        one.boards[CHEAP].reported(FAILING, now_s())
        one.look(Standing.USABLE)
        assert one.standing() is Standing.DOWN
        await asyncio.sleep(1)
        assert one.news.hints == 0


@virtually
async def test_a_recovery_found_after_a_rumour_is_told():
    async with Nodes() as (one, other):
        one.goes_down()
        await asyncio.sleep(0.3)
        other.teller.publish(StandingChanged(CHEAP, "usable", "down", 1.0))
        other.attempt(Charged())
        assert other.news.hints == 0
        await asyncio.sleep(0.01)
        assert other.news.hints == 1
        assert one.standing() is Standing.PROBE


@virtually
async def test_hints_of_one_node_about_one_processor_are_four_a_second_at_most_and_the_last_one_gets_through():
    async with Nodes() as (one, other):
        for number in range(10_000):
            standing = Standing.DOWN if number % 2 else Standing.USABLE
            one.boards[CHEAP].breaker.first_hand = True
            one.teller.publish(StandingChanged(CHEAP, "probe", standing.value, 1.0))
            await asyncio.sleep(0.001)
        assert 30 <= one.news.hints <= 42
        await asyncio.sleep(1)
        last = (await MoodyBoard(one.news._cluster, other.lease, VirtualClock()).news())[-1]
        assert isinstance(last, HintNews)
        assert last.up is False


@virtually
async def test_every_event_goes_on_to_the_log():
    async with Nodes() as (one, _):
        one.teller.publish(Purged())
        one.teller.publish(StandingChanged(CHEAP, "usable", "full", 1.0))
        assert len(one.events.all) == 2
        await asyncio.sleep(1)
        assert one.news.hints == 0


@virtually
async def test_hints_that_cannot_be_told_are_dropped_and_said_to_be():
    async with Nodes() as (one, other):
        one.news.away = True
        one.goes_down()
        await asyncio.sleep(0.1)
        assert one.events.of(StoreFailed)
        one.news.away = False
        await asyncio.sleep(3)
        assert one.news.hints == 0
        assert other.standing() is Standing.USABLE


# -- reading


@virtually
async def test_who_starts_later_learns_the_leaders_reports_at_their_age():
    async with Nodes(1) as (leader,):
        await leader.lease.acquire()
        await leader.news.post_report(CHEAP, HealthReport(failing=False, min_response_ms=2000))
        await leader.news.post_report(DEAR, FAILING)
        await asyncio.sleep(4)
        late = Node(leader.news._cluster, "late")
        reading = asyncio.ensure_future(late.reader.run())
        await asyncio.sleep(0.01)
        assert late.boards[CHEAP].latency.reported_s == pytest.approx(now_s() - 4, abs=0.1)
        assert late.standing(CHEAP) is Standing.PROBE, "2000 ms is too slow, as far as one knows"
        assert late.standing(DEAR) is Standing.PROBE, "that it failed is 4 s ago"
        await asyncio.sleep(7)
        assert late.standing(CHEAP) is Standing.USABLE, "11 s old, that report says nothing any more"
        reading.cancel()
        await asyncio.wait([reading])


@virtually
async def test_old_hints_and_unknown_processors_are_passed_over():
    async with Nodes(1) as (one,):
        await one.news.post_hint(CHEAP, up=False)
        await one.lease.acquire()
        await one.news.post_report("of tomorrow", FAILING)
        await one.news.post_hint("of tomorrow", up=False)
        await asyncio.sleep(1.5)
        late = Node(one.news._cluster, "late")
        reading = asyncio.ensure_future(late.reader.run())
        await asyncio.sleep(0.01)
        await one.news.post_hint("of tomorrow", up=True)
        await asyncio.sleep(0.01)
        assert late.changes == 2
        assert late.standing() is Standing.USABLE
        assert not reading.done()
        reading.cancel()
        await asyncio.wait([reading])


@virtually
async def test_a_purge_is_heard_by_all_with_its_instant():
    async with Nodes() as (one, other):
        await asyncio.sleep(3)
        await one.news.post_purge()
        await asyncio.sleep(2)
        assert one.purged_before_s == other.purged_before_s == [pytest.approx(3.01)]


@virtually
async def test_a_vacancy_is_heard():
    async with Nodes() as (one, other):
        await one.lease.acquire()
        await one.lease.release()
        await asyncio.sleep(0.01)
        assert (one.vacancies, other.vacancies) == (1, 1)


@virtually
async def test_news_that_nobody_called_for_is_found_within_a_second_and_nothing_is_missed_while_the_board_is_away():
    async with Nodes() as (one, other):
        other.news.deaf = True
        await one.lease.acquire()
        await one.news.post_report(CHEAP, FAILING)
        await asyncio.sleep(1.01)
        assert other.standing() is Standing.PROBE
        other.news.away = True
        await one.news.post_report(DEAR, HealthReport(failing=False, min_response_ms=77))
        await asyncio.sleep(5)
        assert other.events.of(StoreFailed)
        other.news.away = False
        await asyncio.sleep(1.01)
        assert other.boards[DEAR].latency.reported_ms == 77


@virtually
async def test_a_quiet_cluster_looks_at_the_board_once_a_second():
    async with Nodes() as (one, _):
        await asyncio.sleep(60)
        assert 55 <= one.news.looks <= 65


# -- with payments


class TalkingWorld(World):
    """A world whose dispatcher tells others what it finds, and hears what they find."""

    def __init__(self, cluster: MemoryCluster, name: str, **options) -> None:
        super().__init__(**options)
        self._cluster = cluster
        self._name = name

    def start(self):
        super().start()
        self._task.cancel()
        lease = MemoryLease(self._cluster, self._name, self.clock)
        news = MemoryNewsBoard(self._cluster, lease, self.clock)
        teller = HintTeller(news, self.boards, self.clock, self.events)
        ports = Ports(self.store, self.store, self._gateway, self.clock, teller)
        self.dispatcher = Dispatcher(ports, self.boards, self._policy)
        reader = NewsReader(
            news,
            self.boards,
            self.clock,
            self.events,
            on_change=self.dispatcher.wake,
            on_purge=lambda _: None,
            on_vacancy=lambda: None,
        )

        async def run() -> None:
            async with asyncio.TaskGroup() as tasks:
                for work in (self.dispatcher.run, reader.run, teller.run):
                    tasks.create_task(work())

        self._task = asyncio.get_running_loop().create_task(run())
        return self.dispatcher


@virtually
async def test_one_node_with_a_broken_network_cannot_talk_another_into_paying_more():
    cluster = MemoryCluster(VirtualClock().now_us)
    async with (
        TalkingWorld(cluster, "bad", patience_s=0.2) as bad,
        TalkingWorld(cluster, "good", patience_s=0.2) as good,
    ):
        for second in range(60):
            # It breaks and heals all the time, so that there is always something to tell.
            bad.cheap.script = unreachable() if second % 2 else ok()
            for _ in range(20):
                await bad.pay(1)
                await good.pay(1)
                await asyncio.sleep(0.05)
        assert cluster.posted > 50
        assert len(good.dear.books) == 0
        assert len(good.cheap.books) > 1190
        assert len(bad.dear.books) > 300


@virtually
async def test_an_idle_node_that_believed_a_broken_one_charges_its_next_payment_at_the_cheapest_all_the_same():
    cluster = MemoryCluster(VirtualClock().now_us)
    async with (
        TalkingWorld(cluster, "bad", patience_s=0.5) as bad,
        TalkingWorld(cluster, "good", patience_s=0.5) as good,
    ):
        for _ in range(30):
            bad.cheap.script = failing()
            await bad.pay(5)
            await asyncio.sleep(1.5)
            bad.cheap.script = ok()
            await bad.pay(5)
            await asyncio.sleep(1.5)
            await good.pay(5)
        await good.until_settled()
        assert len(good.cheap.books) == 150


@virtually
async def test_an_outage_that_one_node_finds_spares_the_others_their_attempts_and_so_does_its_end():
    def attempts_lost(told: bool):
        async def run() -> tuple[int, float]:
            clusters = [MemoryCluster(VirtualClock().now_us) for _ in range(4)]
            worlds = [
                TalkingWorld(clusters[0 if told else number], f"node-{number}", patience_s=30.0) for number in range(4)
            ]
            for world in worlds:
                await world.__aenter__()
                world.dear.script = failing()
                await world.pay(1)
            await asyncio.sleep(2)
            for world in worlds:
                world.cheap.script = failing()
            for number in range(40):
                await worlds[number % 4].pay(1)
                await asyncio.sleep(0.1)
            lost = sum(len(world.sends_to(CHEAP)) for world in worlds)
            for world in worlds:
                world.cheap.script = ok()
            back_s = now_s()
            for world in worlds:
                await world.until_settled()
            took_s = now_s() - back_s
            for world in worlds:
                await world.__aexit__()
            return lost, took_s

        return run()

    told, alone = await attempts_lost(True), await attempts_lost(False)
    print(f"failed attempts and recovery, telling each other: {told}; each for itself: {alone}")
    assert told[0] < alone[0]
    assert told[1] < alone[1]
