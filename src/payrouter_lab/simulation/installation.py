"""A whole installation in made-up time: APIs, dispatchers, both stores, processors. Only servers and wires are made up.

What runs in each process is put together by the product's own composition root.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

from payrouter.adapters.http.gateway import HttpGateway
from payrouter.adapters.http.message import Request
from payrouter.application.webhooks import Telling, signing_key
from payrouter.bootstrap.cluster import Stores, engine_over
from payrouter.bootstrap.roles import connections_per_processor, dispatching, intake
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.processor import Processor
from payrouter.entrypoints.api.routes import Api
from payrouter.entrypoints.webhook_body import webhook_body
from payrouter.settings import Settings
from payrouter_lab.simulation.processes import HostClock, Process
from payrouter_lab.simulation.processors import SimulatedPool, SimulatedProcessor
from payrouter_lab.simulation.receiver import SECRET, SimulatedReceiver, WireToReceiver
from payrouter_lab.simulation.redis import SimulatedRedis
from payrouter_lab.simulation.rows import SimulatedRows
from payrouter_lab.simulation.sites import Site, Wire
from payrouter_lab.simulation.universe import START_US, Universe
from payrouter_lab.simulator.state import SimulatorOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from payrouter.adapters.http.client import PoolLimits
    from payrouter.adapters.postgres.ledger import PostgresLedger, SettledRow
    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.scripts import Script
    from payrouter.adapters.redis.subscription import Subscription
    from payrouter.bootstrap.roles import Dispatching
    from payrouter.domain.events import Event
    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.window import Window

FEES = {"default": Decimal("0.05"), "fallback": Decimal("0.15")}
MOST_NOTICES = 1_000_000
JSON_HEADERS = [(b"content-type", b"application/json")]


@dataclass(frozen=True)
class Shape:
    """How an installation is built. `host_clocks_s`: how far hosts' clocks may be off at most.

    `webhooks`: whether a receiver is told of settled payments and dead letters.
    """

    apis: int = 2
    dispatchers: int = 2
    attempt_timeout_s: float = 2.0
    patience_s: float = 2.0
    max_in_flight: int = 64
    queue_limit: int = 100_000
    remember_settled: int = 1_000_000
    poll_s: float = 0.05
    gather_s: float = 0.02
    policy: str = "least-cost"
    host_clocks_s: float = 0.0
    webhooks: bool = False


class _Quiet:
    """`EventSink`: what happened is seen from outside. Asked to, it tells."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell

    def publish(self, event: Event) -> None:
        self._tell(event)


class Installation:
    """Everything there is in one run. `steps` counts what was done by label, `killed_at` where processes were killed.

    `on_step` decides whether a process dies at a step; set by whoever plans faults.
    """

    def __init__(self, shape: Shape, chance: random.Random) -> None:
        self.shape = shape
        self.chance = chance
        self.universe = Universe()
        self.redis_clock = HostClock(self.universe)
        self.redis = SimulatedRedis(self.redis_clock.now_us)
        self.rows = SimulatedRows()
        self.redis_site = Site(self.universe, chance, "Redis")
        self.postgres_site = Site(self.universe, chance, "PostgreSQL")
        self.steps: Counter[str] = Counter()
        self.killed_at: Counter[str] = Counter()
        self.on_step: Callable[[Process, str], bool] = lambda _process, _step: False
        self.tell: Callable[[str, Event], None] = lambda _who, _event: None
        self.processors = {
            name: SimulatedProcessor(self.universe, chance, SimulatorOptions(name=name, fee=fee))
            for name, fee in FEES.items()
        }
        self.apis: list[ApiProcess] = []
        self.dispatchers: list[DispatcherProcess] = []
        self._born = 0
        self.receiver: SimulatedReceiver | None = None
        if shape.webhooks:
            self.receiver = SimulatedReceiver(self.universe, random.Random(chance.getrandbits(64)))
        self.settings = Settings(
            processors=tuple(Processor(name, f"http://{name}", fee) for name, fee in FEES.items()),
            redis_url="redis://simulated",
            postgres_url="postgresql://simulated",
            policy=shape.policy,
            patience_s=shape.patience_s,
            last_resort_s=shape.patience_s,
            attempt_timeout_s=shape.attempt_timeout_s,
            max_in_flight=shape.max_in_flight,
            queue_limit=shape.queue_limit,
            remember_settled=shape.remember_settled,
            poll_s=shape.poll_s,
            gather_s=shape.gather_s,
            webhook_url="http://receiver" if shape.webhooks else "",
        )

    def start(self) -> Self:
        """Start everything."""
        self.in_network(self._start_processors)
        self.universe.run(0)
        for _ in range(self.shape.dispatchers):
            self.start_dispatcher()
        for _ in range(self.shape.apis):
            self.start_api()
        return self

    def _start_processors(self) -> None:
        for processor in self.processors.values():
            processor.start()

    def in_network(self, work: Callable[..., Any], *args: Any) -> None:
        """Do something next, as nobody in particular."""
        self.universe.network.call_soon(work, *args)

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin something that goes on beside the processes."""
        return self.universe.network.create_task(work)

    def end_processes(self) -> None:
        """End every process of ours."""
        for member in self.members:
            member.process.doom()
        self.universe.run(0)

    def finish(self) -> None:
        """End everything."""
        for member in self.members:
            member.process.loop.kill()
        self.universe.network.kill()

    # -- processes

    def _process(self, role: str) -> Process:
        self._born += 1
        off_us = round(self.shape.host_clocks_s * 1_000_000)
        clock = HostClock(
            self.universe, ahead_us=self.chance.randint(-off_us, off_us), up_for_s=self.chance.uniform(0, 1e6)
        )
        return Process(self.universe, f"{role}-{self._born}", clock, self._step, self._died)

    def start_dispatcher(self) -> DispatcherProcess:
        """Start one more dispatcher."""
        started = DispatcherProcess(self, self._process("dispatcher"))
        self.dispatchers.append(started)
        return started

    def start_api(self) -> ApiProcess:
        """Start one more API."""
        started = ApiProcess(self, self._process("api"))
        self.apis.append(started)
        return started

    def _step(self, process: Process, step: str) -> bool:
        self.steps[step] += 1
        if self.on_step(process, step):
            self.killed_at[step] += 1
            return True
        return False

    def _died(self, process: Process) -> None:
        self.apis = [one for one in self.apis if one.process is not process]
        self.dispatchers = [one for one in self.dispatchers if one.process is not process]

    @property
    def members(self) -> list[ApiProcess | DispatcherProcess]:
        """Every process that is not dead."""
        return [*self.apis, *self.dispatchers]

    def stores(self, process: Process) -> Stores:
        """Return a process's connections to both stores."""
        return Stores(
            cast("RedisLink", _Link(self, process)),
            cast("PostgresLedger", _Rows(self, process)),
            cast("Subscription", _Subscription(self, process)),
        )

    def gateway(self, process: Process) -> HttpGateway:
        """Return a process's way to the processors."""

        def pool(url: str, limits: PoolLimits) -> SimulatedPool:
            return SimulatedPool(process, self.processors[url.removeprefix("http://")], url, limits)

        return HttpGateway(
            self.settings.processors,
            attempt_timeout_s=self.settings.attempt_timeout_s,
            connections=connections_per_processor(self.settings),
            pool=pool,
        )

    def telling(self, process: Process) -> Telling | None:
        """Return whom a process tells, and how."""
        if self.receiver is None:
            return None
        processors = self.settings.processors
        return Telling(
            WireToReceiver(process, self.receiver),
            lambda notice, record: webhook_body(notice, record, processors),
            signing_key(SECRET),
            MOST_NOTICES,
            random.Random(self.receiver.chance.getrandbits(64)),
        )


class _Member:
    """One process of an installation. `stop` asks it to end as SIGTERM does."""

    def __init__(self, installation: Installation, process: Process) -> None:
        self.installation = installation
        self.process = process
        self.events = _Quiet(lambda event: installation.tell(process.name, event))
        self._stop = asyncio.Event()
        process.start(self._main())

    async def _main(self) -> None:
        try:
            await self._live()
        except* StoreUnavailable:
            # It could not start. Whoever supervises it starts another one.
            installation = self.installation
            if self.process.alive:
                start = installation.start_api if isinstance(self, ApiProcess) else installation.start_dispatcher
                installation.universe.network.call_later(0.2, start)
        self.process.doom()

    async def _live(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Ask it to end: it finishes what it does, within its bound."""
        self.process.loop.call_soon(self._stop.set)


class DispatcherProcess(_Member):
    """`payrouter dispatcher`."""

    running: Dispatching | None = None

    async def _live(self) -> None:
        one, process, settings = self.installation, self.process, self.installation.settings
        async with (
            engine_over(one.stores(process), settings, process.clock, process.name, dispatches=True) as engine,
            dispatching(
                settings, self.events, engine, process.clock, one.gateway(process), one.telling(process)
            ) as running,
        ):
            self.running = running
            await self._stop.wait()


class ApiProcess(_Member):
    """`payrouter api`. `serving` once it listens."""

    api: Api | None = None

    async def _live(self) -> None:
        one, process, settings = self.installation, self.process, self.installation.settings
        async with (
            engine_over(one.stores(process), settings, process.clock, process.name, dispatches=False) as engine,
            intake(settings, self.events, engine, process.clock) as running,
        ):
            self.api = Api(running, allow_purge=False)
            await self._stop.wait()
            # The listening sockets are closed first; whoever is being answered is answered.
            self.api = None
            await asyncio.sleep(0.1)

    def ask(self, method: bytes, target: bytes, body: bytes, answer: Callable[[int, bytes], None]) -> bool:
        """Hand in a request, as it arrives; False when nobody listens. `answer` is called in the network."""
        api = self.api
        if api is None or not self.process.alive:
            return False
        request = Request(method, target, JSON_HEADERS, body)
        self.process.loop.call_soon(api, request, _ClientReply(self, answer))
        return True


class _ClientReply:
    """Where the API answers a client."""

    def __init__(self, member: ApiProcess, answer: Callable[[int, bytes], None]) -> None:
        self._member = member
        self._answer = answer
        self.answered = False
        self.client_gone = False

    def send(self, status: int, body: bytes = b"", **_kept: Any) -> None:
        self.answered = True
        if self._member.process.ended("answer:before"):
            return
        installation = self._member.installation
        delay_s = installation.redis_site.chance.uniform(0.0002, 0.002)
        installation.universe.network.call_later(delay_s, self._answer, status, body)

    def send_raw(self, head: bytes, body: bytes) -> None:
        self.send(int(head[9:12]), body)

    def abort(self) -> None:
        self.answered = True


class _Link:
    """`RedisLink` of one process."""

    def __init__(self, installation: Installation, process: Process) -> None:
        self._redis = installation.redis
        self._wire = Wire(process, installation.redis_site, ordered=True)

    @property
    def connections(self) -> int:
        return self._wire.connections

    async def eval(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:
        del keys  # there is one installation here
        return await self._wire.ask(f"redis.{script.name}", partial(self._redis.run, script.name, args))


class _Rows:
    """`PostgresLedger` of one process."""

    lane = 0

    def __init__(self, installation: Installation, process: Process) -> None:
        self._installation = installation
        self._wire = Wire(process, installation.postgres_site, ordered=False)

    async def name(self, processors: Sequence[str]) -> None:
        await self._wire.ask("postgres.name", lambda: list(processors))

    async def settle(self, rows: Sequence[SettledRow]) -> list[bool]:
        return cast("list[bool]", await self._wire.ask("postgres.settle", lambda: self._installation.rows.settle(rows)))

    async def known(self, correlation_ids: Sequence[str]) -> dict[str, int]:
        known = self._installation.rows.known
        return cast("dict[str, int]", await self._wire.ask("postgres.known", lambda: known(correlation_ids)))

    async def summary(self, window: Window) -> dict[str, Totals]:
        summary = self._installation.rows.summary
        return cast("dict[str, Totals]", await self._wire.ask("postgres.summary", lambda: summary(window)))

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        find = self._installation.rows.find
        return cast("PaymentRecord | None", await self._wire.ask("postgres.find", lambda: find(correlation_id)))

    async def purge(self) -> None:
        await self._wire.ask("postgres.purge", self._installation.rows.purge)


@dataclass
class _Subscription:
    """`Subscription` of one process: None first, and again whenever messages may have been missed."""

    installation: Installation
    process: Process
    _unread: deque[bytes | None] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _listening: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | None:
        if not self._listening:
            self._listening = True
            self.installation.redis.heard.append(self._published)
            self.installation.redis_site.wires.append(cast("Wire", self))
            self._unread.append(None)
        while not self._unread:
            self._wake.clear()
            await self._wake.wait()
        return self._unread.popleft()

    def _published(self, message: bytes) -> None:
        site = self.installation.redis_site
        if self.process.alive and not site.away:
            self.process.loop.call_later(site.one_way_s(), self._heard, message)

    def cut(self) -> None:
        """Break the connection."""
        if self.process.alive:
            self.process.loop.call_later(0.1, self._heard, None)

    def _heard(self, message: bytes | None) -> None:
        self._unread.append(message)
        self._wake.set()

    async def close(self) -> None:
        if self._listening:
            self.installation.redis.heard.remove(self._published)
            self.installation.redis_site.wires.remove(cast("Wire", self))


def instant_us(at_s: float) -> int:
    """Return UTC microseconds of a second of simulated time, by a right clock."""
    return START_US + round(at_s * 1_000_000)
