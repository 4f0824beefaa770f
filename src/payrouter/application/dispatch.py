"""The dispatcher: claims what can be sent, writes the intent, sends, and turns each outcome into its consequence.

The one `match` over outcomes is `_ended`. There is no retry loop: a refused payment goes back to the queue, which
is the retry; an unknown one is pinned and handed to `pins.Pins`, which repeats it where it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, assert_never

from payrouter.application.pins import Pins
from payrouter.application.recorder import Recorder
from payrouter.domain.attempt import Charged, FailedAttempt, Intent, Invalid, Outcome, Refused, Unknown
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import AttemptFailed, PaymentBuried, Recovered, StandingChanged, StoreFailed
from payrouter.domain.ledger import Settlement
from payrouter.domain.payment import PaymentEvent
from payrouter.domain.routing import Send, Wait

if TYPE_CHECKING:
    from payrouter.domain.attempt import Delivery
    from payrouter.domain.board import ProcessorBoard, ProcessorView, Standing
    from payrouter.domain.breaker import Probes
    from payrouter.domain.routing import Decision, Policy
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink
    from payrouter.ports.gateway import ProcessorGateway
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.queue import PaymentQueue


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look. `idle_s`: when nothing waits; long where accepting wakes us. `between_claims_s`: least pause
    between two claims; where each is a round trip, permits gather meanwhile and share one. `gather_s`: how long
    outcomes gather before they are written. `claim_at_once`: most deliveries per claim; enough to share one commit or
    round trip, few enough to be one short turn on a loop that others wait for.
    """

    claim_at_once: int = 64
    idle_s: float = 60.0
    between_claims_s: float = 0.0
    gather_s: float = 0.02


SEND_AT_ONCE = 16
"""Attempts sent before the loop gets a turn: accepting has the right of way."""

MOST_UNRECORDED = 2048
"""Outcomes that may wait for the store before claiming stops (I7)."""

ORPHANS_EVERY_S = 1.0
STORE_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Ports:
    """What dispatching needs from the outside."""

    queue: PaymentQueue
    ledger: Ledger
    gateway: ProcessorGateway
    clock: Clock
    events: EventSink


@dataclass(slots=True)
class _Flight:
    """An attempt under way: sent when (monotonic seconds), and as what."""

    intent: Intent
    sent_s: float
    probe: Probes | None
    pinned: bool


class Dispatcher:
    """Moves payments from the queue to processors and outcomes into the books.

    `boards` are cheapest first, by processor name.
    """

    def __init__(
        self, ports: Ports, boards: dict[str, ProcessorBoard], policy: Policy, pace: Pace | None = None
    ) -> None:
        self._queue = ports.queue
        self._gateway = ports.gateway
        self._clock = ports.clock
        self._events = ports.events
        self._boards = boards
        self._policy = policy
        self._pace = pace or Pace()
        self._recorder = Recorder(
            ports.queue, ports.ledger, ports.events, ports.clock, self.wake, gather_s=self._pace.gather_s
        )
        self._pins = Pins(boards, ports.clock, self._send)
        self._wake = asyncio.Event()
        self._stopping = False
        self._stop_by_s = 0.0
        self._in_flight = 0
        self._purged_s = float("-inf")
        self._standings: dict[str, Standing] = {}
        self._waits: Wait | None = None

    # -- life

    async def run(self) -> None:
        """Dispatch until cancelled; recover first what a dead predecessor left (I6)."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._recorder.run())
            await self._recover()
            tasks.create_task(self._pins.run())
            tasks.create_task(self._watch_orphans())
            tasks.create_task(self._claim_forever())

    async def drain(self, within_s: float) -> bool:
        """Claim nothing more and let what is in flight finish; True when all of it did.

        The bound counts from the first call: a stop has one, whoever waits for parts of it.
        """
        if not self._stopping:
            self._stopping = True
            self._stop_by_s = self._clock.monotonic_s() + within_s
            self._pins.stop()
            self.wake()
        while (self._in_flight or self._recorder.unrecorded) and self._clock.monotonic_s() < self._stop_by_s:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return not (self._in_flight or self._recorder.unrecorded)

    def wake(self) -> None:
        """Something changed: a payment came, a permit is free, a processor has news."""
        self._wake.set()

    async def flush(self, within_s: float) -> None:
        """Return once the books hold every outcome received so far, or after `within_s` when the store is away."""
        await self._recorder.flush(within_s)

    def forget(self, before_s: float | None = None) -> None:
        """Everything was purged: nothing sent before that monotonic second, now by default, has a payment any more."""
        self._pins.clear()
        self._purged_s = self._clock.monotonic_s() if before_s is None else before_s

    @property
    def in_flight(self) -> int:
        """Attempts out now."""
        return self._in_flight

    @property
    def unrecorded(self) -> int:
        """Outcomes that are not durable yet."""
        return self._recorder.unrecorded

    @property
    def boards(self) -> dict[str, ProcessorBoard]:
        """What is known of each processor, cheapest first."""
        return self._boards

    @property
    def waits(self) -> str | None:
        """Why the oldest payment waits, in words; None when it does not."""
        return self._waits.reason.in_words(self._waits.processor) if self._waits is not None else None

    @property
    def unresolved(self) -> tuple[int, int | None]:
        """Attempts of unknown outcome that this dispatcher repeats, and the instant of the oldest (UTC us)."""
        return self._pins.unresolved

    async def _recover(self) -> None:
        while True:
            try:
                await self._adopt_orphans()
                waiting = (await self._queue.backlog()).waiting
            except StoreUnavailable as error:
                self._events.publish(StoreFailed("recovering", str(error)))
                await asyncio.sleep(STORE_RETRY_S)
            else:
                self._events.publish(Recovered(self._in_flight + self._pins.waiting, waiting))
                return

    async def _watch_orphans(self) -> None:
        while True:
            await asyncio.sleep(ORPHANS_EVERY_S)
            if not self._stopping:
                try:
                    await self._adopt_orphans()
                except StoreUnavailable as error:
                    self._events.publish(StoreFailed("looking for stranded attempts", str(error)))
                self.wake()

    async def _adopt_orphans(self) -> None:
        for intent in await self._queue.orphans():
            if intent.processor in self._boards:
                self._pins.add(intent)
            else:
                # I6: it may not leave that processor, so it stands until the operator brings it back.
                detail = "not configured any more; bring it back to PAYROUTER_PROCESSORS"
                failed = AttemptFailed(
                    intent.delivery.correlation_id, intent.processor, PaymentEvent.UNKNOWN.value, detail
                )
                self._events.publish(failed)

    # -- claim, route, intent

    async def _claim_forever(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                look_again_s = await self._claim_once()
            except StoreUnavailable as error:
                self._events.publish(StoreFailed("claiming", str(error)))
                await asyncio.sleep(STORE_RETRY_S)
                continue
            if self._pace.between_claims_s:
                await asyncio.sleep(self._pace.between_claims_s)
            if look_again_s is None:
                continue
            try:
                async with asyncio.timeout(look_again_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _claim_once(self) -> float | None:
        """Send what can be sent now; return after how many seconds to look again, None for at once."""
        backlog = await self._queue.backlog()
        if backlog.oldest_us is None:
            self._waits = None
            return self._pace.idle_s
        if self._recorder.unrecorded >= MOST_UNRECORDED:
            return 0.01
        now_s = self._clock.monotonic_s()
        views = self._views(now_s)
        decision = self._route(backlog.oldest_us, backlog.waiting, views, now_s)
        if isinstance(decision, Wait):
            self._waits = decision
            return max(decision.until_s - now_s, 0.001)
        self._waits = None
        room = 1 if decision.probe else self._boards[decision.processor].limiter.free
        deliveries = await self._queue.claim(min(max(room, 1), self._pace.claim_at_once))
        await self._begin_and_send(deliveries, backlog.waiting)
        return None

    def _views(self, now_s: float) -> list[ProcessorView]:
        views = [board.view(now_s) for board in self._boards.values()]
        for view in views:
            name = view.processor.name
            before = self._standings.get(name)
            if before is not view.standing:
                self._standings[name] = view.standing
                if before is not None:
                    self._events.publish(StandingChanged(name, before, view.standing, view.expected_ms))
        return views

    def _route(self, accepted_us: int, waiting: int, views: list[ProcessorView], now_s: float) -> Decision:
        age_s = max(0.0, (self._clock.now_us() - accepted_us) / 1_000_000)
        return self._policy.route(age_s, waiting, views, now_s)

    async def _begin_and_send(self, deliveries: list[Delivery], waiting: int) -> None:
        now_s = self._clock.monotonic_s()
        chosen: list[tuple[Intent, Probes | None]] = []
        for index, delivery in enumerate(deliveries):
            decision = self._route(delivery.accepted_us, waiting, self._views(now_s), now_s)
            if isinstance(decision, Wait):
                # Those behind it are younger, and would wait at least as long.
                await self._queue.release(deliveries[index:])
                break
            chosen.append(self._take(delivery, decision, now_s))
        if not chosen:
            return
        try:
            written = await self._queue.begin([intent for intent, _ in chosen])
        except StoreUnavailable as error:
            self._events.publish(StoreFailed("writing intents", str(error)))
            for intent, probe in chosen:
                self._boards[intent.processor].cancelled(probe=probe)
            await self._queue.release([intent.delivery for intent, _ in chosen])
            await asyncio.sleep(STORE_RETRY_S)
            return
        for index, ((intent, probe), mine) in enumerate(zip(chosen, written, strict=True)):
            if not mine:
                self._boards[intent.processor].cancelled(probe=probe)
                continue
            if index and index % SEND_AT_ONCE == 0:
                await asyncio.sleep(0)
            self._post(intent, probe=probe)

    def _take(self, delivery: Delivery, decision: Send, now_s: float) -> tuple[Intent, Probes | None]:
        """Take a permit and fix the attempt's instant (I5)."""
        probe = self._boards[decision.processor].started(now_s, counts_as_probe=decision.probe)
        intent = Intent(delivery, decision.processor, self._clock.now_us(), decision.reason.encode())
        return intent, probe

    # -- send, outcome

    def _send(self, intent: Intent) -> None:
        """Repeat a pinned attempt: same processor, same instant."""
        probe = self._boards[intent.processor].started(self._clock.monotonic_s())
        self._post(intent, probe=probe, pinned=True)

    def _post(self, intent: Intent, *, probe: Probes | None, pinned: bool = False) -> None:
        self._in_flight += 1
        flight = _Flight(intent, self._clock.monotonic_s(), probe, pinned)
        self._gateway.send(intent, partial(self._landed, flight))

    def _landed(self, flight: _Flight, outcome: Outcome) -> None:
        """Learn from an outcome; it has a consequence unless its payment was purged meanwhile."""
        self._in_flight -= 1
        now_s = self._clock.monotonic_s()
        latency_ms = (now_s - flight.sent_s) * 1000
        self._boards[flight.intent.processor].ended(outcome, now_s, latency_ms, probe=flight.probe)
        if flight.sent_s > self._purged_s:
            self._ended(flight.intent, latency_ms, outcome, pinned=flight.pinned)
        self.wake()

    def _ended(self, intent: Intent, latency_ms: float, outcome: Outcome, *, pinned: bool) -> None:
        """Turn an outcome into its consequence. The only place that does."""
        if pinned and isinstance(outcome, Charged | Invalid):
            self._pins.resolved(intent.delivery.correlation_id)
        match outcome:
            case Charged():
                self._recorder.settle(Settlement(intent, self._clock.now_us(), latency_ms))
            case Refused(_, detail) if pinned:
                # I6: refused now, but the earlier attempt may still be asleep over there.
                self._fail(intent, PaymentEvent.REFUSED, detail, latency_ms)
                self._pins.add(intent)
            case Refused(_, detail):
                self._fail(intent, PaymentEvent.REFUSED, detail, latency_ms)
            case Unknown(detail) if pinned:
                # A processor slower than our timeout answers no repeat either: its record is the only proof.
                self._fail(intent, PaymentEvent.UNKNOWN, detail, latency_ms)
                self._prove(intent)
            case Unknown(detail):
                self._fail(intent, PaymentEvent.UNKNOWN, detail, latency_ms)
                self._pins.add(intent)
            case Invalid(detail):
                self._fail(intent, PaymentEvent.INVALID, detail, latency_ms)
                self._events.publish(PaymentBuried(intent.delivery.correlation_id, intent.processor, detail))
            case _:
                assert_never(outcome)

    def _prove(self, intent: Intent) -> None:
        self._in_flight += 1
        self._gateway.prove(intent, partial(self._proven, intent, self._clock.monotonic_s()))

    def _proven(self, intent: Intent, asked_s: float, charged: bool) -> None:  # noqa: FBT001 - a callback's shape
        self._in_flight -= 1
        if asked_s <= self._purged_s:
            return
        if charged:
            self._pins.resolved(intent.delivery.correlation_id)
            now_us = self._clock.now_us()
            self._recorder.settle(Settlement(intent, now_us, (now_us - intent.requested_us) / 1000))
        else:
            self._pins.add(intent)

    def _fail(self, intent: Intent, event: PaymentEvent, detail: str, latency_ms: float) -> None:
        self._recorder.fail(FailedAttempt(intent, event, self._clock.now_us(), detail, latency_ms))
        correlation_id = intent.delivery.correlation_id
        self._events.publish(AttemptFailed(correlation_id, intent.processor, event.value, detail, latency_ms))
