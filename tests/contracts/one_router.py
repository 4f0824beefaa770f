"""A machine that makes up any history of one router, crashes included, on an engine and in memory at once.

Whatever the engine answers must be what memory answers.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.stores import AT_US, PROCESSORS, MemoryEngine, failed, id_of, payment, settlement
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.payment import PaymentEvent
from payrouter.domain.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from contracts.stores import Store

KNOWN = 14
LIMIT = 9
PICKS = st.lists(st.integers(0, 100), min_size=1, max_size=4)
FAILURES = st.sampled_from([PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID])


class Held:
    """The same delivery on both sides, and its attempt once begun."""

    def __init__(self, ours: Delivery, theirs: Delivery) -> None:
        self.deliveries = (ours, theirs)
        self.intents: tuple[Intent, Intent] | None = None

    def attempt(self, processor: str, at_us: int) -> tuple[Intent, Intent]:
        ours, theirs = self.deliveries
        return Intent(ours, processor, at_us, "reason"), Intent(theirs, processor, at_us, "reason")


def plain(delivery: Delivery) -> Delivery:
    return replace(delivery, receipt=0)


def picked(held: list[Held], picks: list[int]) -> list[Held]:
    return list({id(one): one for one in (held[pick % len(held)] for pick in picks)}.values())


class OneRouter(RuleBasedStateMachine):
    """`held`: claimed by us. `old`: receipts that are stale, or attempts that have come to an end.

    A subclass names the `engine`.
    """

    engine: Callable[[Path, int], Store]

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="payrouter-model-"))
        self.runner = asyncio.Runner()
        self.store = type(self).engine(self.folder, LIMIT)
        self.memory = MemoryEngine(self.folder, LIMIT)
        self.run(self.store.open())
        self.held: list[Held] = []
        self.old: list[Held] = []
        self.now_us = AT_US

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def both(self, port: str, method: str, ours: Any, theirs: Any) -> Any:
        """Call both sides; their answers must be equal."""
        answer = self.run(getattr(getattr(self.store, port), method)(ours))
        assert answer == self.run(getattr(getattr(self.memory, port), method)(theirs))
        return answer

    def later_us(self, step_us: int = 300_000) -> int:
        self.now_us += step_us
        return self.now_us

    # -- what clients do

    @rule(
        batch=st.lists(st.tuples(st.integers(1, KNOWN), st.sampled_from([100, 100, 100, 200])), min_size=1, max_size=7)
    )
    def accept(self, batch: list[tuple[int, int]]) -> None:
        group = [payment(number, amount) for number, amount in batch]
        self.both("queue", "accept", group, group)

    # -- what the dispatcher does

    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        ours = self.run(self.store.queue.claim(limit))
        theirs = self.run(self.memory.queue.claim(limit))
        assert [plain(one) for one in ours] == [plain(one) for one in theirs]
        self.held += [Held(*pair) for pair in zip(ours, theirs, strict=True)]

    @precondition(lambda self: any(one.intents is None for one in self.held))
    @rule(picks=PICKS)
    def release(self, picks: list[int]) -> None:
        given_back = picked([one for one in self.held if one.intents is None], picks)
        self.run(self.store.queue.release([one.deliveries[0] for one in given_back]))
        self.run(self.memory.queue.release([one.deliveries[1] for one in given_back]))
        self.end(given_back)

    @precondition(lambda self: self.held)
    @rule(picks=PICKS, processor=st.sampled_from(PROCESSORS), step_us=st.integers(1, 1 << 29))
    def begin(self, picks: list[int], processor: str, step_us: int) -> None:
        chosen = picked(self.held, picks)
        attempts = [one.attempt(processor, self.later_us(step_us)) for one in chosen]
        written = self.both("queue", "begin", [one[0] for one in attempts], [one[1] for one in attempts])
        for one, attempt, done in zip(chosen, attempts, written, strict=True):
            assert done == (one.intents is None)
            one.intents = attempt if done else one.intents

    @precondition(lambda self: any(one.intents for one in self.held))
    @rule(picks=PICKS, event=FAILURES)
    def conclude(self, picks: list[int], event: PaymentEvent) -> None:
        chosen = picked([one for one in self.held if one.intents], picks)
        at_us = self.later_us()
        for side, engine in enumerate((self.store, self.memory)):
            self.run(engine.queue.conclude([failed(one.intents[side], event, event, at_us) for one in chosen]))
        self.let_go(chosen)

    @precondition(lambda self: any(one.intents for one in self.held))
    @rule(picks=PICKS)
    def settle(self, picks: list[int]) -> None:
        chosen = picked([one for one in self.held if one.intents], picks)
        ours, theirs = ([settlement(one.intents[side]) for one in chosen] for side in (0, 1))
        assert all(self.both("ledger", "settle", ours, theirs))
        self.end(chosen)

    @precondition(lambda self: sum(one.intents is not None for one in self.held) > 2)
    @rule(event=FAILURES)
    def settle_and_conclude_in_one_commit(self, event: PaymentEvent) -> None:
        charged, refused, *_ = [one for one in self.held if one.intents]
        at_us = self.later_us()

        async def together(engine: Any, side: int) -> list[bool]:
            written, _ = await asyncio.gather(
                engine.ledger.settle([settlement(charged.intents[side])]),
                engine.queue.conclude([failed(refused.intents[side], event, event, at_us)]),
            )
            return written

        assert self.run(together(self.store, 0)) == self.run(together(self.memory, 1)) == [True]
        self.end([charged])
        self.let_go([refused])

    @rule()
    def adopt_orphans(self) -> None:
        ours = self.run(self.store.queue.orphans())
        theirs = self.run(self.memory.queue.orphans())
        assert [replace(one, delivery=plain(one.delivery)) for one in ours] == [
            replace(one, delivery=plain(one.delivery)) for one in theirs
        ]
        for pair in zip(ours, theirs, strict=True):
            one = Held(pair[0].delivery, pair[1].delivery)
            one.intents = pair
            self.held.append(one)

    @rule(
        number=st.integers(1, KNOWN),
        amount=st.sampled_from([100, 100, 100, 200]),
        processor=st.sampled_from(PROCESSORS),
    )
    def settle_what_waits(self, number: int, amount: int, processor: str) -> None:
        accepted = payment(number, amount)
        delivery = Delivery(accepted.correlation_id, amount, accepted.accepted_us, receipt=0)
        charge = settlement(Intent(delivery, processor, self.later_us(), "reason"))
        if self.both("ledger", "settle_waiting", [charge], [charge]) == [True]:
            # Whoever holds it cannot begin it any more: see `use_old_receipts`.
            self.end([one for one in self.held if one.deliveries[0].correlation_id == accepted.correlation_id])

    # -- what must have no effect

    @precondition(lambda self: self.old)
    @rule(picks=PICKS, event=FAILURES)
    def use_old_receipts(self, picks: list[int], event: PaymentEvent) -> None:
        for one in picked(self.old, picks):
            attempt = one.intents or one.attempt("default", self.later_us())
            assert self.both("queue", "begin", [attempt[0]], [attempt[1]]) == [False]
            for side, engine in enumerate((self.store, self.memory)):
                self.run(engine.queue.conclude([failed(attempt[side], event)]))
                self.run(engine.queue.release([one.deliveries[side]]))

    @precondition(lambda self: any(one.intents for one in self.old))
    @rule(picks=PICKS)
    def repeat_old_settlements(self, picks: list[int]) -> None:
        chosen = picked([one for one in self.old if one.intents], picks)
        ours, theirs = ([settlement(one.intents[side]) for one in chosen] for side in (0, 1))
        self.both("ledger", "settle", ours, theirs)

    # -- what operators and accidents do

    @rule(numbers=st.one_of(st.none(), st.lists(st.integers(1, KNOWN), max_size=4)))
    def retry_dead_letters(self, numbers: list[int] | None) -> None:
        chosen = None if numbers is None else [id_of(number) for number in numbers]
        self.both("queue", "retry_dead_letters", chosen, chosen)
        self.adopt_orphans()

    @rule()
    def crash(self) -> None:
        self.run(self.store.restart())
        self.run(self.memory.restart())
        self.held.clear()
        self.old.clear()

    @rule(really=st.integers(0, 9))
    def purge(self, really: int) -> None:
        if really:
            return
        self.run(self.store.queue.purge())
        self.run(self.memory.queue.purge())
        self.end(list(self.held))

    # -- what must be equal, always

    @rule(first_us=st.integers(-5, 1 << 32), length_us=st.integers(-1, 1 << 33))
    def ask_for_a_summary(self, first_us: int, length_us: int) -> None:
        window = Window(AT_US + first_us, AT_US + first_us + length_us)
        self.both("ledger", "summary", window, window)

    @invariant()
    def the_books_are_equal(self) -> None:
        assert self.run(self.store.queue.backlog()) == self.run(self.memory.queue.backlog())
        self.both("queue", "dead_letters", 99, 99)
        for number in range(1, KNOWN + 1):
            self.both("ledger", "find", id_of(number), id_of(number))

    def end(self, ended: list[Held]) -> None:
        self.held = [one for one in self.held if one not in ended]
        self.old += ended

    def let_go(self, concluded: list[Held]) -> None:
        """Whoever concludes holds on to what stays pinned."""
        alive = {one.delivery.receipt for one in self.pinned()}
        self.end([one for one in concluded if one.deliveries[1].receipt not in alive])

    def pinned(self) -> list[Intent]:
        rows = self.memory.queue._rows.values()
        return [
            replace(row.intent, delivery=replace(row.intent.delivery, receipt=row.receipt))
            for row in rows
            if row.intent is not None and row.receipt
        ]

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)
