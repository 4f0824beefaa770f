"""A machine that makes up any history of an engine's processes and holds every answer against the oracle's.

On the cluster processes fall silent and are taken over, go on with stale receipts, leave, join, and lose the answers
of Redis and PostgreSQL; everywhere they crash, and batches name the same payment twice.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.oracle import A, D, Known, Oracle, P, Q
from contracts.processes import Loss
from contracts.stores import AT_US, PROCESSORS, failed, id_of, payment, settlement
from payrouter.adapters.redis import recovery
from payrouter.domain.attempt import Delivery, FailedAttempt, Intent
from payrouter.domain.errors import StoreUncertain
from payrouter.domain.payment import PaymentEvent
from payrouter.domain.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from contracts.processes import LateCall, Processes
    from payrouter.domain.ledger import Settlement

KNOWN = 12
LIMIT = 8
REASONS = ("cheapest|10.0|1|32|0.10|", "cheapest|12.5|2|32|0.10|")
NUMBERS = st.integers(0, 2)
PICKS = st.lists(st.integers(0, 100), min_size=1, max_size=4)
FAILURES = st.sampled_from([PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID])
LOSSES = st.sampled_from([None, None, None, None, None, Loss.DONE, Loss.LOST, Loss.LATE])
SOON_LOSSES = st.sampled_from([None, None, None, Loss.DONE, Loss.LOST])
ACCEPTED = st.lists(st.tuples(st.integers(1, KNOWN), st.sampled_from([100, 100, 100, 200])), min_size=1, max_size=6)
FRESH = st.sampled_from([True, True, True, False])
STEPS_US = st.integers(1, 1 << 29)
Turn = tuple[int, int, str, int, PaymentEvent | None]
TURNS = st.tuples(
    NUMBERS,
    st.integers(1, 3),
    st.sampled_from(PROCESSORS),
    STEPS_US,
    st.one_of(st.none(), FAILURES, st.just(PaymentEvent.CHARGED)),
)


@dataclass(eq=False)
class Hold:
    """A delivery as its process knows it. It goes on using it, whatever happened to it meanwhile.

    `doubted`: an attempt that may have been written. `unanswered`: what must be called again, and whether it was done.
    """

    number: int
    life: int
    holder: str
    delivery: Delivery
    intent: Intent | None = None
    doubted: Intent | None = None
    unanswered: Unanswered | None = None


@dataclass(eq=False)
class Unanswered:
    """A failed attempt or a charge whose recording was not answered. `was_pinned`: its payment, when it was called."""

    work: FailedAttempt | Settlement
    done: bool = False
    was_pinned: bool = False


class Model(RuleBasedStateMachine):
    """`holds`: every delivery, current or not. A subclass names the `engine`."""

    engine: Callable[[Path, int], Processes]

    @initialize(before=st.lists(st.tuples(ACCEPTED, TURNS), max_size=4))
    def start(self, before: list[tuple[list[tuple[int, int]], Turn]]) -> None:
        self.begin_anew()
        for batch, turn in before:
            self.accept(0, batch, None)
            self.turn(turn)

    def begin_anew(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="payrouter-model-"))
        self.runner = asyncio.Runner()
        self.engine_here = type(self).engine(self.folder, LIMIT)
        self.run(self.engine_here.open())
        self.oracle = Oracle(LIMIT)
        self.holds: list[Hold] = []
        self.late: list[LateCall] = []
        self.now_us = AT_US
        count = len(self.engine_here.processes)
        self.lives = [0] * count
        # Given back in a call that was not answered, with the attempt that may have been written: done again later.
        self.returning: list[dict[str, Intent | None]] = [{} for _ in range(count)]
        self.registered = {self.holder(number) for number in range(count)}
        self.silent: set[str] = set()
        # Settled by a former holder that had not heard what failed after it was taken over.
        self.unheard: set[str] = set()

    # -- driving

    @property
    def many(self) -> bool:
        return hasattr(self, "engine_here") and self.engine_here.many

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def later_us(self, step_us: int = 300_000) -> int:
        self.now_us += step_us
        return self.now_us

    def number(self, number: int) -> int:
        return number % len(self.engine_here.processes)

    def holder(self, number: int) -> str:
        return self.engine_here.holder(number)

    def process(self, number: int) -> Any:
        return self.engine_here.processes[number]

    def call(
        self, number: int, work: Coroutine[Any, Any, Any], script: str, loss: Loss | None, effect: Callable[[], None]
    ) -> tuple[Any, Loss | None]:
        """Call a process, losing the answer to a script; return the answer and what was lost, if anything was.

        `effect` is what the request does to the oracle. It is applied here when an answer was lost, else by the caller.
        """
        if not self.many or loss is None:
            return self.run(work), None
        link, answer = self.process(number).link, None
        link.losing, link.late = (script, loss), None
        try:
            answer = self.run(work)
        except StoreUncertain:
            assert link.losing is None, "an answer was lost that the test had not lost"
        unused, link.losing = link.losing, None
        if unused is not None:
            return answer, None
        if loss is Loss.DONE:
            effect()
        elif loss is Loss.LATE:
            link.late.effect = effect
            self.late.append(link.late)
        return answer, loss

    def mine(self, number: int, *, fresh: bool, begun: bool | None = None) -> list[Hold]:
        """What a process holds, or (not `fresh`) held in this life and may take for its own still; best choice last."""
        found = [
            one
            for one in self.holds
            if (one.number, one.life) == (number, self.lives[number])
            and one.unanswered is None
            and (begun is None or (one.intent is not None) == begun)
            and (self.counts(one) is not None) == fresh
        ]
        return found if fresh else sorted(found, key=self.is_contested)

    def is_contested(self, one: Hold) -> bool:
        """Whether its payment is in other hands now."""
        known = self.oracle.known.get(one.delivery.correlation_id)
        return known is not None and known.receipt is not None

    def stands(self, one: Hold) -> bool:
        """Whether its attempt is still unresolved, whoever holds it now."""
        known = self.oracle.known.get(one.delivery.correlation_id)
        return known is not None and one.intent is not None and not known.settled and known.at == at(one.intent)

    def picked(
        self, number: int, picks: list[int], *, fresh: bool, begun: bool | None = None
    ) -> tuple[int, list[Hold]]:
        """The next process that has such deliveries, and some of them; none if nobody has."""
        found = [self.mine(self.number(number + step), fresh=fresh, begun=begun) for step in range(3)]
        step = next((step for step in range(3) if found[step]), 0)
        return self.number(number + step), picked(found[step], picks)

    def counts(self, one: Hold) -> Known | None:
        return self.oracle.counts(one.holder, one.delivery)

    def hold(self, number: int, delivery: Delivery, intent: Intent | None = None) -> None:
        self.oracle.known[delivery.correlation_id].receipt = delivery.receipt
        self.holds.append(Hold(number, self.lives[number], self.holder(number), delivery, intent))

    # -- what clients do

    @rule(number=NUMBERS, batch=ACCEPTED, loss=LOSSES)
    def accept(self, number: int, batch: list[tuple[int, int]], loss: Loss | None) -> None:
        number, group = self.number(number), [payment(*one) for one in batch]
        work = self.process(number).queue.accept(group)
        answer, lost = self.call(number, work, "accept", loss, lambda: self.oracle.accept(group) and None)
        if lost is None:
            assert answer == self.oracle.accept(group)

    # -- what dispatchers do

    @rule(turn=TURNS)
    def turn(self, turn: Turn) -> None:
        """Claim, begin, and perhaps be answered, as happens all day."""
        number, limit, processor, step_us, event = turn
        number, there = self.number(number), len(self.holds)
        self.claim(number, limit, None)
        chosen = self.holds[there:]
        if not chosen:
            return
        batch = [Intent(one.delivery, processor, self.later_us(step_us), REASONS[0]) for one in chosen]
        process = self.process(number)
        assert self.run(process.queue.begin(batch)) == [self.begun(*each) for each in zip(chosen, batch, strict=True)]
        if event is PaymentEvent.CHARGED:
            charges = [settlement(one) for one in batch]
            assert self.run(process.ledger.settle(charges)) == [self.oracle.settle(one) for one in charges]
        elif event is not None:
            failures = [failed(one, event, event, self.later_us()) for one in batch]
            self.run(process.queue.conclude(failures))
            for one, failure in zip(chosen, failures, strict=True):
                self.oracle.conclude(one.holder, failure)

    @rule(number=NUMBERS, limit=st.integers(1, 5), loss=LOSSES)
    def claim(self, number: int, limit: int, loss: Loss | None) -> None:
        number = self.number(number)
        holder = self.holder(number)

        def claimed() -> list[Known]:
            return self.oracle.claim(holder, limit) if holder in self.registered else []

        self.given_back(number)
        work = self.process(number).queue.claim(limit)
        answer, lost = self.call(number, work, "claim", loss, lambda: claimed() and None)
        if lost is not None:
            return
        expected = [
            Delivery(one.payment.correlation_id, one.payment.amount_minor, one.payment.accepted_us, 0, one.attempts)
            for one in claimed()
        ]
        assert [replace(one, receipt=0) for one in answer] == expected
        for delivery in answer:
            self.hold(number, delivery)

    @precondition(lambda self: self.holds)
    @rule(number=NUMBERS, picks=PICKS, fresh=FRESH, loss=LOSSES)
    def release(self, number: int, picks: list[int], fresh: bool, loss: Loss | None) -> None:
        number, chosen = self.picked(number, picks, fresh=fresh, begun=False)
        for one in chosen:
            known = self.counts(one)
            if known is not None:
                known.receipt = None
                self.returning[number][one.delivery.correlation_id] = one.doubted
        work = self.process(number).queue.release([one.delivery for one in chosen])
        _, lost = self.call(number, work, "release", loss, lambda: self.given_back(number, again=True))
        if lost is None:
            self.given_back(number)

    def given_back(self, number: int, *, again: bool = False) -> None:
        for correlation_id, doubted in self.returning[number].items():
            known = self.oracle.known.get(correlation_id)
            if known is not None and (known.holder, known.receipt) == (self.holder(number), None):
                self.oracle.release(known, doubted)
        if not again:
            self.returning[number].clear()

    @precondition(lambda self: self.holds)
    @rule(
        number=NUMBERS,
        picks=PICKS,
        fresh=FRESH,
        processor=st.sampled_from(PROCESSORS),
        step_us=STEPS_US,
        same=st.booleans(),
        loss=LOSSES,
    )
    def begin(
        self, *, number: int, picks: list[int], fresh: bool, processor: str, step_us: int, same: bool, loss: Loss | None
    ) -> None:
        number, chosen = self.picked(number, picks, fresh=fresh, begun=False if fresh else None)
        if loss is not None:
            chosen = [one for one in unique(chosen) if one.intent is None and one.doubted is None]
        batch = [
            (one.doubted if same else None)
            or Intent(one.delivery, processor, self.later_us(step_us), REASONS[index % 2])
            for index, one in enumerate(chosen)
        ]

        def begun() -> None:
            for one, intent in zip(chosen, batch, strict=True):
                self.oracle.begin(one.holder, intent)

        answer, lost = self.call(number, self.process(number).queue.begin(batch), "begin", loss, begun)
        if lost is None:
            assert answer == [self.begun(*each) for each in zip(chosen, batch, strict=True)]
        else:
            for one, intent in zip(chosen, batch, strict=True):
                one.doubted = intent

    def begun(self, one: Hold, intent: Intent) -> bool:
        """What `begin` says of it. Asked again, it says so of what an earlier call had written."""
        known, doubted, one.doubted = self.counts(one), one.doubted, None
        if known is not None and known.state is A and doubted is not None:
            if intent == doubted:
                one.intent = intent
                return True
            # Another attempt than this stands, that nobody knows of here: it is given up, and adopted by somebody.
            known.receipt = None
            return False
        if not self.oracle.begin(one.holder, intent):
            return False
        one.intent = intent
        return True

    @precondition(lambda self: self.holds)
    @rule(number=NUMBERS, picks=PICKS, fresh=FRESH, event=FAILURES, other=FAILURES, loss=LOSSES)
    def conclude(
        self,
        *,
        number: int,
        picks: list[int],
        fresh: bool,
        event: PaymentEvent,
        other: PaymentEvent,
        loss: Loss | None,
    ) -> None:
        number, chosen = self.picked(number, picks, fresh=fresh, begun=True)
        if loss is not None:
            chosen = unique(chosen)
        batch = [
            failed(one.intent, event if index % 2 else other, f"failure {index}", self.later_us())
            for index, one in enumerate(chosen)
        ]
        unanswered = [Unanswered(one, was_pinned=self.is_pinned(one.intent)) for one in batch]

        def concluded() -> None:
            for one, failure, each in zip(chosen, batch, unanswered, strict=True):
                each.done = True
                self.oracle.conclude(one.holder, failure)

        _, lost = self.call(number, self.process(number).queue.conclude(batch), "conclude", loss, concluded)
        if lost is None:
            concluded()
        else:
            for one, each in zip(chosen, unanswered, strict=True):
                one.unanswered = each

    def is_pinned(self, intent: Intent) -> bool:
        known = self.oracle.known.get(intent.delivery.correlation_id)
        return known is not None and known.state is P

    @precondition(lambda self: self.holds)
    @rule(
        number=NUMBERS,
        picks=PICKS,
        fresh=FRESH,
        wrong=st.sampled_from([None, "instant", "processor"]),
    )
    def settle(self, number: int, picks: list[int], fresh: bool, wrong: str | None) -> None:
        """By its holder, or by somebody who held it once and learned only now that it is charged."""
        number = self.number(number)
        mine = [one for one in self.holds if one.number == number and one.unanswered is None and one.doubted is None]
        if fresh:
            mine = [one for one in mine if self.counts(one)]
        chosen = picked(sorted(mine, key=self.stands), picks)
        batch = [settlement(self.charged(one, wrong if index % 2 == 0 else None)) for index, one in enumerate(chosen)]
        answer = self.run(self.process(number).ledger.settle(batch))
        assert answer == [self.settled(*each) for each in zip(chosen, batch, strict=True)]

    def charged(self, one: Hold, wrong: str | None) -> Intent:
        intent = one.intent or Intent(one.delivery, "default", self.later_us(), REASONS[0])
        match wrong:
            case "instant":
                return replace(intent, requested_us=self.later_us())
            case "processor":
                return replace(intent, processor=PROCESSORS[intent.processor == PROCESSORS[0]])
        return intent

    def settled(self, one: Hold, charge: Settlement) -> bool:
        counted = self.counts(one)
        new = self.oracle.settle(charge)
        if new and counted is None:
            self.unheard.add(one.delivery.correlation_id)
        return new

    @precondition(lambda self: self.many and self.holds)
    @rule(number=NUMBERS, picks=PICKS, at=st.sampled_from(["settled", "rows"]), loss=st.sampled_from(list(Loss)))
    def settle_without_an_answer(self, number: int, picks: list[int], at: str, loss: Loss) -> None:
        number, chosen = self.picked(number, picks, fresh=True, begun=True)
        chosen = unique(chosen)
        if not chosen:
            return
        process, batch = self.process(number), [settlement(one.intent) for one in chosen]
        if at == "settled":
            # In the ledger it is anyway: Redis lets go of it later.
            answer, _ = self.call(number, process.ledger.settle(batch), at, loss, lambda: None)
            assert answer == [self.oracle.settle(one) for one in batch]
            return
        process.rows.losing = loss if loss is Loss.DONE else Loss.LOST
        try:
            self.run(process.ledger.settle(batch))
        except StoreUncertain:
            for one, charge in zip(chosen, batch, strict=True):
                one.unanswered = Unanswered(charge, done=loss is Loss.DONE)
                if loss is Loss.DONE:
                    self.oracle.settle(charge)
        else:
            raise AssertionError("an answer was lost, and nobody was told")

    @precondition(lambda self: self.many and any(one.unanswered for one in self.holds))
    @rule(number=NUMBERS)
    def call_again(self, number: int) -> None:
        number = self.number(number)
        chosen = [
            one for one in self.holds if one.unanswered and (one.number, one.life) == (number, self.lives[number])
        ]
        process = self.process(number)
        for one in chosen:
            unanswered, one.unanswered = one.unanswered, None
            if not isinstance(unanswered.work, FailedAttempt):
                assert self.run(process.ledger.settle([unanswered.work])) == [self.settled(one, unanswered.work)]
                continue
            self.run(process.queue.conclude([unanswered.work]))
            # Once done it has no effect any more; but for what stays pinned, of which one more failure is kept.
            if not unanswered.done or (unanswered.was_pinned and self.is_pinned(unanswered.work.intent)):
                self.oracle.conclude(one.holder, unanswered.work)

    @precondition(lambda self: self.holds)
    @rule(number=NUMBERS, event=FAILURES, batch=ACCEPTED)
    def all_at_once(self, number: int, event: PaymentEvent, batch: list[tuple[int, int]]) -> None:
        """Settling, concluding and accepting share a commit."""
        number = self.number(number)
        chosen = self.mine(number, fresh=True, begun=True)
        if len(chosen) < 2 or self.oracle.backlog().waiting + len(batch) >= LIMIT:
            return
        charge, failure = settlement(chosen[0].intent), failed(chosen[1].intent, event, "failure", self.later_us())
        group, process = [payment(*one) for one in batch], self.process(number)

        async def together() -> list[Any]:
            return await asyncio.gather(
                process.ledger.settle([charge]), process.queue.conclude([failure]), process.queue.accept(group)
            )

        answers = self.run(together())
        self.oracle.conclude(chosen[1].holder, failure)
        assert answers == [[self.oracle.settle(charge)], None, self.oracle.accept(group)]

    @precondition(lambda self: any(not self.counts(one) for one in self.holds))
    @rule(number=NUMBERS, picks=PICKS, event=FAILURES)
    def use_old_receipts(self, number: int, picks: list[int], event: PaymentEvent) -> None:
        """It has no effect, whoever holds the payment now."""
        number, chosen = self.picked(number, picks, fresh=False)
        queue = self.process(number).queue
        intents = [one.intent or Intent(one.delivery, "default", self.later_us(), REASONS[0]) for one in chosen]
        self.run(queue.conclude([failed(one, event) for one in intents]))
        assert self.run(queue.begin(intents)) == [False] * len(intents)
        self.given_back(number)
        self.run(queue.release([one.delivery for one in chosen]))

    # -- who holds what, when somebody is gone

    def gone(self, holder: str) -> None:
        """It is taken over from, or left."""
        self.oracle.free(holder)
        self.registered.discard(holder)
        self.silent.discard(holder)
        for number, returning in enumerate(self.returning):
            if self.holder(number) == holder:
                returning.clear()

    def silent_are_gone(self, but: str = "") -> None:
        for holder in self.silent - {but}:
            self.gone(holder)

    def set_heartbeats(self) -> None:
        if self.many:
            self.run(self.engine_here.set_heartbeats(silent=self.silent))

    @rule(number=NUMBERS, loss=LOSSES)
    def adopt_orphans(self, number: int, loss: Loss | None) -> None:
        number = self.number(number)
        holder = self.holder(number)
        self.set_heartbeats()

        def adopted() -> list[Known]:
            if holder not in self.registered:
                return []
            self.silent_are_gone(but=holder)
            return self.oracle.orphans(holder)

        # Two in each turn; but all in one if its answer is lost, as later turns swallow that.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recovery, "_ADOPT_AT_ONCE", 2 if loss is None else 256)
            work = self.process(number).queue.orphans()
            answer, lost = self.call(number, work, "orphans", loss, lambda: adopted() and None)
        if lost is not None:
            return
        expected = [
            Intent(
                Delivery(
                    one.payment.correlation_id, one.payment.amount_minor, one.payment.accepted_us, 0, one.attempts
                ),
                *one.standing,
            )
            for one in adopted()
        ]
        assert [replace(one, delivery=replace(one.delivery, receipt=0)) for one in answer] == expected
        for intent in answer:
            self.hold(number, intent.delivery, intent)

    @rule(number=NUMBERS)
    def crash(self, number: int) -> None:
        number = self.number(number)
        holder = self.holder(number)
        self.silent.add(holder)
        self.set_heartbeats()
        self.run(self.engine_here.crash(number))
        self.returning[number].clear()
        self.silent_are_gone()
        self.registered.add(self.holder(number))
        self.lives[number] += 1

    @precondition(lambda self: self.many)
    @rule(number=NUMBERS)
    def pause(self, number: int) -> None:
        """Its heartbeat runs out. It notices nothing, and is taken over by whoever looks first."""
        self.silent |= {self.holder(self.number(number))} & self.registered

    @precondition(lambda self: self.many)
    @rule(number=NUMBERS, loss=SOON_LOSSES)
    def leave(self, number: int, loss: Loss | None) -> None:
        number = self.number(number)
        holder = self.holder(number)
        work = self.process(number).queue.leave()
        _, lost = self.call(number, work, "leave", loss, lambda: self.gone(holder))
        if lost is None:
            self.gone(holder)
        self.returning[number].clear()
        # Nobody says any more that it lives.
        self.silent |= {holder} & self.registered

    @precondition(lambda self: self.many)
    @rule(
        number=NUMBERS,
        script=st.sampled_from(["beat", "join", "renew", "release", "held", "give_up", "settled"]),
        loss=SOON_LOSSES,
    )
    def keep(self, number: int, script: str, loss: Loss | None) -> None:
        """A heartbeat, and what comes with it: joining anew, making up for what was not answered."""
        number = self.number(number)
        self.set_heartbeats()
        before = self.holder(number)
        _, lost = self.call(number, self.process(number).keep(), script, loss, lambda: None)

        def comes_to(stage: str) -> bool:
            """Return whether this stage was done; raise once nothing comes after it."""
            if lost is not None and script == stage:
                self.stopped = True
                return lost is Loss.DONE
            return not self.stopped

        self.stopped = False
        comes_to("renew")
        if comes_to("beat") and before in self.registered:
            self.silent.discard(before)
        if not self.stopped and before not in self.registered and comes_to("join"):
            self.silent_are_gone()
            self.registered |= {self.holder(number)} - {""}
        comes_to("settled")
        if not self.stopped and comes_to("release"):
            self.given_back(number, again=self.stopped)
        comes_to("held")
        if not self.stopped and comes_to("give_up"):
            self.unknown_are_free(number)

    def unknown_are_free(self, number: int) -> None:
        """What was delivered here in an answer that was lost is given up. Not what is taken for something older."""
        holder = self.holder(number)
        believed = {one.delivery.correlation_id for one in self.holds if one.unanswered and one.holder == holder}
        for correlation_id, known in self.oracle.known.items():
            if holder and (known.holder, known.receipt) == (holder, None) and correlation_id not in believed:
                known.holder = None

    @precondition(lambda self: self.many and self.late)
    @rule(pick=st.integers(0, 100))
    def deliver_late(self, pick: int) -> None:
        self.run(self.engine_here.deliver(self.late.pop(pick % len(self.late))))

    # -- what operators do

    @rule(number=NUMBERS, numbers=st.one_of(st.none(), st.lists(st.integers(1, KNOWN), max_size=4)), loss=SOON_LOSSES)
    def retry_dead_letters(self, number: int, numbers: list[int] | None, loss: Loss | None) -> None:
        number = self.number(number)
        chosen = None if numbers is None else [id_of(each) for each in numbers]
        work = self.process(number).queue.retry_dead_letters(chosen)
        answer, lost = self.call(number, work, "retry", loss, lambda: self.oracle.retry(chosen) and None)
        if lost is None:
            assert answer == self.oracle.retry(chosen)
        if not self.many:
            # A router finds them when it looks for orphans, as it does all the time.
            self.adopt_orphans(number, None)

    @rule(number=NUMBERS, really=st.integers(0, 7))
    def purge(self, number: int, really: int) -> None:
        if really:
            return
        number = self.number(number)
        self.run(self.process(number).queue.purge())
        if self.many:
            for each in self.engine_here.processes:
                each.queue.forget()
            # Nobody purges while clients and books are being answered.
            self.late = [one for one in self.late if one.script.name not in {"accept", "settled"}]
        self.oracle.purge()
        self.unheard.clear()
        for returning in self.returning:
            returning.clear()

    # -- what must be so, always

    @rule(ends=st.lists(st.tuples(st.integers(0, 100), st.integers(-1, 1)), min_size=2, max_size=2), number=NUMBERS)
    def ask_for_a_summary(self, ends: list[tuple[int, int]], number: int) -> None:
        """Between any two instants of settled payments, a microsecond to either side."""
        instants = sorted(one.at[1] for one in self.oracle.known.values() if one.settled)
        if not instants:
            return
        window = Window(*(instants[pick % len(instants)] + off_us for pick, off_us in ends))
        summary = self.run(self.process(self.number(number)).ledger.summary(window))
        assert summary == self.oracle.summary(window)

    @invariant()
    def everything_is_as_the_oracle_says(self) -> None:
        if not hasattr(self, "oracle"):
            return
        process = self.engine_here.processes[0]
        assert self.run(process.queue.backlog()) == self.oracle.backlog()
        assert self.run(process.queue.dead_letters(99)) == self.oracle.dead_letters()
        assert self.run(process.ledger.summary(Window())) == self.oracle.summary(Window())
        for each in range(1, KNOWN + 1):
            self.check_record(id_of(each), self.run(process.ledger.find(id_of(each))))
        if self.many:
            self.check_places(self.run(self.engine_here.places()))

    def check_record(self, correlation_id: str, found: Any) -> None:
        expected = self.oracle.find(correlation_id)
        if correlation_id in self.unheard and found is not None and not found.failures:
            expected = replace(expected, failures=())
        assert found == expected

    def check_places(self, places: dict[str, tuple[Any, str]]) -> None:
        """Every unsettled payment is held by whom the oracle says, or lies where others find it."""
        for correlation_id, known in self.oracle.known.items():
            if known.settled:
                continue
            state, place = places[correlation_id]
            assert state is known.state
            free = {Q: {"new", "again"}, A: {"orphans"}, P: {"orphans"}, D: {"dead"}}[known.state]
            assert place in ({known.holder} if known.holder else free)

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        if hasattr(self, "engine_here"):
            self.run(self.engine_here.close())
        self.runner.close()
        shutil.rmtree(self.folder)


def picked(holds: list[Hold], picks: list[int]) -> list[Hold]:
    """The newest first, perhaps the same one twice."""
    return [holds[-1 - pick % len(holds)] for pick in picks] if holds else []


def at(intent: Intent) -> tuple[str, int]:
    """Processor and instant."""
    return intent.processor, intent.requested_us


def unique(holds: list[Hold]) -> list[Hold]:
    """Each payment once."""
    return list({one.delivery.correlation_id: one for one in holds}.values())
