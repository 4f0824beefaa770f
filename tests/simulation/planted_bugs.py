"""Defects, each a small patch, that a simulation worth its name must find."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from payrouter.adapters import cluster
from payrouter.adapters.http import gateway
from payrouter.adapters.http.client import NoAnswer
from payrouter.adapters.redis import departures, queue
from payrouter.adapters.redis.lease import RedisLease
from payrouter.application import accept, dispatch, news, recorder
from payrouter.domain.attempt import FailedAttempt, Refusal, Refused
from payrouter.domain.errors import StoreUnavailable, StoreUncertain
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.domain.window import Window, cover
from payrouter.entrypoints.api import body
from payrouter.ports.queue import Acceptance
from payrouter_lab.simulation import installation, rows
from payrouter_lab.simulation.redis import SimulatedRedis

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Plant = Callable[[pytest.MonkeyPatch], None]

BUGS: dict[str, Plant] = {}
ONCE_REAL: dict[str, Plant] = {}
"""Bugs that a seed found; rare, so each is kept with a seed that finds it."""


def bug(name: str) -> Callable[[Plant], Plant]:
    """Put a defect on the list."""

    def put(plant: Plant) -> Plant:
        BUGS[name] = plant
        return plant

    return put


# -- accepting


@bug("202 before it is durable")
def _early_202(patch: pytest.MonkeyPatch) -> None:
    async def make_durable(self: Any, group: Any) -> None:
        for _, answer in group:
            answer(Acceptance.ACCEPTED)
        try:
            await self._queue.accept([payment for payment, _ in group])
        except StoreUnavailable:
            return

    patch.setattr(accept.Acceptor, "_make_durable", make_durable)


@bug("a repeat is taken for a new payment once it has settled")
def _no_memory(patch: pytest.MonkeyPatch) -> None:
    settled = SimulatedRedis.settled

    def forgetful(self: Any, *args: bytes) -> int:
        gone = settled(self, *args)
        self.data.known.clear()
        self.data.known_before.clear()
        return gone

    patch.setattr(SimulatedRedis, "settled", forgetful)


@bug("money as float")
def _float_money(patch: pytest.MonkeyPatch) -> None:
    parse = body.parse_amount
    patch.setattr(body, "parse_amount", lambda text: parse(text) and int(float(text) * 100))


# -- claiming and intents


@bug("no intent is written")
def _no_intent(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Any, instance: bytes, _group: bytes, *intents: bytes) -> bytes | None:
        if not self._registered(instance):
            return None
        self.data.waiting -= len(intents) // 3
        return b"1" * (len(intents) // 3)

    patch.setattr(SimulatedRedis, "begin", begin)


@bug("an intent overwrites what stands")
def _overwrite(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Any, _instance: bytes, _group: bytes, *intents: bytes) -> bytes:
        for blob, after in zip(intents[::3], intents[2::3], strict=True):
            self.data.payments[blob] = after
            self.data.waiting -= 1
        return b"1" * (len(intents) // 3)

    patch.setattr(SimulatedRedis, "begin", begin)


@bug("an intent whose answer was lost is taken for written")
def _uncertain_begin(patch: pytest.MonkeyPatch) -> None:
    begin = queue.RedisQueue.begin

    async def hopeful(self: Any, intents: Any) -> list[bool]:
        try:
            return await begin(self, intents)
        except StoreUncertain:
            return [True] * len(intents)

    patch.setattr(queue.RedisQueue, "begin", hopeful)


@bug("no fencing: who was taken over goes on")
def _no_fencing(patch: pytest.MonkeyPatch) -> None:
    set_free = SimulatedRedis._set_free

    def lenient(self: Any, instance: str) -> None:
        until = self.data.dispatchers[instance]
        set_free(self, instance)
        self.data.dispatchers[instance] = until

    patch.setattr(SimulatedRedis, "_set_free", lenient)


@bug("what a dead dispatcher had claimed is forgotten")
def _lost_claims(patch: pytest.MonkeyPatch) -> None:
    hand_on = SimulatedRedis._hand_on

    def careless(self: Any, record: bytes, place: int, blob: bytes) -> None:
        if record[:1] != b"Q":
            hand_on(self, record, place, blob)

    patch.setattr(SimulatedRedis, "_hand_on", careless)


@bug("a dead dispatcher's attempts are sent as new ones")
def _orphans_as_new(patch: pytest.MonkeyPatch) -> None:
    def hand_on(self: Any, record: bytes, place: int, blob: bytes) -> None:
        if record[:1] == b"D":
            return
        if record[:1] != b"Q":
            parts = record.split(b";")
            self.data.payments[blob] = b"Q;" + b";".join(parts[1:5])
            self.data.waiting += 1
        self.data.again.add(place, blob)

    patch.setattr(SimulatedRedis, "_hand_on", hand_on)


# -- outcomes


@bug("no answer means not charged")
def _timeout_as_refused(patch: pytest.MonkeyPatch) -> None:
    outcome = gateway._outcome

    def hasty(done: Any, exchange: Any) -> None:
        if isinstance(exchange, NoAnswer):
            done(Refused(Refusal.UNREACHABLE, exchange.detail))
        else:
            outcome(done, exchange)

    patch.setattr(gateway, "_outcome", hasty)


@bug("422 means failed")
def _422_failed(patch: pytest.MonkeyPatch) -> None:
    of_answer = gateway.outcome_of_answer

    def naive(status: int, said: bytes) -> Any:
        return Refused(Refusal.FAILING, "answered 422") if status == 422 else of_answer(status, said)

    patch.setattr(gateway, "outcome_of_answer", naive)


@bug("502 means not charged")
def _502_refused(patch: pytest.MonkeyPatch) -> None:
    of_answer = gateway.outcome_of_answer

    def naive(status: int, said: bytes) -> Any:
        return Refused(Refusal.FAILING, "answered 502") if status == 502 else of_answer(status, said)

    patch.setattr(gateway, "outcome_of_answer", naive)


@bug("a repeat has a new requestedAt")
def _new_instant(patch: pytest.MonkeyPatch) -> None:
    send = dispatch.Dispatcher._send

    def renewed(self: Any, intent: Any) -> None:
        send(self, replace(intent, requested_us=self._clock.now_us()))

    patch.setattr(dispatch.Dispatcher, "_send", renewed)


@bug("a later 500 unpins")
def _unpin(patch: pytest.MonkeyPatch) -> None:
    concluded = queue._concluded

    def lenient(record: Any, event: PaymentEvent, *, adopted: bool) -> Any:
        if event is PaymentEvent.REFUSED:
            return record.moved(PaymentState.QUEUED, forget=True)
        return concluded(record, event, adopted=adopted)

    patch.setattr(queue, "_concluded", lenient)


@bug("an adopted attempt's refusal counts as the whole truth")
def _adopted_unpins(patch: pytest.MonkeyPatch) -> None:
    concluded = queue._concluded
    patch.setattr(queue, "_concluded", lambda record, event, *, adopted: concluded(record, event, adopted=False))


@bug("a 404 for a payment proves that it was not charged")
def _trust_404(patch: pytest.MonkeyPatch) -> None:
    concluded, proven = queue._concluded, dispatch.Dispatcher._proven

    def unpinning(record: Any, event: PaymentEvent, *, adopted: bool) -> Any:
        if event is PaymentEvent.RETRIED:
            return record.moved(PaymentState.QUEUED, forget=True)
        return concluded(record, event, adopted=adopted)

    def trusting(self: Any, intent: Any, asked_s: float, charged: bool) -> None:
        if charged:
            proven(self, intent, asked_s, charged)
            return
        self._in_flight -= 1
        self._pins.resolved(intent.delivery.correlation_id)
        self._recorder.fail(FailedAttempt(intent, PaymentEvent.RETRIED, self._clock.now_us(), "answered 404"))

    patch.setattr(queue, "_concluded", unpinning)
    patch.setattr(dispatch.Dispatcher, "_proven", trusting)


@bug("any record proves a charge")
def _weak_proof(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gateway, "_proves", lambda _intent, exchange: not isinstance(exchange, NoAnswer))


# -- settling and sums


@bug("acknowledged before it is in the ledger")
def _ack_first(patch: pytest.MonkeyPatch) -> None:
    settle = cluster.ClusterLedger.settle

    async def hasty(self: Any, settlements: Any) -> list[bool]:
        await self._queue.departures.let_go(one.intent.delivery.correlation_id for one in settlements)
        return await settle(self, settlements)

    patch.setattr(cluster.ClusterLedger, "settle", hasty)


@bug("a settle that failed is not repeated")
def _settle_once(patch: pytest.MonkeyPatch) -> None:
    async def once(self: Any, settlements: Any) -> None:
        if settlements:
            try:
                await self._ledger.settle(settlements)
            except StoreUnavailable:
                return

    patch.setattr(recorder.Recorder, "_until_written", once)


@bug("whatever is said of a charge is settled, standing attempt or not")
def _settle_anything(patch: pytest.MonkeyPatch) -> None:
    proven = dispatch.Dispatcher._proven

    def sloppy(self: Any, intent: Any, asked_s: float, charged: bool) -> None:
        moved = replace(intent, requested_us=intent.requested_us + 1) if charged else intent
        proven(self, moved, asked_s, charged)

    patch.setattr(dispatch.Dispatcher, "_proven", sloppy)
    patch.setattr(departures, "_is_of", lambda _record, _intent: True)


@bug("roll-ups outside the transaction")
def _separate_rollups(patch: pytest.MonkeyPatch) -> None:
    async def settle(self: Any, given: Any) -> list[bool]:
        books = self._installation.rows
        written = await self._wire.ask("postgres.settle", lambda: [books.insert(row) for row in given])
        new = [row for row, fresh in zip(given, written, strict=True) if fresh]
        await self._wire.ask("postgres.roll_up", lambda: [books.roll_up(row) for row in new])
        return list(written)

    patch.setattr(installation._Rows, "settle", settle)


@bug("the end of a window is left out")
def _exclusive_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        rows, "cover", lambda window: cover(Window(window.first_us, max(window.first_us, window.last_us - 1)))
    )


# -- coordination


@bug("health calls without a fencing token")
def _unfenced_health(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedRedis, "_leads", lambda _self, _node, _token: True)
    patch.setattr(
        SimulatedRedis,
        "reserve_health_call",
        lambda _self, _node, _token, _processor, _pause_us, _leaves_us, _doubt_us: 0,
    )


# -- once real


def _dies_of_news(patch: pytest.MonkeyPatch) -> None:
    tell = news.HintTeller._tell_what_is_due

    async def brittle(self: Any) -> float | None:
        pause_s = await tell(self)
        for one in self._untold:
            self._next_s[one]
        return pause_s

    patch.setattr(news.HintTeller, "_tell_what_is_due", brittle)


def _believes_any_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RedisLease, "doubt_s", lambda _self: 0.0)


ONCE_REAL["a processor's news comes up while another's are told, and the dispatcher dies of it"] = _dies_of_news
ONCE_REAL["an unwatched clock is believed that a health call was long ago"] = _believes_any_clock
