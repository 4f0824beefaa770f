"""Nothing knows how many processors there are: a router with three of them."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import TYPE_CHECKING

import uvloop

from integration.simulator_client import until
from payrouter.bootstrap import running_router
from payrouter.domain.payment import Payment
from payrouter.domain.processor import Processor
from payrouter.domain.window import Window
from payrouter.entrypoints.api.routes import summary_body
from payrouter.settings import Settings
from payrouter_lab.simulator import ProcessorSimulator, SimulatorOptions

if TYPE_CHECKING:
    from pathlib import Path

# Not cheapest first: the operator's order is not the order of fees.
FEES = {"dear": "0.15", "cheap": "0.02", "middle": "0.05"}


class _Silence:
    def publish(self, event: object) -> None:
        """Take a fact and leave it."""


def test_each_payment_goes_to_the_cheapest_of_three_that_works_and_the_summary_has_a_key_for_each(tmp_path: Path):
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            simulators = {name: ProcessorSimulator(SimulatorOptions(name, Decimal(fee))) for name, fee in FEES.items()}
            ports = {name: await one.start() for name, one in simulators.items()}
            for one in simulators.values():
                stack.push_async_callback(one.stop)
            processors = tuple(
                Processor(name, f"http://127.0.0.1:{ports[name]}", Decimal(fee)) for name, fee in FEES.items()
            )
            settings = Settings(processors=processors, data=tmp_path / "payrouter.db", patience_s=0.0)
            router = await stack.enter_async_context(running_router(settings, _Silence()))

            async def pay_five_to(name: str) -> None:
                before = len(simulators[name].books)
                payments = [Payment(str(uuid.uuid4()), 1990, router.clock.now_us()) for _ in range(5)]
                await router.queue.accept(payments)
                router.dispatcher.wake()
                await until(lambda: len(simulators[name].books) >= before + 5)

            await pay_five_to("cheap")
            simulators["cheap"].configure(failing=True)
            await pay_five_to("middle")
            simulators["middle"].configure(failing=True)
            await pay_five_to("dear")
            totals = await router.summary(Window())
            assert summary_body(router.processor_names, totals) == (
                b'{"dear":{"totalRequests":5,"totalAmount":99.50},'
                b'"cheap":{"totalRequests":5,"totalAmount":99.50},'
                b'"middle":{"totalRequests":5,"totalAmount":99.50}}'
            )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), 20))
