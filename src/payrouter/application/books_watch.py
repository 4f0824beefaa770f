"""The audit in the background of whoever watches: the books compared every so often, and what came of it.

From an hour before the start on, totals first. `payrouter audit` compares everything, payment by payment.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from payrouter.application.follow import Follower
from payrouter.domain.errors import StoreError
from payrouter.domain.events import BooksCompared
from payrouter.domain.ledger import Totals
from payrouter.domain.window import Window
from payrouter.ports.books import BooksUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from payrouter.application.audit import Books, Finding
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink

LOOK_BACK_S = 3600.0
CLOSED_AFTER_S = 30.0
"""A window is compared once it is so old: answers to its attempts have come."""


class BooksState(StrEnum):
    """What came of the last comparison."""

    OFF = "off"
    NEVER = "never"
    AGREE = "agree"
    DIFFER = "differ"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class ComparedProcessor:
    """One processor's totals on both sides; `theirs` is None, and `why` says so, when it could not be read."""

    name: str
    state: BooksState
    ours: Totals
    theirs: Totals | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class BooksReport:
    """The last comparison: made at `at_us`, of all from `first_us` to `last_us` (UTC microseconds).

    `compared_us`: when every processor's books could last be compared, 0 for never yet.
    """

    state: BooksState
    at_us: int = 0
    first_us: int = 0
    last_us: int = 0
    processors: tuple[ComparedProcessor, ...] = ()
    findings: tuple[Finding, ...] = ()
    why: str = ""
    compared_us: int = 0


class BooksWatch:
    """Compares the books every `every_s` seconds, and when asked to. `open_books` gives both sides."""

    def __init__(
        self,
        open_books: Callable[[], AbstractAsyncContextManager[Books]],
        clock: Clock,
        events: EventSink,
        *,
        every_s: float,
    ) -> None:
        self._open_books = open_books
        self._clock = clock
        self._events = events
        self._every_s = every_s
        self._asked = asyncio.Event()
        self.report = BooksReport(BooksState.NEVER if every_s else BooksState.OFF)

    def ask(self) -> None:
        """Compare now."""
        self._asked.set()

    async def run(self) -> None:
        """Compare, for ever."""
        first_us = self._clock.now_us() - round(LOOK_BACK_S * 1_000_000)
        while True:
            await self._pause()
            try:
                async with self._open_books() as books:
                    follower = Follower(books, lambda _event: None, first_us=first_us, totals_first=True)
                    while True:
                        await self._compare(follower, books, first_us)
                        await self._pause()
            except StoreError as error:
                self._came_of(
                    BooksReport(
                        BooksState.UNAVAILABLE, self._clock.now_us(), first_us, why=str(error),
                        compared_us=self.report.compared_us,
                    )
                )  # fmt: skip

    def _came_of(self, report: BooksReport) -> None:
        """Keep what came of a comparison, and tell when it is something else than before."""
        before, self.report = self.report, report
        if (before.state, len(before.findings)) != (report.state, len(report.findings)):
            unread = [f"{one.name}: {one.why}" for one in report.processors if one.why]
            detail = report.why or "; ".join([*(_in_words(one) for one in report.findings[:3]), *unread])
            self._events.publish(BooksCompared(report.state, len(report.findings), detail))

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._every_s or None):
                await self._asked.wait()
        except TimeoutError:
            pass
        self._asked.clear()

    async def _compare(self, follower: Follower, books: Books, first_us: int) -> None:
        closed_us = self._clock.now_us() - round(CLOSED_AFTER_S * 1_000_000)
        await follower.look(closed_us)
        window = Window(first_us, closed_us)
        ours = await books.ours.summary(window)
        differing = {one.processor for one in follower.standing}
        processors = [
            await self._compared(name, ours.get(name, Totals()), books, window, differing, follower.unread)
            for name in books.processors
        ]
        states = {one.state for one in processors}
        state = next(
            (one for one in (BooksState.DIFFER, BooksState.UNAVAILABLE) if one in states or follower.differ),
            BooksState.AGREE,
        )
        now_us = self._clock.now_us()
        compared_us = self.report.compared_us if BooksState.UNAVAILABLE in states else now_us
        self._came_of(
            BooksReport(
                state, now_us, first_us, closed_us, tuple(processors), tuple(follower.standing), compared_us=compared_us
            )
        )

    async def _compared(  # noqa: PLR0913, PLR0917 - what is known of both sides
        self, name: str, ours: Totals, books: Books, window: Window, differing: set[str], unread: dict[str, str]
    ) -> ComparedProcessor:
        try:
            theirs = await books.theirs.totals(name, window)
        except BooksUnavailable as error:
            return ComparedProcessor(name, BooksState.UNAVAILABLE, ours, None, str(error))
        if name in differing:
            return ComparedProcessor(name, BooksState.DIFFER, ours, theirs)
        if name in unread:
            return ComparedProcessor(name, BooksState.UNAVAILABLE, ours, theirs, unread[name])
        return ComparedProcessor(name, BooksState.AGREE, ours, theirs)


def _in_words(finding: Finding) -> str:
    what = finding.correlation_id or "totals"
    return f"{what} at {finding.processor}: {finding.difference}" + (f", {finding.note}" if finding.note else "")
