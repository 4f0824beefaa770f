"""A dispatcher in a made-up world: scripted processors that keep books, a store that can be away, virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from application.virtual_time import START_US, VirtualClock
from payrouter.adapters.memory import MemoryStore
from payrouter.application.dispatch import Dispatcher, Ports
from payrouter.domain.attempt import Charged, Invalid, Refusal, Refused, Unknown
from payrouter.domain.board import ProcessorBoard
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.limiter import Limiter
from payrouter.domain.payment import Payment, PaymentState
from payrouter.domain.processor import Processor
from payrouter.domain.routing import LeastCost
from payrouter.ports.gateway import GatewayError

if TYPE_CHECKING:
    from payrouter.domain.health import HealthReport

CHEAP, DEAR = "default", "fallback"
PROCESSORS = (
    Processor(CHEAP, "http://cheap", Decimal("0.05")),
    Processor(DEAR, "http://dear", Decimal("0.15")),
)

# What a processor does with one attempt: what it answers, after how many seconds, and after how many it charges.


@dataclass(frozen=True)
class Fate:
    """`outcome` reaches us after `after_s`; unless None, the payment is charged `charged_s` after it was sent.

    A payment charged before is answered 422 instead of charged; whatever does not charge is answered as it is.
    """

    outcome: object
    after_s: float = 0.01
    charged_s: float | None = None


def ok(after_s: float = 0.01) -> Fate:
    return Fate(Charged(), after_s, after_s)


def failing(after_s: float = 0.01) -> Fate:
    return Fate(Refused(Refusal.FAILING, "answered 500"), after_s)


def busy(after_s: float = 0.001) -> Fate:
    return Fate(Refused(Refusal.BUSY, "answered 429"), after_s)


def unreachable(after_s: float = 0.001) -> Fate:
    return Fate(Refused(Refusal.UNREACHABLE, "cannot connect"), after_s)


def lost(after_s: float = 0.01, charged_s: float | None = 0.01) -> Fate:
    """No answer: we give up after `after_s`; charged whenever `charged_s` says, be it later, or never (None)."""
    return Fate(Unknown("no answer in time"), after_s, charged_s)


def invalid(after_s: float = 0.01) -> Fate:
    return Fate(Invalid("answered 400: no"), after_s)


@dataclass(frozen=True)
class Sent:
    """One attempt as it left: when (virtual seconds), where, and how full the processor was before it."""

    at_s: float
    processor: str
    correlation_id: str
    requested_us: int
    in_flight: int
    limit: int


@dataclass
class ScriptedProcessor:
    """Keeps books. `script` gives the fate of each attempt: a `Fate`, or a function of (intent, times sent)."""

    name: str
    script: object = field(default_factory=ok)
    books: dict[str, tuple[int, int]] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0

    def receive(self, intent, tell):
        """Take an attempt; `tell` gets the outcome later."""
        loop = asyncio.get_running_loop()
        delivery = intent.delivery
        self.times[delivery.correlation_id] += 1
        fate = self.script
        if not isinstance(fate, Fate):
            fate = fate(intent, self.times[delivery.correlation_id])
        if isinstance(fate.outcome, Charged):
            loop.call_later(fate.after_s, lambda: tell(Charged(already=not self._charge(intent))))
            return
        if fate.charged_s is not None:
            loop.call_later(fate.charged_s, self._charge, intent)
        loop.call_later(fate.after_s, tell, fate.outcome)

    def _charge(self, intent) -> bool:
        delivery = intent.delivery
        if delivery.correlation_id in self.books:
            self.duplicates += 1
            return False
        self.books[delivery.correlation_id] = (delivery.amount_minor, intent.requested_us)
        return True


class ScriptedGateway:
    """`ProcessorGateway` to scripted processors, of one life of a router: a dead router hears nothing more."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False

    def send(self, intent, done):
        world, name = self._world, intent.processor
        limiter = world.boards[name].limiter
        now_s = asyncio.get_running_loop().time()
        world.sent.append(
            Sent(
                now_s,
                name,
                intent.delivery.correlation_id,
                intent.requested_us,
                limiter.in_flight - 1,
                int(limiter.limit),
            )
        )
        told = []

        def tell(outcome):
            assert not told, "an attempt has one outcome"
            told.append(outcome)
            if not self.dead:
                done(outcome)

        world.processors[name].receive(intent, tell)

    def prove(self, intent, done):
        delivery = intent.delivery
        record = self._world.processors[intent.processor].books.get(delivery.correlation_id)
        charged = record == (delivery.amount_minor, intent.requested_us)

        def tell():
            if not self.dead:
                done(charged)

        asyncio.get_running_loop().call_later(0.001, tell)

    async def health(self, processor: str) -> HealthReport:
        raise GatewayError("no health here")

    async def close(self) -> None:
        self.dead = True


class MoodyStore(MemoryStore):
    """A memory store whose writes take `commit_s`, half before and half after they count, and fail while away.

    `away` names the writes that fail now: `accept`, `begin`, `conclude`, `settle`.
    """

    def __init__(self, commit_s: float = 0.002, limit: int = 1_000_000) -> None:
        super().__init__(limit=limit)
        self.commit_s = commit_s
        self.away: set[str] = set()

    async def _write(self, name, write, items):
        await asyncio.sleep(self.commit_s / 2)
        if name in self.away:
            raise StoreUnavailable("disk full")
        result = await write(items)
        await asyncio.sleep(self.commit_s / 2)
        return result

    async def accept(self, payments):
        return await self._write("accept", super().accept, payments)

    async def begin(self, intents):
        return await self._write("begin", super().begin, intents)

    async def conclude(self, failures):
        return await self._write("conclude", super().conclude, failures)

    async def settle(self, settlements):
        return await self._write("settle", super().settle, settlements)


class Events:
    """`EventSink` that keeps everything."""

    def __init__(self) -> None:
        self.all: list[object] = []

    def publish(self, event) -> None:
        self.all.append(event)

    def of(self, kind):
        return [event for event in self.all if isinstance(event, kind)]


class World:
    """One router over one store; it can be killed and started again. `sent` is every attempt of all lives."""

    def __init__(self, *, patience_s=10.0, policy=None, most=256, commit_s=0.002, processors=PROCESSORS):
        self.configured = processors
        self.processors = {one.name: ScriptedProcessor(one.name) for one in PROCESSORS}
        self.store = MoodyStore(commit_s)
        self.clock = VirtualClock()
        self.events = Events()
        self.sent: list[Sent] = []
        self.boards: dict[str, ProcessorBoard] = {}
        self._policy = policy or LeastCost(patience_s)
        self._most = most
        self._task: asyncio.Task | None = None
        self._count = 0

    @property
    def cheap(self) -> ScriptedProcessor:
        return self.processors[CHEAP]

    @property
    def dear(self) -> ScriptedProcessor:
        return self.processors[DEAR]

    def start(self) -> Dispatcher:
        """Begin a life."""
        self.boards = {one.name: ProcessorBoard(one, limiter=Limiter(most=self._most)) for one in self.configured}
        self._gateway = ScriptedGateway(self)
        ports = Ports(self.store, self.store, self._gateway, self.clock, self.events)
        self.dispatcher = Dispatcher(ports, self.boards, self._policy)
        self._task = asyncio.get_running_loop().create_task(self.dispatcher.run())
        return self.dispatcher

    async def __aenter__(self) -> World:
        self.start()
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_) -> None:
        await self.die()

    async def die(self) -> None:
        """Die without a word: nothing unwritten is written, no answer is heard any more."""
        assert self._task is not None
        if self._task.done():
            self._task.result()  # it ended by itself: say why
        self._gateway.dead = True
        self._task.cancel()
        await asyncio.wait([self._task])
        self.store.crash()

    async def restart(self) -> Dispatcher:
        await self.die()
        return self.start()

    async def pay(self, count: int = 1, amount_minor: int = 1990) -> list[str]:
        """Accept payments and return their ids."""
        payments = [
            Payment(_id(self._count + index), amount_minor + self._count + index, self.clock.now_us())
            for index in range(count)
        ]
        self._count += count
        await self.store.accept(payments)
        self.dispatcher.wake()
        return [one.correlation_id for one in payments]

    # -- what became of them

    def states(self) -> Counter[PaymentState]:
        return Counter(row.state for row in self.store._rows.values())

    def all_settled(self) -> bool:
        return all(row.state is PaymentState.SETTLED for row in self.store._rows.values())

    async def until(self, condition, within_s: float = 60.0) -> None:
        """Wait in virtual time until something is so."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + within_s
        while not condition():
            assert loop.time() < end_s, f"not within {within_s} virtual seconds; {self.states()}"
            assert self._task is None or not self._task.done(), self._task.exception()
            await asyncio.sleep(0.005)

    async def until_settled(self, within_s: float = 60.0) -> None:
        await self.until(self.all_settled, within_s)

    def sends_of(self, correlation_id: str) -> list[Sent]:
        return [one for one in self.sent if one.correlation_id == correlation_id]

    def sends_to(self, processor: str) -> list[Sent]:
        return [one for one in self.sent if one.processor == processor]

    def pinned(self) -> int:
        return self.states()[PaymentState.PINNED]

    def check_books(self) -> None:
        """Our ledger is exactly the processors' books: by processor, id, instant and cents; nothing is twice."""
        theirs = {name: dict(one.books) for name, one in self.processors.items()}
        ours: defaultdict[str, dict] = defaultdict(dict)
        for correlation_id, row in self.store._rows.items():
            if row.settlement is not None:
                intent = row.settlement.intent
                ours[intent.processor][correlation_id] = (row.payment.amount_minor, intent.requested_us)
        assert {name: ours[name] for name in theirs} == theirs
        charged = Counter(one for books in theirs.values() for one in books)
        assert not [one for one, times in charged.items() if times > 1]


def _id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def instant_s(requested_us: int) -> float:
    """The virtual second of an instant."""
    return (requested_us - START_US) / 1_000_000
