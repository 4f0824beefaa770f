"""The audit: our books against each processor's, for one closed window (I4).

By totals, and payment by payment where the processor lists its payments. Memory is bounded: our side is read
in slices, theirs in pages, and only the first findings are kept in full. Payments may be settled meanwhile:
what stands on their side alone is looked up again on ours before it counts as a difference.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from payrouter.domain.ledger import Totals
from payrouter.domain.money import format_minor
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window
from payrouter.ports.books import BookEntry, BooksUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from payrouter.domain.ledger import PaymentRecord
    from payrouter.ports.books import ProcessorBooks, RouterBooks, UnresolvedAttempt

KEPT = 1000
"""Findings and unresolved attempts kept in full; the rest is counted."""

LOOKUPS = 1000
"""Single payments asked for, a call each: enough to explain ordinary trouble, few enough when all is lost."""


class Difference(StrEnum):
    """How the two sides can differ on a payment, or on a processor's totals."""

    MISSING_HERE = "missing here"
    MISSING_THERE = "missing there"
    AMOUNT = "amount differs"
    INSTANT = "instant differs"
    CHARGED_TWICE = "charged twice"
    TOTALS = "totals differ"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference; `note` says what the sides do not. About totals: no `correlation_id`, but their `window`."""

    difference: Difference
    processor: str
    correlation_id: str = ""
    ours: BookEntry | None = None
    theirs: BookEntry | None = None
    note: str = ""
    window: Window | None = None


@dataclass(slots=True)
class ProcessorAudit:
    """One processor's totals on both sides; `listed` when its payments were compared one by one."""

    ours: Totals
    theirs: Totals
    unresolved: Totals
    listed: bool

    @property
    def totals_agree(self) -> bool:
        """Whether they are equal, or differ by no more than what is unresolved may have been charged."""
        count = self.theirs.count - self.ours.count
        amount = self.theirs.amount_minor - self.ours.amount_minor
        return 0 <= count <= self.unresolved.count and 0 <= amount <= self.unresolved.amount_minor


@dataclass(slots=True)
class AuditReport:
    """What an audit found. `unaudited` are former processors that our books know and the settings do not."""

    window: Window
    processors: dict[str, ProcessorAudit] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[Difference] = field(default_factory=Counter)
    unresolved: list[UnresolvedAttempt] = field(default_factory=list)
    unresolved_count: int = 0
    unaudited: dict[str, Totals] = field(default_factory=dict)
    lookups_left: int = LOOKUPS

    @property
    def agree(self) -> bool:
        """True when nothing differs."""
        return not self.counts

    def add(self, finding: Finding) -> None:
        """Count a difference, and keep it while there is room."""
        self.counts[finding.difference] += 1
        if len(self.findings) < KEPT:
            self.findings.append(finding)


def differences(ours: BookEntry, theirs: BookEntry) -> list[Difference]:
    """Return how two entries of one payment differ; empty when they agree."""
    found = []
    if ours.amount_minor != theirs.amount_minor:
        found.append(Difference.AMOUNT)
    if ours.requested_us != theirs.requested_us:
        found.append(Difference.INSTANT)
    return found


@dataclass(frozen=True, slots=True)
class Books:
    """Both sides' books. `processors` are names in the operator's order."""

    ours: RouterBooks
    theirs: ProcessorBooks
    processors: tuple[str, ...]


class Auditor:
    """Compares books. `processors` are names in the operator's order; slices hold about `slice_rows` each."""

    def __init__(
        self,
        ours: RouterBooks,
        theirs: ProcessorBooks,
        processors: Sequence[str],
        *,
        slice_rows: int = 10_000,
        lookups: int = LOOKUPS,
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._processors = tuple(processors)
        self._slice_rows = slice_rows
        self._lookups = lookups

    async def audit(
        self, window: Window, only: Sequence[str] | None = None, tell: Callable[[int, int], None] | None = None
    ) -> AuditReport:
        """Compare a window whose end lies in the past, beyond the time an intent needs to be written.

        With the processors that `only` names, by default with all. `tell` is told now and then how many of our
        payments were compared one by one, and of how many.

        Raises:
            BooksUnavailable: if a processor cannot be asked.
            StoreUnavailable: if our own books cannot be read.
        """
        report = AuditReport(window, lookups_left=self._lookups)
        # In this order: what is charged meanwhile was unresolved when we began, so totals stay comparable.
        unresolved, report.unresolved = await self._ours.unresolved(window, KEPT)
        report.unresolved_count = sum(total.count for total in unresolved.values())
        ours = await self._ours.summary(window)
        report.unaudited = {name: total for name, total in ours.items() if name not in self._processors}
        for name in self._processors if only is None else only:
            report.processors[name] = ProcessorAudit(
                ours.get(name, Totals()),
                await self._theirs.totals(name, window),
                unresolved.get(name, Totals()),
                await self._theirs.page(name, Window(window.first_us, window.first_us), None) is not None,
            )
        comparison = _Comparison(self._ours, self._theirs, self._processors, report)
        listed = [name for name, one in report.processors.items() if one.listed]
        if listed:
            total, compared = sum(report.processors[name].ours.count for name in listed), 0
            async for part in self._slices(window):
                settled = await self._ours.settled(part)
                compared += sum(len(settled.get(name, {})) for name in listed)
                for name in listed:
                    await comparison.compare(name, part, settled.get(name, {}))
                if tell is not None:
                    tell(compared, total)
        comparison.compare_totals()
        return report

    async def _slices(self, window: Window) -> AsyncIterator[Window]:
        first_us = window.first_us
        while first_us <= window.last_us:
            last_us = await self._ours.slice_end_us(Window(first_us, window.last_us), self._slice_rows)
            yield Window(first_us, last_us)
            first_us = last_us + 1


class _Comparison:
    """One audit's comparing, payment by payment, into a report."""

    def __init__(
        self, ours: RouterBooks, theirs: ProcessorBooks, processors: Sequence[str], report: AuditReport
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._processors = processors
        self._report = report
        # No more than there are lookups: each entry took one.
        self._charged_twice: set[str] = set()
        self._explained: set[str] = set()

    def _add(self, finding: Finding) -> None:
        self._explained.add(finding.processor)
        self._report.add(finding)

    async def compare(self, name: str, part: Window, ours: dict[str, BookEntry]) -> None:
        """Compare one slice of one processor's books with ours."""
        seen: set[str] = set()
        async for theirs in self._listing(name, part):
            correlation_id = theirs.correlation_id
            mine = ours.get(correlation_id)
            if mine is None:
                await self._only_theirs(name, theirs)
            elif correlation_id in seen:
                note = "listed twice by this processor"
                self._add(Finding(Difference.CHARGED_TWICE, name, correlation_id, mine, theirs, note))
            else:
                seen.add(correlation_id)
                self._differ(name, mine, theirs)
        for correlation_id, mine in ours.items():
            if correlation_id not in seen:
                await self._only_ours(name, mine)

    async def _listing(self, name: str, part: Window) -> AsyncIterator[BookEntry]:
        cursor: str | None = None
        while True:
            page = await self._theirs.page(name, part, cursor)
            if page is None or (page.cursor is not None and (page.cursor == cursor or not page.entries)):
                raise BooksUnavailable(f"processor {name} broke off its list of payments; ask its operator")
            for entry in page.entries:
                yield entry
            if page.cursor is None:
                return
            cursor = page.cursor

    def _differ(self, name: str, ours: BookEntry, theirs: BookEntry) -> None:
        for difference in differences(ours, theirs):
            self._add(Finding(difference, name, ours.correlation_id, ours, theirs))

    async def _only_theirs(self, name: str, theirs: BookEntry) -> None:
        """Explain a payment that they have in this slice and we have not."""
        record = await self._ours.find(theirs.correlation_id)
        ours = _entry(record)
        if record is not None and ours is not None and record.processor == name:
            # Settled since the slice was read, or unresolved as we know ourselves: then nothing differs.
            self._differ(name, ours, theirs)
            return
        note = _standing(record)
        other, unread = await self._elsewhere(name, theirs.correlation_id)
        if unread:
            note += f"; whether {unread} charged it too is not known, it cannot be asked"
        if other is None:
            self._add(Finding(Difference.MISSING_HERE, name, theirs.correlation_id, None, theirs, note))
        elif theirs.correlation_id not in self._charged_twice:
            self._charged_twice.add(theirs.correlation_id)
            self._explained.add(other)
            note = f"also charged by {other}; {note}"
            self._add(Finding(Difference.CHARGED_TWICE, name, theirs.correlation_id, ours, theirs, note))

    async def _only_ours(self, name: str, ours: BookEntry) -> None:
        """Explain a payment that we have settled in this slice and they do not list in it."""
        theirs = await self._lookup(name, ours.correlation_id)
        if theirs is None:
            self._add(Finding(Difference.MISSING_THERE, name, ours.correlation_id, ours, None))
        elif theirs.requested_us == ours.requested_us or theirs.requested_us not in self._report.window:
            self._differ(name, ours, theirs)
        # Else they list it in another slice, where it is found from their side.

    async def _elsewhere(self, name: str, correlation_id: str) -> tuple[str | None, str]:
        """Return another processor that charged a payment too, None when none did; and who could not be asked."""
        unread = []
        for other in self._processors:
            try:
                if other != name and await self._lookup(other, correlation_id) is not None:
                    return other, ""
            except BooksUnavailable:
                # Whoever audits that one learns why; what is missing here is missing all the same.
                unread.append(other)
        return None, " and ".join(unread)

    async def _lookup(self, name: str, correlation_id: str) -> BookEntry | None:
        if self._report.lookups_left <= 0:
            return None
        self._report.lookups_left -= 1
        return await self._theirs.find(name, correlation_id)

    def compare_totals(self) -> None:
        """Add what totals show and no single payment explains."""
        for name, one in self._report.processors.items():
            if not one.totals_agree and name not in self._explained:
                note = f"ours {_words(one.ours)}, theirs {_words(one.theirs)}"
                self._add(Finding(Difference.TOTALS, name, note=note, window=self._report.window))


def _entry(record: PaymentRecord | None) -> BookEntry | None:
    """Return a record as an entry; None while no attempt of it stands."""
    if record is None or record.requested_us is None or record.processor is None:
        return None
    return BookEntry(record.correlation_id, record.amount_minor, record.requested_us)


def _standing(record: PaymentRecord | None) -> str:
    if record is None:
        return "unknown here"
    if record.state is PaymentState.SETTLED or record.processor is not None:
        return f"{record.state.label} at {record.processor} here"
    return f"{record.state.label} here"


def _words(total: Totals) -> str:
    return f"{total.count} payments, {format_minor(total.amount_minor)}"
