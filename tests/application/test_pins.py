"""Pins alone: when a pinned attempt is repeated, and when not."""

from __future__ import annotations

import asyncio

from application.virtual_time import VirtualClock, virtually
from application.world import CHEAP, PROCESSORS
from payrouter.application.pins import LONGEST_REPEAT_S, LOOK_EVERY_S, Pins
from payrouter.domain.attempt import Charged, Delivery, Intent, Refusal, Refused, Unknown
from payrouter.domain.board import ProcessorBoard
from payrouter.domain.limiter import Limiter

LOST = Unknown("no answer")


def attempt(number: int) -> Intent:
    return Intent(Delivery(f"payment-{number}", 1990, 0, number), CHEAP, 1_000 + number, "")


class Bed:
    """Running pins over one board; `sent` is what they repeat: (virtual second, intent)."""

    def __init__(self, most=8) -> None:
        self.board = ProcessorBoard(PROCESSORS[0], limiter=Limiter(most=most))
        self.sent: list[tuple[float, Intent]] = []
        self.pins = Pins({CHEAP: self.board}, VirtualClock(), self._send)
        self.outcome: object = LOST

    def _send(self, intent: Intent) -> None:
        loop = asyncio.get_running_loop()
        self.sent.append((loop.time(), intent))
        probe = self.board.started(loop.time())
        if self.outcome is not None:
            loop.call_later(0.01, self._ended, intent, self.outcome, probe)

    def _ended(self, intent, outcome, probe) -> None:
        self.board.ended(outcome, asyncio.get_running_loop().time(), 10.0, probe=probe)
        if isinstance(outcome, Charged):
            self.pins.resolved(intent.delivery.correlation_id)
        else:
            self.pins.add(intent)

    async def __aenter__(self) -> Bed:
        self._task = asyncio.get_running_loop().create_task(self.pins.run())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@virtually
async def test_the_first_repeat_comes_soon_and_later_ones_less_often():
    async with Bed(most=1_000_000) as bed:
        bed.board.limiter.limit = 1_000_000.0
        bed.outcome = Refused(Refusal.BUSY, "answered 429")  # with so many permits it leaves the breaker closed
        bed.pins.add(attempt(1))
        await asyncio.sleep(60)
        instants = [at_s for at_s, _ in bed.sent]
        gaps = [later - earlier for earlier, later in zip([0.0, *instants], instants, strict=False)]
        assert 0.1 <= gaps[0] < 0.1 + 2 * LOOK_EVERY_S
        assert all(0.18 * 2**step <= gap < 0.3 * 2**step for step, gap in enumerate(gaps[1:5]))
        assert all(LONGEST_REPEAT_S <= gap < LONGEST_REPEAT_S + 0.2 for gap in gaps[7:])
        assert {intent.requested_us for _, intent in bed.sent} == {1001}


@virtually
async def test_an_open_breaker_lets_no_repeat_through_and_a_half_open_one_only_a_few_that_hang():
    async with Bed() as bed:
        for _ in range(3):
            bed.board.breaker.failed(0.0, probe=False)
        for number in range(10):
            bed.pins.add(attempt(number))
        bed.outcome = None
        await asyncio.sleep(0.24)
        assert bed.sent == []
        await asyncio.sleep(0.3)
        assert len(bed.sent) == 1
        await asyncio.sleep(30)
        assert len(bed.sent) == bed.board.breaker.probes.most


@virtually
async def test_when_the_probe_proves_the_processor_back_the_others_follow():
    async with Bed() as bed:
        for _ in range(3):
            bed.board.breaker.failed(0.0, probe=False)
        bed.outcome = Charged(already=True)
        for number in range(5):
            bed.pins.add(attempt(number))
        await asyncio.sleep(0.5)
        assert sorted(intent.requested_us for _, intent in bed.sent) == [1000, 1001, 1002, 1003, 1004]
        assert bed.pins.waiting == 0


@virtually
async def test_repeats_of_a_working_processor_stay_within_its_limit():
    async with Bed(most=3) as bed:
        bed.outcome = None
        for number in range(10):
            bed.pins.add(attempt(number))
        await asyncio.sleep(10)
        assert len(bed.sent) == 3


@virtually
async def test_the_board_is_told_how_many_wait():
    async with Bed() as bed:
        bed.pins.add(attempt(1))
        bed.pins.add(attempt(2))
        assert bed.board.pinned == bed.pins.waiting == 2
        bed.pins.clear()
        assert bed.board.pinned == bed.pins.waiting == 0
        await asyncio.sleep(10)
        assert bed.sent == []


@virtually
async def test_nothing_is_repeated_once_stopped():
    async with Bed() as bed:
        bed.pins.add(attempt(1))
        bed.pins.stop()
        await asyncio.sleep(60)
        assert bed.sent == []
        assert bed.pins.waiting == 1


@virtually
async def test_a_resolved_payment_is_as_good_as_new():
    async with Bed() as bed:
        bed.outcome = Refused(Refusal.BUSY, "answered 429")
        bed.pins.add(attempt(1))
        await asyncio.sleep(10)
        bed.outcome = Charged(already=True)
        await asyncio.sleep(10)
        assert bed.pins.waiting == 0
        before = len(bed.sent)
        bed.pins.add(attempt(1))
        await asyncio.sleep(0.2)
        assert len(bed.sent) == before + 1
