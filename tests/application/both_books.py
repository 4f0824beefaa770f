"""Fakes of both sides' books, in memory and as wrong as a test wants them."""

from __future__ import annotations

from dataclasses import dataclass, field

from payrouter.domain.ledger import PaymentRecord, Totals
from payrouter.domain.payment import PaymentState
from payrouter.ports.books import BookEntry, BookPage, BooksUnavailable, UnresolvedAttempt

NAMES = ("default", "fallback")


@dataclass
class Ours:
    """Our books: correlationId to (processor, amount, requested_us, state)."""

    rows: dict[str, tuple[str | None, int, int | None, PaymentState]] = field(default_factory=dict)
    largest_slice: int = 0

    def _settled(self, window):
        return [
            (name, BookEntry(one, amount, at))
            for one, (name, amount, at, state) in self.rows.items()
            if state is PaymentState.SETTLED and at in window
        ]

    async def summary(self, window):
        return _by_processor(self._settled(window))

    async def slice_end_us(self, window, most):
        instants = sorted(entry.requested_us for _, entry in self._settled(window))
        return instants[most - 1] if len(instants) >= most else window.last_us

    async def settled(self, window):
        found: dict[str, dict[str, BookEntry]] = {}
        for name, entry in self._settled(window):
            found.setdefault(name, {})[entry.correlation_id] = entry
        self.largest_slice = max(self.largest_slice, len(self._settled(window)))
        return found

    async def unresolved(self, window, limit):
        found = [
            UnresolvedAttempt(name, BookEntry(one, amount, at), state.label)
            for one, (name, amount, at, state) in self.rows.items()
            if state is not PaymentState.SETTLED and name is not None and at in window
        ]
        return _by_processor([(one.processor, one.entry) for one in found]), found[:limit]

    async def find(self, correlation_id):
        if correlation_id not in self.rows:
            return None
        name, amount, at, state = self.rows[correlation_id]
        return PaymentRecord(correlation_id, amount, 0, state, 1, name, at, None, None, None, ())


def _by_processor(entries):
    totals: dict[str, Totals] = {}
    for name, entry in entries:
        before = totals.get(name, Totals())
        totals[name] = Totals(before.count + 1, before.amount_minor + entry.amount_minor)
    return totals


@dataclass
class Theirs:
    """Processors' books: name to entries. Those in `silent` list nothing, `away` fail; `page_size` a page."""

    books: dict[str, list[BookEntry]] = field(default_factory=lambda: {name: [] for name in NAMES})
    silent: set[str] = field(default_factory=set)
    page_size: int = 2
    lookups: int = 0
    wrong_totals: Totals | None = None
    away: set[str] = field(default_factory=set)
    listings: int = 0

    def _in(self, processor, window):
        return [entry for entry in self.books[processor] if entry.requested_us in window]

    def _ask(self, processor):
        if processor in self.away:
            raise BooksUnavailable(f"processor {processor} cannot be asked")

    async def totals(self, processor, window):
        self._ask(processor)
        found = self._in(processor, window)
        return self.wrong_totals or Totals(len(found), sum(entry.amount_minor for entry in found))

    async def page(self, processor, window, cursor):
        self._ask(processor)
        self.listings += window.first_us < window.last_us
        if processor in self.silent:
            return None
        start = int(cursor or 0)
        entries = self._in(processor, window)
        end = start + self.page_size
        return BookPage(entries[start:end], str(end) if end < len(entries) else None)

    async def find(self, processor, correlation_id):
        self._ask(processor)
        self.lookups += 1
        return next((one for one in self.books[processor] if one.correlation_id == correlation_id), None)


def pay(ours, theirs, correlation_id, name, *, amount=1990, at=500, state=PaymentState.SETTLED):
    ours.rows[correlation_id] = (name, amount, at, state)
    theirs.books[name].append(BookEntry(correlation_id, amount, at))
