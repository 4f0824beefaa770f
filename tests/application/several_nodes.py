"""Several nodes of a cluster in one made-up time: each has an event loop of its own, so it can be paused or killed.

Nodes, the store they share and the processors are apart: what was sent arrives and has its effect whatever becomes of
its sender meanwhile, and its answer waits for a paused one to wake.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
from dataclasses import dataclass, field
from typing import Any

from application.virtual_time import START_US
from application.world import CHEAP, DEAR, PROCESSORS, Events
from payrouter.adapters.memory_coordination import MemoryCluster, MemoryLease, MemoryNewsBoard
from payrouter.application.health import HealthPoller
from payrouter.application.leadership import Leadership
from payrouter.application.news import HintTeller, NewsReader
from payrouter.domain.board import ProcessorBoard
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.health import HealthReport
from payrouter.domain.lease import LEASE_S, Term, trusted_until
from payrouter.ports.gateway import GatewayError

NETWORK_S = 0.001
CALL_TIMEOUT_S = 2.0
FINE = HealthReport(failing=False, min_response_ms=5)


class _HaltingSelector(selectors.DefaultSelector):
    """Stops its loop where that would wait, and remembers until when."""

    loop: _Loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout == 0:
            self.loop.busy = True
        else:
            self.loop.next_s = float("inf") if timeout is None else self.loop.time() + timeout
            self.loop.stop()
        return []


class _Loop(asyncio.SelectorEventLoop):
    """A loop in the time of a universe. `next_s` is when its next timer is due, once it has nothing else to do."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self.next_s = float("inf")
        self.busy = False
        selector = _HaltingSelector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._universe.now_s

    def go_on(self) -> bool:
        """Do everything that is to be done now; return whether there was anything."""
        self.busy = False
        self.run_forever()
        return self.busy


@dataclass
class Processors:
    """The health endpoints, as they see us: when each call arrived and from whom."""

    takes_s: dict[str, float] = field(default_factory=lambda: {CHEAP: 0.01, DEAR: 0.01})
    says: dict[str, HealthReport] = field(default_factory=lambda: {CHEAP: FINE, DEAR: FINE})
    calls: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: {CHEAP: [], DEAR: []})

    def gaps(self, processor: str = CHEAP) -> list[float]:
        return [later - earlier for (earlier, _), (later, _) in itertools.pairwise(self.calls[processor])]

    def callers(self, since_s: float = 0.0) -> set[str]:
        return {node for calls in self.calls.values() for at_s, node in calls if at_s >= since_s}


class Universe:
    """Time, the shared store, the processors and the nodes. `ahead_us` is how far the store's clock is ahead."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.ahead_us = 0
        self.cluster = MemoryCluster(self.store_us)
        self.processors = Processors()
        self.nodes: list[Node] = []
        self.network = _Loop(self)
        self._born = itertools.count(1)

    def __enter__(self) -> Universe:
        return self

    def __exit__(self, *_) -> None:
        for node in self.nodes:
            node.bury()
        self._finish(self.network)

    def store_us(self) -> int:
        return START_US + round(self.now_s * 1_000_000) + self.ahead_us

    def start(self, **options) -> Node:
        """Begin a node's life."""
        node = Node(self, f"node-{next(self._born)}", **options)
        self.nodes.append(node)
        return node

    def alive(self) -> list[Node]:
        return [node for node in self.nodes if not node.dead]

    def leader(self) -> Node:
        """The node that leads now; exactly one does."""
        [leader] = [node for node in self.nodes if node.leads]
        return leader

    def leaders(self) -> list[Node]:
        return [node for node in self.nodes if node.leads]

    def run(self, for_s: float) -> None:
        """Let time pass."""
        until_s = self.now_s + for_s
        while True:
            # One may have woken another: go round until all of them wait.
            while sum(loop.go_on() for loop in self._loops()):
                pass
            next_s = min(loop.next_s for loop in self._loops())
            if next_s > until_s:
                break
            self.now_s = max(self.now_s, next_s)
        self.now_s = until_s

    def until(self, condition, within_s: float) -> float:
        """Let time pass until something is so; return how long it took."""
        start_s = self.now_s
        while not condition():
            assert self.now_s - start_s < within_s, f"not within {within_s} virtual seconds"
            self.run(0.01)
        return self.now_s - start_s

    def _loops(self) -> list[_Loop]:
        return [self.network, *(node.loop for node in self.nodes if not node.dead and not node.paused)]

    def _finish(self, loop: _Loop) -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        while loop.go_on():
            pass
        loop.close()


class NodeClock:
    """A host's clocks: neither shows what another host's show."""

    def __init__(self, universe: Universe, ahead_s: float) -> None:
        self._universe = universe
        self._ahead_s = ahead_s

    def now_us(self) -> int:
        return START_US + round((self._universe.now_s + self._ahead_s) * 1_000_000)

    def monotonic_s(self) -> float:
        return self._universe.now_s + self._ahead_s


class Node:
    """One dispatcher's coordination. `cut_off` says whether the store is out of its reach."""

    def __init__(self, universe: Universe, name: str, *, ahead_s: float = 0.0) -> None:
        self.universe = universe
        self.name = name
        self.dead = self.paused = self.cut_off = False
        self.clock = NodeClock(universe, ahead_s)
        self.events = Events()
        self.boards = {one.name: ProcessorBoard(one) for one in PROCESSORS}
        self.purged_before_s: list[float] = []
        self.changes = 0
        self.loop = _Loop(universe)
        lease = MemoryLease(universe.cluster, name, self.clock)
        self.news = _FarNews(self, MemoryNewsBoard(universe.cluster, lease, self.clock))
        poller = HealthPoller(
            _FarProcessors(self),
            _FarHealthCalls(self, lease.health_calls()),
            self.clock,
            self.events,
            self._changed,
            post=self.news.post_report,
        )
        self.leadership = Leadership(
            _FarLease(self, lease), lambda: poller.run(self.boards), name, self.clock, self.events
        )
        self.reader = NewsReader(
            self.news,
            self.boards,
            self.clock,
            self.events,
            on_change=self._changed,
            on_purge=self.purged_before_s.append,
            on_vacancy=self.leadership.try_now,
        )
        self.teller = HintTeller(self.news, self.boards, self.clock, self.events)
        self._main = self.loop.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.leadership.run())
            tasks.create_task(self.reader.run())
            tasks.create_task(self.teller.run())

    def _changed(self) -> None:
        self.changes += 1

    @property
    def leads(self) -> bool:
        """Whether it believes to lead, as far as it can believe anything."""
        return self.leadership.leading and not self.dead

    def pause(self) -> None:
        """Stop it where it stands, as SIGSTOP does."""
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def kill(self) -> None:
        """End it without a word, as SIGKILL does."""
        self.dead = True

    def stop(self) -> None:
        """Ask it to end, and let it say what it has to say."""
        self._main.cancel()
        self.universe.until(self._main.done, within_s=3)
        self.bury()

    def do(self, coroutine) -> Any:
        """Run something in this node."""
        task = self.loop.create_task(coroutine)
        self.universe.until(task.done, within_s=10)
        return task.result()

    def bury(self) -> None:
        """Clear away what is left of it; nothing of that reaches anybody."""
        self.dead = True
        if not self.loop.is_closed():
            if self._main.done() and not self._main.cancelled():
                self._main.result()  # it ended by itself: say why
            self.universe._finish(self.loop)

    async def far(self, work, *, replies_after_s: float = 0.0) -> Any:
        """Have `work` done at the other end of the network, where this node's fate changes nothing."""
        if self.dead:
            raise StoreUnavailable("this node is no more")
        answer = self.loop.create_future()

        def reply(result) -> None:
            if not answer.done():
                answer.set_result(result)

        def arrived() -> None:
            network.call_later(NETWORK_S + replies_after_s, reply, work())

        network = self.universe.network
        network.call_later(NETWORK_S, arrived)
        return await answer

    async def store(self, work) -> Any:
        """Have `work`, a coroutine function of an adapter in memory, done at the store."""
        if self.cut_off and not self.dead:
            await asyncio.sleep(CALL_TIMEOUT_S)
            raise StoreUnavailable("cut off")
        return await self.far(lambda: _result_of(work()))


def _result_of(coroutine) -> Any:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("an adapter in memory waited")


class _FarLease:
    def __init__(self, node: Node, lease: MemoryLease) -> None:
        self._node = node
        self._lease = lease

    async def acquire(self):
        sent_s = self._node.clock.monotonic_s()
        answer = await self._node.store(self._lease.acquire)
        return Term(answer.token, trusted_until(sent_s, ttl_s=LEASE_S)) if isinstance(answer, Term) else answer

    async def release(self):
        await self._node.store(self._lease.release)


class _FarHealthCalls:
    def __init__(self, node: Node, calls) -> None:
        self._node = node
        self._calls = calls

    async def reserve(self, processor):
        return await self._node.store(lambda: self._calls.reserve(processor))

    async def answered(self, processor):
        await self._node.store(lambda: self._calls.answered(processor))


class _FarNews:
    def __init__(self, node: Node, board: MemoryNewsBoard) -> None:
        self._node = node
        self._board = board

    async def post_report(self, processor, report):
        return await self._node.store(lambda: self._board.post_report(processor, report))

    async def post_hint(self, processor, *, up):
        await self._node.store(lambda: self._board.post_hint(processor, up=up))

    async def post_purge(self):
        await self._node.store(self._board.post_purge)

    async def post_pause(self, processor, *, paused):
        await self._node.store(lambda: self._board.post_pause(processor, paused=paused))

    async def news(self):
        return await self._node.store(self._board.news)

    async def listen(self, heard):
        await self._board.listen(lambda: None if self._node.cut_off else heard())


class _FarProcessors:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def health(self, processor):
        processors = self._node.universe.processors

        def arrive():
            processors.calls[processor].append((self._node.universe.now_s, self._node.name))
            return processors.says[processor]

        report = await self._node.far(arrive, replies_after_s=processors.takes_s[processor])
        if isinstance(report, Exception):
            raise GatewayError(str(report))
        return report
