"""Telling what this process does, for whoever watches: a snapshot on the node board, twice a second."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.domain.breaker import BreakerState
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.snapshot import Count, NodeSnapshot, ProcessorSnapshot
from payrouter.ports.observation import SHOW_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.application.dispatch import Dispatcher
    from payrouter.application.meter import Meter
    from payrouter.domain.board import ProcessorBoard
    from payrouter.ports.clock import Clock
    from payrouter.ports.observation import NodeBoard

OBSERVED_FRESH_S = 60.0
REPORT_FRESH_S = 15.0
LEAVE_WITHIN_S = 0.5

_BREAKER = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process this is. `node` is nobody else's, ever; `role` is `router`, `api` or `dispatcher`."""

    node: str
    role: str
    host: str
    pid: int
    version: str
    started_us: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses: resident memory, and CPU time since its start."""

    resident_bytes: int
    cpu_s: float


class Reporter:
    """Makes snapshots of this process and shows them. `dispatcher` where payments are dispatched."""

    def __init__(
        self,
        identity: Identity,
        meter: Meter,
        clock: Clock,
        usage: Callable[[], Usage],
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self._identity = identity
        self._meter = meter
        self._clock = clock
        self._usage = usage
        self._dispatcher = dispatcher
        self._boards = dispatcher.boards if dispatcher is not None else {}

    def snapshot(self) -> NodeSnapshot:
        """Return what there is to tell now."""
        identity, dispatcher = self._identity, self._dispatcher
        now_s = self._clock.monotonic_s()
        processors = tuple(_seen(board, now_s) for board in self._boards.values())
        unresolved, since_us = dispatcher.unresolved if dispatcher is not None else (0, None)
        return NodeSnapshot(
            node=identity.node,
            role=identity.role,
            host=identity.host,
            pid=identity.pid,
            version=identity.version,
            started_us=identity.started_us,
            at_us=self._clock.now_us(),
            leads=self._meter.leading,
            waits=dispatcher.waits if dispatcher is not None else None,
            unresolved=unresolved,
            unresolved_since_us=since_us,
            processors=processors,
            counts=(*self._meter.counts(), *self._gauges(processors)),
            distributions=tuple(self._meter.distributions()),
        )

    def _gauges(self, processors: tuple[ProcessorSnapshot, ...]) -> list[Count]:
        usage = self._usage()
        gauges = [
            Count("process_resident_memory_bytes", (), usage.resident_bytes),
            Count("process_cpu_seconds_total", (), usage.cpu_s),
            Count("process_start_time_seconds", (), self._identity.started_us / 1_000_000),
        ]
        if self._dispatcher is not None:
            gauges.append(Count("unrecorded", (), self._dispatcher.unrecorded))
            gauges.append(Count("leader", (), int(self._meter.leading)))
        for one in processors:
            label = (one.name,)
            gauges += [
                Count("processor_in_flight", label, one.in_flight),
                Count("processor_limit", label, one.limit),
                Count("processor_breaker", label, _BREAKER[BreakerState(one.breaker)]),
                Count("processor_expected_seconds", label, one.expected_ms / 1000),
                Count("processor_reported_failing", label, int(one.reported_failing)),
                Count("processor_paused", label, int(one.paused)),
                Count("pinned", label, one.pinned),
            ]
        return gauges

    async def run(self, nodes: NodeBoard) -> None:
        """Show a snapshot, for ever; at the end take it away."""
        try:
            while True:
                try:
                    await nodes.show(self.snapshot)
                except StoreUnavailable:
                    # Whoever watches sees that this process tells nothing, and the store's absence is told elsewhere.
                    self._meter.count("store_failures_total", "telling of itself")
                await asyncio.sleep(SHOW_EVERY_S)
        finally:
            await self._leave(nodes)

    async def _leave(self, nodes: NodeBoard) -> None:
        try:
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await nodes.leave(self._identity.node)
        except (StoreUnavailable, TimeoutError):
            self._meter.count("store_failures_total", "taking leave")


def _seen(board: ProcessorBoard, now_s: float) -> ProcessorSnapshot:
    latency = board.latency
    return ProcessorSnapshot(
        name=board.processor.name,
        standing=board.standing(now_s).value,
        breaker=board.breaker.state(now_s).value,
        paused=board.paused,
        expected_ms=board.expected_ms(now_s),
        observed_ms=latency.observed_ms if now_s - latency.observed_s < OBSERVED_FRESH_S else None,
        reported_ms=latency.reported_ms if now_s - latency.reported_s < REPORT_FRESH_S else None,
        reported_failing=board.reported_failing and now_s - latency.reported_s < REPORT_FRESH_S,
        in_flight=board.limiter.in_flight,
        limit=int(board.limiter.limit),
        pinned=board.pinned,
    )
