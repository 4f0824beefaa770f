"""The audit in the background: what it reports, when it looks, and what it does about stores that are away."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from application.both_books import NAMES, Ours, Theirs, pay
from application.virtual_time import START_US, VirtualClock, virtually
from payrouter.application.audit import Books
from payrouter.application.books_watch import CLOSED_AFTER_S, LOOK_BACK_S, BooksState, BooksWatch
from payrouter.domain.errors import StoreUnavailable

S = 1_000_000


class Bed:
    """Both books, opened as often as `opened` says; `away` while they cannot be."""

    def __init__(self, every_s=60.0):
        self.ours, self.theirs = Ours(), Theirs(page_size=50)
        self.opened, self.away = 0, False
        self.told = []
        self.watch = BooksWatch(self._open, VirtualClock(), self, every_s=every_s)

    @asynccontextmanager
    async def _open(self):
        if self.away:
            raise StoreUnavailable("the books are away")
        self.opened += 1
        yield Books(self.ours, self.theirs, NAMES)

    def publish(self, event):
        self.told.append((event.state, event.differences))

    def pay(self, one, name="default", *, second):
        pay(self.ours, self.theirs, one, name, at=START_US + second * S)

    @asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.watch.run())
        try:
            yield self.watch
        finally:
            task.cancel()
            await asyncio.wait([task])


@virtually
async def test_it_compares_every_so_often_what_has_closed():
    bed = Bed()
    bed.pay("one", second=-10)
    bed.pay("young", second=50)
    async with bed.running() as watch:
        assert watch.report.state is BooksState.NEVER
        await asyncio.sleep(61)
        report = watch.report
        assert report.state is BooksState.AGREE
        assert report.first_us == START_US - round(LOOK_BACK_S * S)
        assert report.last_us == START_US + round((60 - CLOSED_AFTER_S) * S)
        assert [(one.name, one.ours.count) for one in report.processors] == [("default", 1), ("fallback", 0)]
        await asyncio.sleep(60)
        assert watch.report.processors[0].ours.count == 2
        assert bed.opened == 1


@virtually
async def test_a_difference_is_named_until_it_is_none():
    bed = Bed()
    bed.pay("one", second=1)
    bed.ours.rows.pop("one")
    async with bed.running() as watch:
        await asyncio.sleep(61)
        assert watch.report.state is BooksState.DIFFER
        assert [one.state for one in watch.report.processors] == [BooksState.DIFFER, BooksState.AGREE]
        assert [one.correlation_id for one in watch.report.findings] == ["one"]
        bed.theirs.books["default"].clear()
        await asyncio.sleep(60)
        assert (watch.report.state, watch.report.findings) == (BooksState.AGREE, ())
        await asyncio.sleep(180)
        # Told once each, not with every comparison.
        assert bed.told == [("differ", 1), ("agree", 0)]


@virtually
async def test_a_processor_that_cannot_be_read_is_said_and_the_others_compared():
    bed = Bed()
    bed.theirs.away.add("fallback")
    async with bed.running() as watch:
        await asyncio.sleep(61)
        states = {one.name: one.state for one in watch.report.processors}
        assert states == {"default": BooksState.AGREE, "fallback": BooksState.UNAVAILABLE}
        assert watch.report.state is BooksState.UNAVAILABLE
        assert watch.report.processors[1].why


@virtually
async def test_with_the_books_away_it_says_so_and_tries_again():
    bed = Bed()
    bed.away = True
    async with bed.running() as watch:
        await asyncio.sleep(61)
        assert (watch.report.state, watch.report.why) == (BooksState.UNAVAILABLE, "the books are away")
        bed.away = False
        await asyncio.sleep(60)
        assert watch.report.state is BooksState.AGREE


@virtually
async def test_off_it_compares_only_when_asked():
    bed = Bed(every_s=0.0)
    async with bed.running() as watch:
        await asyncio.sleep(1000)
        assert watch.report.state is BooksState.OFF
        watch.ask()
        await asyncio.sleep(1)
        assert watch.report.state is BooksState.AGREE
        await asyncio.sleep(1000)
        assert watch.report.at_us < START_US + 1002 * S
