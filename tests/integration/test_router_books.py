"""A whole router on a real file, with real HTTP to two simulated processors: both sides' books, and its restarts."""

from __future__ import annotations

import asyncio
import functools
import time
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
import uvloop

from integration.simulator_client import until
from payrouter.bootstrap import running_router
from payrouter.domain.events import AttemptFailed, StandingChanged
from payrouter.domain.payment import Payment, PaymentState
from payrouter.domain.processor import Processor
from payrouter.domain.routing import Reason, ReasonCode
from payrouter.domain.window import Window
from payrouter.ports.queue import Acceptance
from payrouter.settings import Settings
from payrouter_lab.bench.ids import payment_id
from payrouter_lab.simulator import HealthReport, ProcessorSimulator, SimulatorOptions


class Bed:
    """Two simulators that outlive routers, and the events of all routers."""

    def __init__(self, folder) -> None:
        self._data = folder / "payrouter.db"
        self.default = ProcessorSimulator(SimulatorOptions("default"))
        self.fallback = ProcessorSimulator(SimulatorOptions("fallback", Decimal("0.15")))
        self.events: list[object] = []
        self._count = 0

    def publish(self, event) -> None:
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def begin(self) -> None:
        simulators = (self.default, self.fallback)
        ports = [await one.start() for one in simulators]
        self._processors = tuple(
            Processor(one.options.name, f"http://127.0.0.1:{port}", one.options.fee)
            for one, port in zip(simulators, ports, strict=True)
        )

    async def end(self) -> None:
        await self.default.stop()
        await self.fallback.stop()

    @asynccontextmanager
    async def router(self, **settings):
        """One life; on leaving it is stopped gracefully."""
        given = {"patience_s": 1.0, "attempt_timeout_s": 0.5, "stop_timeout_s": 0.2} | settings
        chosen = Settings(processors=self._processors, data=self._data, **given)
        async with running_router(chosen, self) as router:
            yield router

    async def pay(self, router, count=1, cents=1990) -> list[str]:
        """Accept payments and return their ids."""
        loop = asyncio.get_running_loop()
        ids = [payment_id(9, 9, self._count + index) for index in range(count)]
        self._count += count
        answers = [loop.create_future() for _ in ids]
        for one, answer in zip(ids, answers, strict=True):
            router.acceptor.accept(Payment(one, cents, router.clock.now_us()), answer.set_result)
        assert set(await asyncio.gather(*answers)) == {Acceptance.ACCEPTED}
        return ids

    async def until_settled(self, router, count) -> None:
        await until(lambda: len(self.default.books) + len(self.fallback.books) >= count)
        while sum(total.count for total in (await router.summary(Window())).values()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def check(self, router, ids) -> None:
        """Both sides have exactly these payments, each once, with the same instant and cents."""
        totals = await router.summary(Window())
        charged = []
        for simulator in (self.default, self.fallback):
            charges = simulator.charges
            charged += [charge.correlation_id for charge in charges]
            total = totals.get(simulator.options.name)
            assert (
                (total.count, total.amount_minor)
                if total
                else (
                    len(charges),
                    sum(charge.cents for charge in charges),
                )
                == (0, 0)
            )
            for charge in charges:
                record = await router.find(charge.correlation_id)
                assert (record.state, record.processor, record.amount_minor, record.requested_us) == (
                    PaymentState.SETTLED,
                    simulator.options.name,
                    charge.cents,
                    charge.requested_us,
                )
        assert sorted(charged) == sorted(ids)


def over_a_bed(tmp_path, test) -> None:
    """Run an async test over a bed, on the product's event loop, within 10 s."""

    async def over():
        bed = Bed(tmp_path)
        await bed.begin()
        try:
            await test(bed)
        finally:
            await bed.end()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(over(), 10))


def with_bed(test):
    """Make an async test over a bed one that pytest can call."""

    def run(tmp_path):
        over_a_bed(tmp_path, test)

    run.__name__ = test.__name__
    return run


@pytest.mark.parametrize(
    "faults", [{"answer_lost": 0.3}, {"garbage_answer": 0.3}, {"refuse_before": 0.3}], ids=lambda one: next(iter(one))
)
def test_the_books_agree_whatever_happens_to_answers(tmp_path, faults):
    over_a_bed(tmp_path, functools.partial(_books_agree, faults=faults))


async def _books_agree(bed, faults):
    for simulator in (bed.default, bed.fallback):
        simulator.faults = simulator.faults.patched(faults)
    async with bed.router() as router:
        ids = [one for _ in range(10) for one in await bed.pay(router, 20)]
        await bed.until_settled(router, 200)
        await bed.check(router, ids)
    assert any(event.outcome == "outcome unknown" for event in bed.of(AttemptFailed))
    if "refuse_before" not in faults:
        assert bed.default.duplicates, "lost answers are asked for again"


@with_bed
async def test_an_attempt_given_up_on_is_charged_later_and_settled_with_its_own_instant(bed):
    bed.default.configure(delay_ms=1500)
    async with bed.router() as router:
        [one] = await bed.pay(router)
        await until(lambda: bool(bed.default.books))
        assert (await router.find(one)).state is PaymentState.PINNED
        bed.default.configure(delay_ms=0)
        await bed.until_settled(router, 1)
        await bed.check(router, [one])
        record = await router.find(one)
        assert record.processor == "default"
        assert record.failures[0].outcome == "outcome unknown"


@with_bed
async def test_a_router_that_starts_again_repeats_what_was_in_flight_where_it_was(bed):
    bed.default.configure(delay_ms=1000)
    async with bed.router(attempt_timeout_s=10.0) as router:
        ids = await bed.pay(router, 5)
        await asyncio.sleep(0.1)
        instants = {one: (await router.find(one)).requested_us for one in ids}
    assert bed.default.books == {}
    async with bed.router(attempt_timeout_s=10.0) as router:
        await bed.until_settled(router, 5)
        assert bed.default.books == {one: (1990, instants[one]) for one in ids}
        await bed.check(router, ids)


@with_bed
async def test_a_processor_that_is_gone_is_passed_over_after_patience_and_used_again_when_back(bed):
    port = int(bed._processors[0].url.rpartition(":")[2])
    await bed.default.stop()
    async with bed.router(patience_s=0.5) as router:
        ids = await bed.pay(router, 20)
        await bed.until_settled(router, 20)
        assert len(bed.fallback.books) == 20
        await bed.default.start(port=port)
        while bed.of(StandingChanged)[-1].after != "usable":
            ids += await bed.pay(router)
            await asyncio.sleep(0.05)
        before = len(bed.fallback.books)
        ids += await bed.pay(router, 20)
        await bed.until_settled(router, len(ids))
        assert len(bed.default.books) >= 20
        assert len(bed.fallback.books) <= before + 2
        await bed.check(router, ids)


@with_bed
async def test_restarts_make_no_health_call_within_five_seconds_of_the_last(bed):
    start_s = time.monotonic()
    for _ in range(4):
        async with bed.router():
            await asyncio.sleep(0.3)
    assert time.monotonic() - start_s < 5
    assert len(bed.default.health_calls) == len(bed.fallback.health_calls) == 1


@with_bed
async def test_a_health_endpoint_that_hangs_or_lies_keeps_no_payment_from_the_cheapest(bed):
    bed.default.faults.health_lies = HealthReport(failing=False, min_response_ms=5)
    bed.fallback.faults.health_hangs = True
    async with bed.router() as router:
        ids = await bed.pay(router, 50)
        await bed.until_settled(router, 50)
        assert len(bed.default.books) == 50
        await bed.check(router, ids)


@with_bed
async def test_after_a_purge_nothing_old_is_repeated_and_new_payments_settle(bed):
    bed.default.configure(delay_ms=400)
    async with bed.router(allow_purge=True, attempt_timeout_s=0.2) as router:
        await bed.pay(router, 3)
        await asyncio.sleep(0.1)
        await router.purge()
        await asyncio.sleep(0.5)
        bed.default.purge()
        bed.default.configure(delay_ms=0)
        await asyncio.sleep(0.5)
        assert bed.default.books == {}
        ids = await bed.pay(router, 10)
        await bed.until_settled(router, 10)
        await bed.check(router, ids)


@with_bed
async def test_the_reason_of_every_settled_payment_is_kept(bed):
    async with bed.router() as router:
        [one] = await bed.pay(router)
        await bed.until_settled(router, 1)
        reason = Reason.decode((await router.find(one)).reason)
        assert (reason.code, reason.passed_over) == (ReasonCode.CHEAPEST, ())
