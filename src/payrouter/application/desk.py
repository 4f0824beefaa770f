"""The operator's desk: what goes on in the whole installation, looked at twice a second.

Everything comes from ports: what living processes tell of themselves, the queue, the ledger. A store that is away
costs the figures it would give, and is said; nothing here changes a payment but `retry`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from payrouter.application.books_watch import BooksState
from payrouter.domain.errors import StoreError
from payrouter.domain.ledger import Totals
from payrouter.domain.money import fee_minor
from payrouter.domain.snapshot import ProcessorSnapshot
from payrouter.domain.window import Window

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from payrouter.application.books_watch import BooksReport, BooksWatch
    from payrouter.domain.ledger import PaymentRecord
    from payrouter.domain.processor import Processor
    from payrouter.domain.snapshot import NodeSnapshot
    from payrouter.ports.clock import Clock
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.observation import NodeBoard
    from payrouter.ports.queue import Backlog, DeadLetter, PaymentQueue

LOOK_EVERY_S = 0.5
LOOKS_PER_POINT = 2
KEPT_POINTS = 600
"""Points of history, one a second."""

LOOKS_PER_RATE = 2
"""Rates are taken over a whole second, or what is sent in bursts would flicker."""

TOTALS_EVERY_S = 10.0
"""How often the ledger is summed up when nobody looks; once a second while somebody does."""

OLD_BACKLOG_S = 60.0
SILENT_S = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second over the last one: accepted, settled and failed attempts, and the latter two by processor."""

    accepted: float = 0.0
    settled: float = 0.0
    failed: float = 0.0
    settled_by: dict[str, float] = field(default_factory=dict)
    failed_by: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessorOverview:
    """One processor over all dispatchers. `seen` is None while no dispatcher tells of it."""

    processor: Processor
    seen: ProcessorSnapshot | None
    settled: Totals
    fees_minor: int


@dataclass(frozen=True, slots=True)
class Money:
    """Settled payments of configured processors, and what they cost against always taking the dearest or cheapest."""

    settled: Totals
    fees_minor: int
    saved_minor: int
    lost_minor: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something durable that waits: how many, and since when the oldest (UTC us)."""

    count: int = 0
    since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at one instant (UTC us). `webhooks` is None when there are none; `reason`: why the oldest waits.

    `unread`: which of `nodes`, `backlog`, `dead_letters`, `webhooks` and `totals` a store did not tell.
    """

    at_us: int
    nodes: tuple[NodeSnapshot, ...]
    rates: Rates
    backlog: Waiting
    reason: str | None
    processors: tuple[ProcessorOverview, ...]
    money: Money
    unknown: Waiting
    dead_letters: int
    poison: int
    webhooks: Waiting | None
    books: BooksReport
    problems: tuple[str, ...]
    unread: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Point:
    """What history keeps of an overview."""

    at_us: int
    rates: Rates
    backlog: Waiting
    observed_ms: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Watched:
    """What the desk looks at. `webhooks` counts those that wait, None when there are none at all."""

    nodes: NodeBoard
    queue: PaymentQueue
    ledger: Ledger
    books: BooksWatch
    processors: tuple[Processor, ...]
    dispatched_elsewhere: bool
    webhooks: Callable[[], Awaitable[tuple[int, int | None]]] | None = None


class Desk:
    """Looks, remembers the last ten minutes, and tells listeners of each look."""

    def __init__(self, watched: Watched, clock: Clock) -> None:
        self._watched = watched
        self._clock = clock
        self._looks: deque[dict[str, NodeSnapshot]] = deque(maxlen=LOOKS_PER_RATE)
        self._node_rates: dict[str, Rates] = {}
        self._totals: dict[str, Totals] = {}
        self._totals_s = float("-inf")
        self._asked_s = float("-inf")
        self._latest: Overview | None = None
        self.history: deque[Point] = deque(maxlen=KEPT_POINTS)
        self.listeners: set[Callable[[Overview], None]] = set()

    async def run(self) -> None:
        """Look, for ever."""
        for number in count():
            overview = await self.look()
            if number % LOOKS_PER_POINT == 0:
                self.history.append(_point(overview))
            await asyncio.sleep(LOOK_EVERY_S)

    async def latest(self) -> Overview:
        """Return the last look; or look now, when nobody has for a while: then it knows less than it could."""
        now_s = self._clock.monotonic_s()
        rested = not self.listeners and now_s - self._asked_s > 4 * LOOK_EVERY_S
        self._asked_s = now_s
        return await self.look() if rested or self._latest is None else self._latest

    async def glance(self) -> Overview:
        """Return the last look to a program that needs no sums of the ledger: nobody sums up for it."""
        return self._latest or await self.look()

    async def look(self) -> Overview:
        """Look once."""
        watched, unread = self._watched, dict[str, str]()
        nodes = await self._asked("nodes", watched.nodes.nodes(), [], unread)
        backlog = await self._asked("backlog", self._backlog(), Waiting(), unread)
        dead_letters, poison = await self._asked("dead_letters", watched.queue.dead_letter_counts(), (0, 0), unread)
        webhooks = None
        if watched.webhooks is not None:
            webhooks = Waiting(*await self._asked("webhooks", watched.webhooks(), (0, None), unread))
        await self._sum_up(unread)
        rates = self._rates(nodes)
        unknown = _unknown(nodes)
        overview = Overview(
            at_us=self._clock.now_us(),
            nodes=tuple(nodes),
            rates=rates,
            backlog=backlog,
            reason=next((one.waits for one in nodes if one.waits), None) if backlog.count else None,
            processors=tuple(self._processor(one, nodes) for one in watched.processors),
            money=self._money(),
            unknown=unknown,
            dead_letters=dead_letters,
            poison=poison,
            webhooks=webhooks,
            books=watched.books.report,
            problems=(),
            unread=frozenset(unread),
        )
        problems = [*unread.values(), *self._problems(overview)]
        overview = replace(overview, problems=tuple(dict.fromkeys(problems)))
        self._latest = overview
        for listener in list(self.listeners):
            listener(overview)
        return overview

    async def _asked(self, what: str, asking: Awaitable[T], otherwise: T, unread: dict[str, str]) -> T:
        try:
            return await asking
        except StoreError as error:
            unread[what] = str(error)
            return otherwise

    async def _backlog(self) -> Waiting:
        backlog: Backlog = await self._watched.queue.backlog()
        return Waiting(backlog.waiting, backlog.oldest_us if backlog.waiting else None)

    async def _sum_up(self, unread: dict[str, str]) -> None:
        now_s = self._clock.monotonic_s()
        looked_at = self.listeners or now_s - self._asked_s < TOTALS_EVERY_S
        if now_s - self._totals_s < (LOOK_EVERY_S if looked_at else TOTALS_EVERY_S):
            return
        self._totals_s = now_s
        summary = self._watched.ledger.summary(Window())
        self._totals = await self._asked("totals", summary, self._totals, unread)

    # -- figures

    def _rates(self, nodes: Sequence[NodeSnapshot]) -> Rates:
        """Return the sum over all processes; one that has told nothing since then counts as it did last."""
        earlier = self._looks[0] if self._looks else {}
        names = [one.name for one in self._watched.processors]
        rates: dict[str, Rates] = {}
        for node in nodes:
            before = earlier.get(node.node)
            if before is None:
                rates[node.node] = Rates()
            elif node.at_us > before.at_us:
                rates[node.node] = _rates_between(before, node, names)
            else:
                rates[node.node] = self._node_rates.get(node.node, Rates()) if node.seen_s_ago < SILENT_S else Rates()
        self._looks.append({node.node: node for node in nodes})
        self._node_rates = rates
        return Rates(
            sum(one.accepted for one in rates.values()),
            sum(one.settled for one in rates.values()),
            sum(one.failed for one in rates.values()),
            {name: sum(one.settled_by.get(name, 0.0) for one in rates.values()) for name in names},
            {name: sum(one.failed_by.get(name, 0.0) for one in rates.values()) for name in names},
        )

    def _processor(self, one: Processor, nodes: Sequence[NodeSnapshot]) -> ProcessorOverview:
        seen = [seen for node in nodes for seen in node.processors if seen.name == one.name]
        settled = self._totals.get(one.name, Totals())
        return ProcessorOverview(one, merged(seen), settled, fee_minor(settled.amount_minor, one.fee))

    def _money(self) -> Money:
        processors = self._watched.processors
        payments = amount = fees = dearest = cheapest = 0
        for one in processors:
            settled = self._totals.get(one.name, Totals())
            payments += settled.count
            amount += settled.amount_minor
            fees += fee_minor(settled.amount_minor, one.fee)
            dearest += fee_minor(settled.amount_minor, max(other.fee for other in processors))
            cheapest += fee_minor(settled.amount_minor, min(other.fee for other in processors))
        return Money(Totals(payments, amount), fees, dearest - fees, fees - cheapest)

    def _problems(self, seen: Overview) -> list[str]:
        problems = []
        dispatchers = [node for node in seen.nodes if node.processors]
        if self._watched.dispatched_elsewhere and "nodes" not in seen.unread:
            if not dispatchers:
                problems.append("no dispatcher tells of itself: payments are accepted and wait; start one")
            elif not any(node.leads for node in seen.nodes):
                problems.append("no dispatcher leads: nobody asks the processors for their health")
        problems += [
            f"{node.name} on {node.host} has told nothing for {node.seen_s_ago:.0f} s"
            for node in seen.nodes
            if node.seen_s_ago > SILENT_S
        ]
        if dispatchers and all(one.seen is not None and one.seen.standing == "down" for one in seen.processors):
            problems.append("every processor is down: payments wait")
        if dispatchers and all(one.seen is not None and one.seen.paused for one in seen.processors):
            problems.append("every processor is paused: payments wait until one goes on")
        if seen.backlog.since_us is not None:
            age_s = (seen.at_us - seen.backlog.since_us) / 1_000_000
            if age_s > OLD_BACKLOG_S:
                problems.append(f"the oldest payment has been waiting for {age_s:.0f} s")
        if seen.poison:
            problems.append(f"{seen.poison} entries were put aside, as nobody can read them")
        if seen.books.state is BooksState.DIFFER:
            problems.append("the books differ from a processor's: see the audit")
        return problems

    # -- one payment, dead letters

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment.

        Raises:
            StoreUnavailable: if a store cannot be asked.
        """
        return await self._watched.ledger.find(correlation_id)

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first.

        Raises:
            StoreUnavailable: if they cannot be read.
        """
        poison = set(await self.poison(limit))
        return [one for one in await self._watched.queue.dead_letters(limit) if one.correlation_id not in poison]

    async def poison(self, limit: int) -> dict[str, str]:
        """Return what was put aside, by its place or id.

        Raises:
            StoreUnavailable: if it cannot be read.
        """
        return await self._watched.queue.poison(limit)

    async def retry(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many; a pinned one repeats its attempt.

        Raises:
            StoreUnavailable: if it cannot be done.
        """
        return await self._watched.queue.retry_dead_letters(correlation_ids)


def merged(seen: Sequence[ProcessorSnapshot]) -> ProcessorSnapshot | None:
    """Return one processor as all dispatchers together see it: sums, means, and what most of them say."""
    if not seen:
        return None

    def most(values: list[str]) -> str:
        return Counter(values).most_common(1)[0][0]

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return ProcessorSnapshot(
        name=seen[0].name,
        standing=most([one.standing for one in seen]),
        breaker=most([one.breaker for one in seen]),
        paused=any(one.paused for one in seen),
        expected_ms=mean([one.expected_ms for one in seen]) or 0.0,
        observed_ms=mean([one.observed_ms for one in seen]),
        reported_ms=mean([one.reported_ms for one in seen]),
        reported_failing=any(one.reported_failing for one in seen),
        in_flight=sum(one.in_flight for one in seen),
        limit=sum(one.limit for one in seen),
        pinned=sum(one.pinned for one in seen),
    )


def _rates_between(before: NodeSnapshot, now: NodeSnapshot, names: Sequence[str]) -> Rates:
    passed_s = (now.at_us - before.at_us) / 1_000_000

    def rate(name: str, *labels: str) -> float:
        return max(0.0, now.total(name, *labels) - before.total(name, *labels)) / passed_s

    settled = {name: rate("payments_settled_total", name) for name in names}
    failed = {name: rate("attempts_total", name) - rate("attempts_total", name, "charged") for name in names}
    accepted = rate("payments_accepted_total", "accepted")
    return Rates(accepted, sum(settled.values()), sum(failed.values()), settled, failed)


def _unknown(nodes: Sequence[NodeSnapshot]) -> Waiting:
    since = [node.unresolved_since_us for node in nodes if node.unresolved_since_us is not None]
    return Waiting(sum(node.unresolved for node in nodes), min(since, default=None))


def _point(seen: Overview) -> Point:
    observed = {one.processor.name: one.seen.observed_ms if one.seen else None for one in seen.processors}
    return Point(seen.at_us, seen.rates, seen.backlog, observed)
