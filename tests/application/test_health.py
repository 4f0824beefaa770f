"""The health poller: polite whatever happens, and never worth more than what payments themselves say."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from application.virtual_time import START_US, VirtualClock, virtually
from application.world import CHEAP, DEAR, PROCESSORS, Events, World, failing, ok
from payrouter.adapters.memory_coordination import MemoryHealthCalls
from payrouter.application.health import HealthPoller
from payrouter.domain.board import ProcessorBoard, Standing
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import HealthCallFailed, StoreFailed
from payrouter.domain.health import HealthReport
from payrouter.ports.gateway import GatewayError

FINE = HealthReport(failing=False, min_response_ms=5)
FAILING = HealthReport(failing=True, min_response_ms=5)


class HealthEndpoints:
    """Answers health calls: `says` gives the report by processor, `takes_s` after how long; notes every call."""

    def __init__(self, says=FINE, takes_s=0.01) -> None:
        self.says = {CHEAP: says, DEAR: says}
        self.takes_s = {CHEAP: takes_s, DEAR: takes_s}
        self.calls: dict[str, list[float]] = {CHEAP: [], DEAR: []}
        self.under_way = {CHEAP: 0, DEAR: 0}
        self.most_under_way = 0

    async def health(self, processor: str) -> HealthReport:
        self.calls[processor].append(asyncio.get_running_loop().time())
        self.under_way[processor] += 1
        self.most_under_way = max(self.most_under_way, *self.under_way.values())
        try:
            await asyncio.sleep(self.takes_s[processor])
        finally:
            self.under_way[processor] -= 1
        if isinstance(self.says[processor], Exception):
            raise self.says[processor]
        return self.says[processor]

    def gaps(self, processor: str) -> list[float]:
        calls = self.calls[processor]
        return [later - earlier for earlier, later in itertools.pairwise(calls)]


def fresh_calls() -> MemoryHealthCalls:
    return MemoryHealthCalls(VirtualClock().now_us)


class Life:
    """One poller over boards of its own; `calls` survives it. `posted` is what others are told."""

    def __init__(self, endpoints, calls) -> None:
        self.boards = {one.name: ProcessorBoard(one) for one in PROCESSORS}
        self.events = Events()
        self.reports = 0
        self.posted: list[tuple[str, HealthReport]] = []
        self.others_away = False
        self.poller = HealthPoller(endpoints, calls, VirtualClock(), self.events, self._reported, post=self._post)
        self._run()

    def _run(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.poller.run(self.boards))

    def _reported(self) -> None:
        self.reports += 1

    async def _post(self, processor, report) -> bool:
        if self.others_away:
            raise StoreUnavailable("away")
        self.posted.append((processor, report))
        return True

    async def interrupt(self) -> None:
        """Stop polling and begin again, in the same process."""
        await self.end()
        self._run()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def __aenter__(self) -> Life:
        return self

    async def __aexit__(self, *_) -> None:
        if self.task.done():
            self.task.result()
        await self.end()


@virtually
async def test_each_processor_is_asked_at_once_and_then_about_every_five_seconds():
    endpoints = HealthEndpoints()
    async with Life(endpoints, fresh_calls()) as life:
        await asyncio.sleep(61)
        for name in (CHEAP, DEAR):
            assert endpoints.calls[name][0] == 0
            assert len(endpoints.calls[name]) == 13
            assert all(5 < gap < 5.1 for gap in endpoints.gaps(name))
            assert life.boards[name].latency.reported_ms == 5
        assert life.reports == 26
        assert life.posted == [(name, FINE) for _ in range(13) for name in (CHEAP, DEAR)]


@virtually
async def test_a_hanging_call_is_not_overlapped_and_delays_nobody_else():
    endpoints = HealthEndpoints()
    endpoints.takes_s[CHEAP] = 10_000
    async with Life(endpoints, fresh_calls()) as life:
        await asyncio.sleep(60)
        assert len(endpoints.calls[CHEAP]) == 1
        assert len(endpoints.calls[DEAR]) == 12
        assert endpoints.most_under_way == 1
        assert life.boards[CHEAP].view(60.0).standing is Standing.USABLE


@virtually
async def test_a_call_that_was_held_is_followed_by_a_whole_pause():
    # Held for two windows and a bit: the window it was answered in is used up.
    endpoints = HealthEndpoints(takes_s=11.0)
    async with Life(endpoints, fresh_calls()):
        await asyncio.sleep(100)
        assert all(gap > 16 for gap in endpoints.gaps(CHEAP))


@virtually
async def test_an_endpoint_without_a_report_is_asked_on_and_opens_nothing():
    endpoints = HealthEndpoints(says=GatewayError("health call answered 429"))
    async with Life(endpoints, fresh_calls()) as life:
        await asyncio.sleep(21)
        assert len(life.events.of(HealthCallFailed)) == 2 * len(endpoints.calls[CHEAP]) == 10
        assert life.reports == 0
        assert life.posted == []
        assert life.boards[CHEAP].view(21.0).standing is Standing.USABLE


@pytest.mark.parametrize("seed", range(20))
@virtually
async def test_no_two_calls_come_within_five_seconds_however_often_the_router_restarts(seed):
    chance = random.Random(seed)
    endpoints = HealthEndpoints(takes_s=chance.choice([0.01, 0.5, 3.0]))
    calls = fresh_calls()
    while asyncio.get_running_loop().time() < 300:
        async with Life(endpoints, calls):
            await asyncio.sleep(chance.choice([0.001, 0.2, 4.9, 12.0]) * chance.uniform(0.5, 1.5))
    for name in (CHEAP, DEAR):
        assert min(endpoints.gaps(name)) >= 5
        assert len(endpoints.calls[name]) > 300 / 20, "polite, not silent"


@virtually
async def test_a_call_is_remembered_before_it_is_made():
    endpoints, calls = HealthEndpoints(takes_s=10_000), fresh_calls()
    async with Life(endpoints, calls):
        await asyncio.sleep(3.0)
        assert await calls.reserve(CHEAP) > 2.0


@virtually
async def test_a_call_that_cannot_be_reserved_is_not_made():
    class Away(MemoryHealthCalls):
        gone = True

        async def reserve(self, processor):
            if self.gone:
                raise StoreUnavailable("disk full")
            return await super().reserve(processor)

    endpoints, calls = HealthEndpoints(), Away(VirtualClock().now_us)
    async with Life(endpoints, calls) as life:
        await asyncio.sleep(12)
        assert endpoints.calls == {CHEAP: [], DEAR: []}
        assert life.events.of(StoreFailed)
        calls.gone = False
        await asyncio.sleep(1.5)
        assert len(endpoints.calls[CHEAP]) == 1


@virtually
async def test_a_store_that_forgets_that_a_call_ended_makes_nobody_impolite():
    class Forgetful(MemoryHealthCalls):
        async def reserve(self, processor):
            return 0.0

        async def answered(self, processor):
            raise StoreUnavailable("away")

    endpoints = HealthEndpoints(takes_s=3.0)
    async with Life(endpoints, Forgetful(VirtualClock().now_us)) as life:
        await asyncio.sleep(60)
        assert all(gap >= 8 for gap in endpoints.gaps(CHEAP))
        assert len(endpoints.calls[CHEAP]) == 8
        assert life.reports == 16
        assert life.events.of(StoreFailed)


@virtually
async def test_polling_that_was_interrupted_waits_a_whole_pause_whatever_the_store_says():
    class Careless(MemoryHealthCalls):
        async def reserve(self, processor):
            return 0.0

    endpoints = HealthEndpoints(takes_s=4.0)
    async with Life(endpoints, Careless(VirtualClock().now_us)) as life:
        await asyncio.sleep(3.0)
        await life.interrupt()
        await asyncio.sleep(30)
        assert endpoints.gaps(CHEAP)[0] >= 8


@pytest.mark.parametrize(("takes_s", "calls_made"), [(0.2, 1), (0.3, 0)])
@virtually
async def test_a_reservation_that_took_long_is_not_used(takes_s, calls_made):
    # The answer may be old: this process may have been stopped, and the next call may be somebody else's already.
    class Slow(MemoryHealthCalls):
        async def reserve(self, processor):
            wait_s = await super().reserve(processor)
            await asyncio.sleep(takes_s)
            return wait_s

    endpoints = HealthEndpoints()
    async with Life(endpoints, Slow(VirtualClock().now_us)):
        await asyncio.sleep(3)
        assert len(endpoints.calls[CHEAP]) == calls_made


@virtually
async def test_a_clock_that_was_set_back_silences_the_poller_for_one_pause_at_most():
    calls = MemoryHealthCalls(VirtualClock().now_us, newest_us={CHEAP: START_US + 3_600_000_000})
    endpoints = HealthEndpoints()
    async with Life(endpoints, calls):
        await asyncio.sleep(5.2)
        assert len(endpoints.calls[CHEAP]) == 1


@virtually
async def test_others_that_cannot_be_told_do_not_stop_the_polling():
    endpoints = HealthEndpoints()
    async with Life(endpoints, fresh_calls()) as life:
        life.others_away = True
        await asyncio.sleep(21)
        assert len(endpoints.calls[CHEAP]) == 5
        assert life.reports == 10
        assert len(life.events.of(StoreFailed)) == 10


# -- reports that are not true


class LyingWorld(World):
    """A world whose gateway has health endpoints, polled."""

    def __init__(self, says, **options) -> None:
        super().__init__(**options)
        self.endpoints = HealthEndpoints(says)

    def start(self):
        dispatcher = super().start()
        calls = MemoryHealthCalls(self.clock.now_us)
        poller = HealthPoller(self.endpoints, calls, self.clock, self.events, dispatcher.wake)
        self._polling = asyncio.get_running_loop().create_task(poller.run(self.boards))
        return dispatcher

    async def die(self) -> None:
        self._polling.cancel()
        await asyncio.wait([self._polling])
        await super().die()


@virtually
async def test_a_processor_that_says_it_fails_while_payments_succeed_keeps_getting_them():
    async with LyingWorld(FINE) as world:
        world.endpoints.says[CHEAP] = HealthReport(failing=True, min_response_ms=5000)
        for _ in range(600):
            await world.pay(1)
            await asyncio.sleep(0.1)
        await world.until_settled(within_s=10)
        print("at the cheapest although it says it fails:", len(world.cheap.books), "of 600")
        assert len(world.cheap.books) >= 540
        world.check_books()


@virtually
async def test_a_processor_that_says_it_fails_is_believed_while_nothing_contradicts_it():
    async with LyingWorld(FAILING, patience_s=1.0) as world:
        world.endpoints.says[DEAR] = FINE
        world.cheap.script = world.dear.script = failing()
        await asyncio.sleep(1)
        world.dear.script = ok()
        assert world.boards[CHEAP].view(asyncio.get_running_loop().time()).standing is Standing.DOWN


@virtually
async def test_a_processor_that_says_it_is_fine_while_payments_fail_holds_up_little():
    async with LyingWorld(FINE, patience_s=2.0) as world:
        world.cheap.script = failing()
        late = []
        for _ in range(400):
            before_s = asyncio.get_running_loop().time()
            [one] = await world.pay(1)
            late.append((one, before_s))
            await asyncio.sleep(0.1)
        await world.until_settled(within_s=10)
        assert len(world.dear.books) == 400
        waited_s = [
            (world.store._rows[one].settlement.settled_us - START_US) / 1e6 - before_s for one, before_s in late
        ]
        print("longest wait with a lying cheapest:", max(waited_s))
        assert max(waited_s) < 3.0
        assert len(world.sends_to(CHEAP)) < 200


@virtually
async def test_after_a_lie_payments_go_to_the_cheapest_that_proves_to_work():
    async with LyingWorld(FAILING, patience_s=10.0) as world:
        world.endpoints.says[DEAR] = FINE
        await asyncio.sleep(60)
        await world.pay(100)
        await world.until_settled(within_s=4)
        assert len(world.cheap.books) == 100
