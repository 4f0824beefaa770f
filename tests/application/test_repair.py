"""Repairs, over a store in memory and fakes of books: what is proven, what is left, and that nobody pays for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from application.both_books import NAMES, Theirs
from application.virtual_time import virtually
from application.world import CHEAP, DEAR, World, failing, lost, ok
from contracts.stores import AT_US, begun, buried, buried_while_pinned, id_of, intent, payment, pinned, settled
from payrouter.adapters.memory import MemoryStore
from payrouter.application.audit import Auditor, Books, Difference, Finding
from payrouter.application.repair import Repair, Repairer, Verdict
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.ledger import Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import LAST_US, Window
from payrouter.ports.books import BookEntry, BookPage, UnresolvedAttempt

ALL = Window(0, LAST_US)
CLOCK_US = AT_US + 60_000_000


class Clock:
    def now_us(self):
        return CLOCK_US

    def monotonic_s(self):
        raise AssertionError("repairs measure nothing")


class MemoryBooks:
    """`RouterBooks` over a `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def _records(self, window, *, settled):
        found = [await self._store.find(one) for one in self._store._rows]
        return [
            one
            for one in found
            if (one.state is PaymentState.SETTLED) is settled and one.processor and one.requested_us in window
        ]

    async def summary(self, window):
        return await self._store.summary(window)

    async def slice_end_us(self, window, most):
        return window.last_us

    async def settled(self, window):
        found: dict[str, dict[str, BookEntry]] = {}
        for one in await self._records(window, settled=True):
            found.setdefault(one.processor, {})[one.correlation_id] = _entry(one)
        return found

    async def unresolved(self, window, limit):
        attempts = [
            UnresolvedAttempt(one.processor, _entry(one), one.state.label)
            for one in await self._records(window, settled=False)
        ]
        totals: dict[str, Totals] = {}
        for one in attempts:
            before = totals.get(one.processor, Totals())
            totals[one.processor] = Totals(before.count + 1, before.amount_minor + one.entry.amount_minor)
        return totals, attempts[:limit]

    async def find(self, correlation_id):
        return await self._store.find(correlation_id)


def _entry(record):
    return BookEntry(record.correlation_id, record.amount_minor, record.requested_us)


@dataclass
class Bed:
    """A store with its port names, processors' books, and what was told."""

    queue: MemoryStore = field(default_factory=MemoryStore)
    theirs: Theirs = field(default_factory=Theirs)
    told: list[Repair] = field(default_factory=list)
    dry_run: bool = False

    @property
    def ledger(self):
        return self.queue

    def charge(self, number=1, processor=CHEAP, amount=1990, at_us=AT_US):
        self.theirs.books[processor].append(BookEntry(id_of(number), amount, at_us))

    @property
    def books(self):
        return Books(MemoryBooks(self.queue), self.theirs, NAMES)

    async def audit(self):
        return await Auditor(self.books.ours, self.theirs, NAMES).audit(ALL)

    async def repair(self):
        """Audit, repair and return (verdict, why) of each payment told."""
        report = await self.audit()
        self.told.clear()
        repairer = Repairer(self.books, None if self.dry_run else self.queue, Clock(), self.told.append)
        self.report = await repairer.repair(report.unresolved, report.findings)
        return [(one.verdict, one.why) for one in self.told]

    async def state(self, number=1):
        record = await self.queue.find(id_of(number))
        return record.state, record.processor, record.requested_us


def over_bed(test):
    def run():
        asyncio.run(test(Bed()))

    run.__name__ = test.__name__
    return run


STANDING = {"attempting": begun, "pinned": pinned, "dead-letter": buried_while_pinned}


@pytest.mark.parametrize("label", STANDING)
def test_a_standing_attempt_that_was_charged_is_settled_as_it_was_sent(label):
    @over_bed
    async def test(bed):
        await STANDING[label](bed)
        bed.charge()
        assert await bed.repair() == [
            (Verdict.SETTLED, f"{label} here, and charged there with this amount and instant")
        ]
        assert await bed.state() == (PaymentState.SETTLED, CHEAP, AT_US)
        record = await bed.queue.find(id_of(1))
        assert (record.settled_us, record.latency_ms) == (CLOCK_US, 60_000)
        report = await bed.audit()
        assert report.agree
        assert report.unresolved_count == 0
        assert await bed.repair() == []

    test()


@pytest.mark.parametrize("label", STANDING)
def test_a_standing_attempt_without_a_charge_is_left(label):
    @over_bed
    async def test(bed):
        await STANDING[label](bed)
        before = await bed.state()
        assert await bed.repair() == []
        assert bed.report.unproven == 1
        assert await bed.state() == before

    test()


@pytest.mark.parametrize(
    ("change", "why"),
    [({"amount": 1991}, "amount differs"), ({"at_us": AT_US + 1}, "instant differs")],
)
def test_a_charge_that_differs_from_the_standing_attempt_proves_nothing(change, why):
    @over_bed
    async def test(bed):
        await pinned(bed)
        bed.charge(**change)
        assert await bed.repair() == [(Verdict.LEFT, why)]
        assert (await bed.state())[0] is PaymentState.PINNED

    test()


@over_bed
async def test_a_waiting_payment_that_was_charged_is_settled_where_and_when_it_was(bed):
    await bed.queue.accept([payment(1)])
    at_us = payment(1).accepted_us + 500_000
    bed.charge(processor=DEAR, at_us=at_us)
    [(verdict, why)] = await bed.repair()
    assert (verdict, why) == (
        Verdict.SETTLED,
        "queued here without an attempt, and charged there with this amount",
    )
    assert await bed.state() == (PaymentState.SETTLED, DEAR, at_us)
    assert (await bed.audit()).agree
    assert await bed.queue.claim(9) == []


@over_bed
async def test_one_that_is_held_but_not_begun_is_settled_and_cannot_be_begun(bed):
    await bed.queue.accept([payment(1)])
    [delivery] = await bed.queue.claim(1)
    bed.charge(at_us=payment(1).accepted_us)
    assert (await bed.repair())[0][0] is Verdict.SETTLED
    assert await bed.queue.begin([intent(delivery)]) == [False]


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda bed: bed.charge(amount=1991, at_us=AT_US + 2_000_000), "amount differs"),
        (lambda bed: bed.charge(at_us=payment(1).accepted_us - 1), "charged before it was accepted here"),
    ],
)
def test_a_waiting_payment_with_another_charge_waits_on(prepare, why):
    @over_bed
    async def test(bed):
        await bed.queue.accept([payment(1)])
        prepare(bed)
        assert await bed.repair() == [(Verdict.LEFT, why)]
        assert await bed.state() == (PaymentState.QUEUED, None, None)

    test()


@over_bed
async def test_a_waiting_payment_that_two_processors_charged_is_only_told(bed):
    await bed.queue.accept([payment(1)])
    for name in NAMES:
        bed.charge(processor=name, at_us=AT_US + 9_000_000)
    report = await bed.audit()
    assert dict(report.counts) == {Difference.CHARGED_TWICE: 1}
    assert await bed.repair() == []
    # Even if the audit had not noticed.
    finding = Finding(Difference.MISSING_HERE, CHEAP, id_of(1))
    repairer = Repairer(bed.books, bed.queue, Clock(), bed.told.append)
    await repairer.repair([], [finding])
    assert [(one.verdict, one.why) for one in bed.told] == [(Verdict.LEFT, f"also charged by {DEAR}")]
    assert (await bed.state())[0] is PaymentState.QUEUED


@over_bed
async def test_while_another_processor_cannot_be_asked_a_waiting_payment_waits_on(bed):
    await bed.queue.accept([payment(1)])
    bed.charge(at_us=AT_US + 9_000_000)
    bed.theirs.away = {DEAR}
    await Repairer(bed.books, bed.queue, Clock(), bed.told.append).repair(
        [], [Finding(Difference.MISSING_HERE, CHEAP, id_of(1))]
    )
    assert bed.told[0].why == f"{DEAR} cannot be asked whether it charged it too"
    assert (await bed.state())[0] is PaymentState.QUEUED


@over_bed
async def test_what_is_unknown_here_is_only_told(bed):
    bed.charge(7)
    assert await bed.repair() == [(Verdict.LEFT, "there is no such payment here")]
    assert await bed.queue.find(id_of(7)) is None


@over_bed
async def test_what_stands_or_is_settled_elsewhere_is_only_told(bed):
    await pinned(bed, 1)
    await settled(bed, 2)
    await buried(bed, 3)
    bed.charge(2)
    for number in (1, 3):
        bed.charge(number, DEAR)
    assert await bed.repair() == [
        (Verdict.LEFT, f"pinned at {CHEAP} here"),
        (Verdict.LEFT, "a dead letter here, and of no attempt the outcome is unknown"),
    ]
    assert bed.report.unproven == 1
    assert await bed.queue.summary(ALL) == {CHEAP: Totals(1, 1990)}


@over_bed
async def test_what_is_missing_there_differs_or_was_charged_twice_is_never_touched(bed):
    for number in (1, 2, 3, 4):
        await settled(bed, number)
    bed.charge(2, amount=1991)
    bed.charge(3, at_us=AT_US + 5)
    for name in NAMES:
        bed.charge(4, name)
    before = [await bed.queue.find(id_of(number)) for number in (1, 2, 3, 4)]
    assert dict((await bed.audit()).counts) == {
        Difference.MISSING_THERE: 1,
        Difference.AMOUNT: 1,
        Difference.INSTANT: 1,
        Difference.CHARGED_TWICE: 1,
    }
    assert await bed.repair() == []
    assert [await bed.queue.find(id_of(number)) for number in (1, 2, 3, 4)] == before
    assert await bed.queue.claim(9) == []


@over_bed
async def test_a_dry_run_says_the_same_and_writes_nothing(bed):
    bed.dry_run = True
    await pinned(bed, 1)
    await bed.queue.accept([payment(2)])
    bed.charge(1)
    bed.charge(2, at_us=AT_US + 9_000_000)
    assert [verdict for verdict, _ in await bed.repair()] == [Verdict.WOULD_SETTLE] * 2
    assert (await bed.state(1))[0] is PaymentState.PINNED
    assert (await bed.state(2))[0] is PaymentState.QUEUED


@over_bed
async def test_a_payment_that_moved_on_meanwhile_is_left(bed):
    await bed.queue.accept([payment(1)])
    bed.charge(at_us=AT_US + 9_000_000)
    claimed = await bed.queue.claim(1)
    find = bed.theirs.find

    async def begun_meanwhile(processor, correlation_id):
        if processor == DEAR:
            await bed.queue.begin([intent(claimed[0], DEAR, CLOCK_US)])
        return await find(processor, correlation_id)

    await bed.audit()
    bed.theirs.find = begun_meanwhile
    await Repairer(bed.books, bed.queue, Clock(), bed.told.append).repair(
        [], [Finding(Difference.MISSING_HERE, CHEAP, id_of(1))]
    )
    assert [(one.verdict, one.why) for one in bed.told] == [(Verdict.LEFT, "it was queued and is attempting now")]
    assert await bed.state() == (PaymentState.ATTEMPTING, DEAR, CLOCK_US)


@over_bed
async def test_one_that_was_settled_meanwhile_is_no_repair(bed):
    one = await pinned(bed)
    bed.charge()
    writes = bed.queue.settle

    async def settled_meanwhile(settlements):
        await writes(settlements)
        return await writes(settlements)

    bed.queue.settle = settled_meanwhile
    assert await bed.repair() == []
    assert bed.report.settled == 0
    assert await bed.state() == (PaymentState.SETTLED, one.processor, one.requested_us)


@over_bed
async def test_processors_that_cannot_be_asked_are_named_and_the_others_repaired(bed):
    await pinned(bed, 1)
    await pinned(bed, 2, DEAR)
    await pinned(bed, 3, "former")
    bed.charge(1)
    unresolved = (await bed.books.ours.unresolved(ALL, 9))[1]
    bed.theirs.away = {DEAR}
    report = await Repairer(bed.books, bed.queue, Clock(), bed.told.append).repair(unresolved, [])
    assert [one.theirs.correlation_id for one in bed.told] == [id_of(1)]
    assert report.unread == {
        DEAR: f"processor {DEAR} cannot be asked",
        "former": "processor former is no longer in PAYROUTER_PROCESSORS",
    }


@over_bed
async def test_a_repair_that_is_broken_off_is_brought_to_its_end_and_told(bed):
    await pinned(bed)
    bed.charge()
    unresolved = (await bed.books.ours.unresolved(ALL, 9))[1]
    writing, go_on, write = asyncio.Event(), asyncio.Event(), bed.queue.settle

    async def slow(settlements):
        writing.set()
        await go_on.wait()
        return await write(settlements)

    bed.queue.settle = slow
    repairing = asyncio.ensure_future(Repairer(bed.books, bed.queue, Clock(), bed.told.append).repair(unresolved, []))
    await writing.wait()
    repairing.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await repairing
    assert [one.verdict for one in bed.told] == [Verdict.SETTLED]


@over_bed
async def test_our_own_books_away_end_the_round(bed):
    await pinned(bed)
    bed.charge()

    async def away(settlements):
        raise StoreUnavailable("the disk is full")

    bed.queue.settle = away
    with pytest.raises(StoreUnavailable):
        await bed.repair()
    assert (await bed.state())[0] is PaymentState.PINNED


# -- no repair leads to an attempt


class WorldBooks:
    """`ProcessorBooks` of a made-up world's processors."""

    def __init__(self, world) -> None:
        self._world = world

    def _entries(self, processor, window):
        books = self._world.processors[processor].books
        return [BookEntry(one, amount, at) for one, (amount, at) in books.items() if at in window]

    async def totals(self, processor, window):
        entries = self._entries(processor, window)
        return Totals(len(entries), sum(one.amount_minor for one in entries))

    async def page(self, processor, window, cursor):
        return BookPage(self._entries(processor, window), None)

    async def find(self, processor, correlation_id):
        return next((one for one in self._entries(processor, ALL) if one.correlation_id == correlation_id), None)


async def repaired(world):
    """Audit a world and repair it, beside its router or without; return what was told."""
    told: list[Repair] = []
    books = Books(MemoryBooks(world.store), WorldBooks(world), NAMES)
    report = await Auditor(books.ours, books.theirs, NAMES).audit(ALL)
    await Repairer(books, world.store, world.clock, told.append).repair(report.unresolved, report.findings)
    return told


@virtually
async def test_a_repaired_attempt_is_never_sent_again():
    async with World() as world:
        # Charged, but nobody says so: neither the first answer nor any later one.
        world.cheap.script = lambda intent, times: lost() if times == 1 else failing()
        [one] = await world.pay()
        await world.until(lambda: world.pinned() == 1)
        await world.die()
        sent = len(world.sent)
        assert [told.verdict for told in await repaired(world)] == [Verdict.SETTLED]
        world.start()
        await asyncio.sleep(120)
        assert len(world.sends_of(one)) == sent
        world.check_books()


@virtually
async def test_a_charge_whose_intent_was_lost_is_not_made_again_elsewhere():
    async with World() as world:
        world.cheap.script = lost(charged_s=0.001)
        [one] = await world.pay()
        await world.until(lambda: world.pinned() == 1)
        await world.die()
        # What a store that does not sync every write may lose: the payment waits as before its attempt.
        row = world.store._rows[one]
        row.state, row.intent, row.attempts, row.adopted = PaymentState.QUEUED, None, 0, False
        sent = len(world.sent)
        assert [(told.verdict, told.processor) for told in await repaired(world)] == [(Verdict.SETTLED, CHEAP)]
        world.cheap.script = failing()
        world.start()
        await asyncio.sleep(120)
        assert len(world.sent) == sent
        world.check_books()


@virtually
async def test_beside_a_router_at_work_repairs_send_nothing_and_settle_nothing_twice():
    async with World() as world:
        # A third of the answers is lost, and their repeats are refused: only the record proves those charges.
        world.cheap.script = lambda intent, times: (
            failing() if times > 1 else lost() if int(intent.delivery.correlation_id[:8], 16) % 3 == 0 else ok()
        )
        for _ in range(6):
            await world.pay(10)
            await asyncio.sleep(1.5)
            attempts = len(world.sent)
            await repaired(world)
            assert len(world.sent) == attempts
        # The breaker may have sent some to the other one; those answer. What is left is proven by a last look.
        await asyncio.sleep(60)
        await repaired(world)
        assert world.all_settled(), world.states()
        world.check_books()
