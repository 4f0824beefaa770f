"""Start and stop one simulated processor: in a test's event loop, or as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from payrouter.adapters.http.server import HttpServer
from payrouter.domain.errors import AddressInUse
from payrouter_lab.simulator.books import Charge
from payrouter_lab.simulator.edge import Edge
from payrouter_lab.simulator.state import ProcessorState, SimulatorOptions

if TYPE_CHECKING:
    from payrouter_lab.simulator.faults import Faults


class ProcessorSimulator:
    """One simulated processor. Its books, configuration and counts survive `stop` and a new `start`."""

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self._state = ProcessorState(self.options)
        self._server: HttpServer | None = None
        self._edge: Edge | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, on a free port if `port` is 0, and return the port.

        Raises:
            AddressInUse: if the address cannot be bound.
        """
        edge = Edge(self._state)
        server = HttpServer(edge.handle)
        bound = await server.start_tcp(host, port)
        self._edge, self._server = edge, server
        return bound

    async def stop(self) -> None:
        """Hang up on everybody, as a killed process does: payments still in their delay are not charged."""
        if self._edge is not None and self._server is not None:
            self._edge.close()
            await self._server.stop(0)
            self._edge = self._server = None
            await asyncio.sleep(0)  # lets the transports close before the loop can go away

    def configure(self, *, delay_ms: int | None = None, failing: bool | None = None, token: str | None = None) -> None:
        """Change what is given, as the admin calls do."""
        state = self._state
        state.delay_ms = state.delay_ms if delay_ms is None else delay_ms
        state.failing = state.failing if failing is None else failing
        state.token = state.token if token is None else token

    def purge(self) -> None:
        """Forget every payment."""
        self._state.books.purge()

    @property
    def faults(self) -> Faults:
        """What goes wrong just now; set its fields to change it."""
        return self._state.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._state.faults = faults

    @property
    def books(self) -> dict[str, tuple[int, int]]:
        """Every charged payment: lower-case correlationId to (cents, requested_us), in the order charged."""
        return self._state.books.payments

    @property
    def charges(self) -> list[Charge]:
        """Every charged payment, in the order charged."""
        return [Charge(correlation_id, *record) for correlation_id, record in self.books.items()]

    @property
    def duplicates(self) -> dict[str, int]:
        """How often a payment was posted again after it had been charged, by correlationId."""
        return self._state.books.duplicates

    @property
    def health_calls(self) -> list[float]:
        """Monotonic seconds of the last 10 000 health calls, oldest first, refused and held ones included."""
        return list(self._state.stats.health_calls)

    @property
    def max_running(self) -> int:
        """The most payments that ever ran at once."""
        return self._state.stats.max_running


def run(options: SimulatorOptions, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM. Return the exit code: 0, or 1 if the address cannot be had."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(ProcessorSimulator(options), host, port))
        except AddressInUse as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


async def _serve(simulator: ProcessorSimulator, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    bound = await simulator.start(host, port)
    options = simulator.options
    sys.stdout.write(f"processor {options.name} (fee {options.fee}) listens on http://{host}:{bound}\n")
    sys.stdout.flush()
    try:
        await stopped.wait()
    finally:
        await simulator.stop()
