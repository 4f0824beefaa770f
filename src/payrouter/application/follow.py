"""The audit that goes on: windows are compared as they close, differences named when first seen and when they end.

One pass compares what closed since the last one. Now and then it looks back, by totals first, as a processor may
charge late. Each processor goes on by itself: while one cannot be read, its windows stay due. Memory is bounded: one
position per processor, `KEPT` standing differences; beyond those the books are compared again once there is room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.application.audit import KEPT, Auditor, Difference, Finding
from payrouter.domain.ledger import Totals
from payrouter.domain.window import Window
from payrouter.ports.books import BooksUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from payrouter.application.audit import AuditReport, Books
    from payrouter.application.repair import Repairer

LOOK_BACK_US = 3_600_000_000
LOOK_BACK_EVERY = 6
"""Passes between two looks at the last `LOOK_BACK_US`."""

LOOK_AT_ALL_EVERY = 360
"""Passes between two looks at everything, from the first instant on."""

NARROW_US = 60_000_000
"""Where totals differ, halves are compared until a window is so short; then payment by payment."""

WINDOW_PAYMENTS = 100_000
"""About so many of our payments in one window at most: what is compared stays compared when the next one fails."""

RECHECKED = 100
"""Standing differences looked at again per processor and pass, those first that were not for longest."""

Key = tuple[Difference, str, str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A difference seen for the first time, or again after it had ended."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class Resolved:
    """A difference that is none any more."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class Unread:
    """A processor's books cannot be read. All from `due_us` on is due for it."""

    processor: str
    why: str
    due_us: int


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """A processor's books can be read again, and nothing is due for it."""

    processor: str


@dataclass(frozen=True, slots=True)
class NotCompared:
    """Our books know a former processor that the settings do not name."""

    processor: str
    totals: Totals


@dataclass(frozen=True, slots=True)
class Passed:
    """A pass has ended: all up to `closed_us` is compared, but for processors that are `due`, from when on each.

    `windows` and `payments` (ours) count this pass, `compared` all payments so far; `standing` and `resolved` are
    differences, `unresolved` attempts without an outcome, `unnamed` says that more differ than are named.
    """

    closed_us: int
    windows: int
    payments: int
    compared: int
    standing: int
    resolved: int
    unresolved: int
    unnamed: bool
    due: dict[str, int]


Event = Found | Resolved | Unread | ReadAgain | NotCompared | Passed


@dataclass(slots=True)
class _Side:
    """How far one processor is compared: all before `next_us`. What else is due begins at `look_back_us`.

    From `unnamed_us` on there were differences that found no room.
    """

    name: str
    next_us: int
    look_back_us: int | None = None
    unnamed_us: int | None = None
    unread: str = ""


class Follower:
    """Compares books pass by pass, from `first_us` on. `tell` hears of what happens.

    `totals_first`: payments are compared one by one only where totals differ. Cheap beside a router at full load; two
    differences that make up for each other to the cent are not seen.
    """

    def __init__(
        self,
        books: Books,
        tell: Callable[[Event], None],
        *,
        first_us: int = 0,
        repairer: Repairer | None = None,
        totals_first: bool = False,
    ) -> None:
        self._ours = books.ours
        self._theirs = books.theirs
        self._auditor = Auditor(books.ours, books.theirs, books.processors)
        self._tell = tell
        self._first_us = first_us
        self._repairer = repairer
        self._totals_first = totals_first
        self._sides = [_Side(name, first_us) for name in books.processors]
        self._standing: dict[Key, Finding] = {}
        self._former: set[str] = set()
        self._closed_us: int | None = None
        self._passes = self._windows = self._payments = self._compared = self._resolved = 0

    @property
    def differ(self) -> bool:
        """Whether differences stand."""
        return bool(self._standing) or any(side.unnamed_us is not None for side in self._sides)

    @property
    def standing(self) -> list[Finding]:
        """The differences that stand, `KEPT` at most."""
        return list(self._standing.values())

    @property
    def unread(self) -> dict[str, str]:
        """Processors whose books cannot be read, and why."""
        return {side.name: side.unread for side in self._sides if side.unread}

    @property
    def behind(self) -> bool:
        """Whether something that has closed is not compared."""
        closed_us = self._closed_us
        return closed_us is None or any(side.unread or side.next_us <= closed_us for side in self._sides)

    async def look(self, closed_us: int) -> None:
        """Make one pass over all that closed up to an instant, and what else is due.

        Raises:
            StoreUnavailable: if our own books cannot be read; the next pass goes on from there.
        """
        self._passes += 1
        self._windows = self._payments = 0
        self._closed_us = closed_us
        for side in self._sides:
            self._plan(side, closed_us)
            try:
                await self._compare(side, closed_us)
                await self._look_back(side)
            except BooksUnavailable as error:
                self._cannot_read(side, error)
        totals, attempts = await self._ours.unresolved(Window(self._first_us, closed_us), KEPT)
        if self._repairer is not None:
            await self._repairer.repair(attempts, list(self._standing.values()))
        for side in self._sides:
            try:
                await self._recheck(side)
            except BooksUnavailable as error:
                self._cannot_read(side, error)
            else:
                self._can_read(side, closed_us)
        self._tell(
            Passed(
                closed_us,
                self._windows,
                self._payments,
                self._compared,
                len(self._standing),
                self._resolved,
                sum(total.count for total in totals.values()),
                any(side.unnamed_us is not None for side in self._sides),
                {side.name: side.next_us for side in self._sides if side.unread},
            )
        )

    def _plan(self, side: _Side, closed_us: int) -> None:
        if side.unnamed_us is not None and len(self._standing) < KEPT // 2:
            side.next_us, side.unnamed_us = min(side.next_us, side.unnamed_us), None
        if self._passes % LOOK_AT_ALL_EVERY == 0:
            side.look_back_us = self._first_us
        elif self._passes % LOOK_BACK_EVERY == 0 and side.look_back_us is None:
            side.look_back_us = max(self._first_us, closed_us - LOOK_BACK_US)

    # -- comparing

    async def _compare(self, side: _Side, closed_us: int) -> None:
        while side.next_us <= closed_us:
            rest = Window(side.next_us, closed_us)
            window = Window(side.next_us, await self._ours.slice_end_us(rest, WINDOW_PAYMENTS))
            if self._totals_first:
                async for narrow in self._differing(side, window):
                    await self._audit(side, narrow)
                side.next_us = window.last_us + 1
                self._windows += 1
                continue
            report = await self._audit(side, window)
            side.next_us = window.last_us + 1
            self._windows += 1
            self._payments += report.processors[side.name].ours.count
            self._compared += report.processors[side.name].ours.count

    async def _look_back(self, side: _Side) -> None:
        if side.look_back_us is not None:
            async for window in self._differing(side, Window(side.look_back_us, side.next_us - 1)):
                await self._audit(side, window)
            side.look_back_us = None

    async def _differing(self, side: _Side, window: Window) -> AsyncIterator[Window]:
        """Give the short windows inside a window in which totals differ."""
        if window.first_us > window.last_us:
            return
        ours = (await self._ours.summary(window)).get(side.name, Totals())
        if ours == await self._theirs.totals(side.name, window):
            return
        if window.last_us - window.first_us < NARROW_US:
            yield window
            return
        middle_us = (window.first_us + window.last_us) // 2
        for half in (Window(window.first_us, middle_us), Window(middle_us + 1, window.last_us)):
            async for narrow in self._differing(side, half):
                yield narrow

    async def _audit(self, side: _Side, window: Window) -> AuditReport:
        report = await self._auditor.audit(window, (side.name,))
        for finding in report.findings:
            self._found(side, finding, window)
        if sum(report.counts.values()) > len(report.findings):
            self._no_room(side, window)
        for name, totals in report.unaudited.items():
            if name not in self._former:
                self._former.add(name)
                self._tell(NotCompared(name, totals))
        return report

    def _found(self, side: _Side, finding: Finding, window: Window) -> None:
        key = _key(finding)
        if key in self._standing:
            self._standing[key] = finding
        elif finding.difference is Difference.TOTALS and self._covered(finding):
            return
        elif len(self._standing) >= KEPT:
            self._no_room(side, window)
        else:
            self._standing[key] = finding
            self._tell(Found(finding))

    def _covered(self, finding: Finding) -> bool:
        """Return whether the totals of a longer or shorter window around the same time are known to differ."""
        return any(
            one.difference is Difference.TOTALS and one.processor == finding.processor and _overlap(one, finding)
            for one in self._standing.values()
        )

    def _no_room(self, side: _Side, window: Window) -> None:
        side.unnamed_us = window.first_us if side.unnamed_us is None else min(side.unnamed_us, window.first_us)

    # -- standing differences

    async def _recheck(self, side: _Side) -> None:
        """Look again at what differed: it may have been settled, or explained, meanwhile."""
        mine = [key for key, finding in self._standing.items() if finding.processor == side.name]
        for key in mine[:RECHECKED]:
            again = await self._again(side, self._standing[key])
            finding = self._standing.pop(key)
            if key in again:
                # To the end: the next pass begins with others.
                self._standing[key] = again.pop(key)
            else:
                self._resolved += 1
                self._tell(Resolved(finding))
            for one in again.values():
                self._found(side, one, _windows(one)[0])

    async def _again(self, side: _Side, finding: Finding) -> dict[Key, Finding]:
        """Return what differs now at the instants of a difference, or in its window."""
        found: dict[Key, Finding] = {}
        for window in _windows(finding):
            report = await self._auditor.audit(window, (side.name,))
            # A single instant's totals say nothing that its payments do not.
            found |= {_key(one): one for one in report.findings if finding.window or not one.window}
        return found

    # -- processors that cannot be read

    def _cannot_read(self, side: _Side, error: BooksUnavailable) -> None:
        if side.unread != str(error):
            side.unread = str(error)
            self._tell(Unread(side.name, side.unread, side.next_us))

    def _can_read(self, side: _Side, closed_us: int) -> None:
        if side.unread and side.next_us > closed_us and side.look_back_us is None:
            side.unread = ""
            self._tell(ReadAgain(side.name))


def _key(finding: Finding) -> Key:
    """Return what tells one difference from another. Charged twice is one, from whichever side it is seen."""
    name = "" if finding.difference is Difference.CHARGED_TWICE else finding.processor
    return finding.difference, name, finding.correlation_id, finding.window.first_us if finding.window else 0


def _windows(finding: Finding) -> list[Window]:
    """Return where a difference shows: at the instants of both sides, or all over the window of totals."""
    instants = sorted({entry.requested_us for entry in (finding.ours, finding.theirs) if entry is not None})
    return [finding.window] if finding.window else [Window(one, one) for one in instants]


def _overlap(one: Finding, other: Finding) -> bool:
    if one.window is None or other.window is None:
        return False
    return one.window.first_us <= other.window.last_us and other.window.first_us <= one.window.last_us
