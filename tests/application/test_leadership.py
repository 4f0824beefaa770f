"""Who leads, and that health calls stay polite (I8) whatever becomes of the nodes, their clocks and the store's."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from application.several_nodes import FINE, Universe
from application.world import CHEAP, DEAR
from payrouter.domain.events import LeadershipChanged, StoreFailed
from payrouter.domain.health import HealthReport

SLOW = HealthReport(failing=False, min_response_ms=4000)


def settled(count: int = 3, for_s: float = 0.5) -> Universe:
    """A universe of so many nodes of which one leads."""
    universe = Universe()
    for number in range(count):
        universe.start(ahead_s=1000.0 * number - 500)
    universe.run(for_s)
    return universe


def test_one_of_several_leads_and_asks_each_processor_about_every_five_seconds() -> None:
    with settled() as universe:
        leader = universe.leader()
        universe.run(60)
        assert universe.leader() is leader
        assert universe.processors.callers() == {leader.name}
        for name in (CHEAP, DEAR):
            assert len(universe.processors.calls[name]) == 12
            assert all(5.05 <= gap < 5.1 for gap in universe.processors.gaps(name))


def test_a_report_reaches_every_node() -> None:
    with settled() as universe:
        assert [node.boards[DEAR].latency.reported_ms for node in universe.nodes] == [5, 5, 5]
        universe.processors.says[DEAR] = SLOW
        universe.run(5.1)
        assert [node.boards[DEAR].latency.reported_ms for node in universe.nodes] == [4000, 4000, 4000]
        assert all(node.changes for node in universe.nodes)


def test_when_the_leader_is_killed_another_leads_within_four_seconds_and_calls_go_on_politely() -> None:
    with settled() as universe:
        for killed in range(2):
            universe.run(20)
            universe.leader().kill()
            took_s = universe.until(universe.leaders, within_s=4)
            print(f"failover {killed}: {took_s:.2f} s")
            assert took_s >= 1.9, "nobody else may lead while the dead one could still be trusted"
        universe.run(20)
        assert all(5.05 <= gap <= 8 for gap in universe.processors.gaps(CHEAP))


def test_when_the_leader_is_stopped_another_leads_at_once() -> None:
    with settled() as universe:
        universe.run(20)
        leader = universe.leader()
        leader.stop()
        assert universe.until(universe.leaders, within_s=0.1) <= 0.05
        assert leader.events.of(LeadershipChanged)[-1] == LeadershipChanged(leader.name, leading=False)
        universe.run(20)
        assert all(5.05 <= gap <= 6.1 for gap in universe.processors.gaps(CHEAP))


@pytest.mark.parametrize("paused_after_s", [0.0, 0.0005, 0.0015, 0.0025, 0.0065, 0.02, 1.0, 2.5, 4.9, 5.045])
@pytest.mark.parametrize("for_s", [3.5, 6.0, 60.0])
def test_a_paused_leader_that_wakes_makes_no_call(paused_after_s: float, for_s: float) -> None:
    with settled() as universe:
        universe.run(30)
        leader, calls = universe.leader(), universe.processors.calls[CHEAP]
        made = len(calls)
        # To the very moment of a call, so that the pause begins in every phase of one.
        while len(calls) == made:
            universe.run(0.0005)
        universe.run(5.045 + paused_after_s)
        leader.pause()
        universe.run(for_s)
        woken_s = universe.now_s
        leader.resume()
        universe.run(30)
        assert leader.name not in universe.processors.callers(since_s=woken_s + 0.002)
        assert universe.leader() is not leader
        assert min(universe.processors.gaps(CHEAP)) >= 5.04


def test_a_leader_cut_off_from_the_store_stops_before_another_begins() -> None:
    with settled() as universe:
        universe.run(20)
        leader = universe.leader()
        leader.cut_off = True
        universe.until(lambda: not leader.leads, within_s=3)
        assert universe.leaders() == []
        assert leader.events.of(StoreFailed)
        universe.until(universe.leaders, within_s=1.3)
        leader.cut_off = False
        universe.run(10)
        assert universe.leader() is not leader


def test_a_leader_that_learns_of_another_stops_at_once() -> None:
    with settled(count=1) as universe:
        universe.start()
        universe.run(20)
        leader = universe.leader()
        renewed_us = universe.cluster.until_us
        universe.until(lambda: universe.cluster.until_us > renewed_us, within_s=1.1)
        # The store's clock jumps: the lease has run out, and the other asks first.
        universe.ahead_us += 10_000_000
        universe.until(lambda: len(universe.leaders()) == 2, within_s=1.1)
        universe.until(lambda: not leader.leads, within_s=1.1)


def test_a_short_absence_of_the_store_changes_nothing() -> None:
    with settled() as universe:
        universe.run(20.2)
        leader = universe.leader()
        for node in universe.nodes:
            node.cut_off = True
        universe.run(0.5)
        for node in universe.nodes:
            node.cut_off = False
        universe.run(10)
        assert universe.leader() is leader
        assert len(leader.events.of(LeadershipChanged)) == 1


def test_a_call_that_was_held_while_its_leader_lost_the_lease_is_told_to_nobody() -> None:
    with settled() as universe:
        universe.processors.says[CHEAP] = SLOW
        universe.processors.takes_s[CHEAP] = 8.0
        universe.run(6)
        leader = universe.leader()
        assert universe.processors.calls[CHEAP][-1][0] > 5
        leader.cut_off = True
        universe.run(4)
        assert universe.leader() is not leader
        universe.run(3)
        assert universe.now_s > 13.1, "answered by now"
        assert [node.boards[CHEAP].latency.reported_ms for node in universe.nodes] == [5, 5, 5]


@pytest.mark.parametrize("back_s", [1, 7, 3600])
@pytest.mark.parametrize("leader_dies", [False, True])
def test_a_store_clock_that_was_set_back_silences_us_for_a_lease_and_a_pause_at_most(
    back_s: int, leader_dies: bool
) -> None:
    with settled() as universe:
        universe.run(21)
        universe.ahead_us -= back_s * 1_000_000
        if leader_dies:
            universe.leader().kill()
        universe.run(30)
        assert universe.leader()
        assert all(5.05 <= gap <= 12 for gap in universe.processors.gaps(CHEAP))
        assert universe.processors.calls[CHEAP][-1][0] > universe.now_s - 6.1


@pytest.mark.parametrize("ahead_s", [1, 7, 3600])
@pytest.mark.parametrize("leader_dies", [False, True])
def test_a_store_clock_that_jumps_ahead_makes_nobody_impolite(ahead_s: int, leader_dies: bool) -> None:
    # The lease runs out at once, and the last call seems to be long ago.
    with settled() as universe:
        universe.run(21)
        universe.ahead_us += ahead_s * 1_000_000
        if leader_dies:
            universe.leader().kill()
        universe.run(30)
        assert universe.leader()
        assert all(5.05 <= gap <= 12 for gap in universe.processors.gaps(CHEAP))


@pytest.mark.parametrize("leader_dies", [False, True])
def test_a_store_that_lost_its_data_makes_nobody_impolite(leader_dies: bool) -> None:
    with settled() as universe:
        universe.run(21)
        forget(universe)
        if leader_dies:
            universe.leader().kill()
        universe.run(30)
        assert universe.leader()
        assert all(5.05 <= gap <= 12 for gap in universe.processors.gaps(CHEAP))


def forget(universe: Universe) -> None:
    """What an emptied store remembers."""
    cluster = universe.cluster
    cluster.leader, cluster.token, cluster.until_us = "", 0, 0
    cluster.health_calls.clear()
    cluster.notes.clear()
    cluster.posted = 0


class Mischief:
    """Does one bad thing after another to a universe, and counts how often its leader changed."""

    def __init__(self, universe: Universe, chance: random.Random) -> None:
        self._universe = universe
        self._chance = chance
        self.done: Counter[str] = Counter()

    def act(self) -> None:
        universe, chance = self._universe, self._chance
        takes = {one: chance.choice([0.01, 0.01, 0.3, 2.0, 7.0]) for one in (CHEAP, DEAR)}
        universe.processors.takes_s.update(takes)
        leaders = [node for node in universe.leaders() if not node.paused]
        victim = chance.choice(leaders or universe.alive())
        kind = chance.choice(["kill", "kill", "stop", "pause", "pause", "cut off", "set back", "jump ahead", "forget"])
        self.done[kind] += 1
        getattr(self, f"_{kind.replace(' ', '_')}")(victim)
        while len(universe.alive()) < 3:
            universe.start(ahead_s=chance.uniform(-1e6, 1e6))
            universe.run(chance.uniform(0, 0.5))

    def _kill(self, victim) -> None:
        victim.kill()
        self._wait()

    def _stop(self, victim) -> None:
        if victim.paused:
            victim.resume()
        victim.stop()
        self._wait()

    def _pause(self, victim) -> None:
        victim.pause()
        self._universe.run(self._chance.choice([1.0, 3.0, 3.5, 5.0, 8.0]) * self._chance.uniform(0.9, 1.1))
        victim.resume()
        self._wait()

    def _cut_off(self, victim) -> None:
        victim.cut_off = True
        self._universe.run(self._chance.uniform(0.5, 9))
        victim.cut_off = False
        self._wait()

    def _set_back(self, victim) -> None:
        self._universe.ahead_us -= round(self._chance.choice([0.02, 1, 4, 1000]) * 1_000_000)
        self._perhaps_kill(victim)

    def _jump_ahead(self, victim) -> None:
        self._universe.ahead_us += round(self._chance.choice([0.02, 1, 4, 1000]) * 1_000_000)
        self._perhaps_kill(victim)

    def _forget(self, victim) -> None:
        forget(self._universe)
        self._perhaps_kill(victim)

    def _perhaps_kill(self, victim) -> None:
        if self._chance.random() < 0.5:
            victim.kill()
        # A node born now could not know that the store is not to be believed.
        self._universe.run(2.0)
        self._wait()

    def _wait(self) -> None:
        self._universe.run(self._chance.choice([0.1, 1.0, 6.0, 11.0]) * self._chance.uniform(0.1, 1.0))


@pytest.mark.parametrize("seed", range(20))
def test_no_two_calls_come_within_five_seconds_whatever_becomes_of_nodes_clocks_and_store(seed: int) -> None:
    with settled() as universe:
        mischief = Mischief(universe, random.Random(seed))
        for _ in range(25):
            mischief.act()
        universe.run(15)
        assert universe.leader()
        changes = sum(event.leading for node in universe.nodes for event in node.events.of(LeadershipChanged))
        gaps = universe.processors.gaps(CHEAP) + universe.processors.gaps(DEAR)
        print(
            f"{changes} terms, {dict(mischief.done)}, {universe.now_s:.0f} s, gaps {min(gaps):.3f} to {max(gaps):.1f}"
        )
        assert changes >= 10
        assert min(gaps) >= 5
        assert max(gaps) < 40
        assert universe.processors.says[CHEAP] is FINE
