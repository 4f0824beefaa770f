"""What is known while faults strike: which accepted payments are not settled, and whether all books still agree."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter.domain.window import format_instant, parse_instant
from payrouter_lab.faults.books import Compared, Comparison, Entry, compare
from payrouter_lab.faults.journal import Job, Journal, cents_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from payrouter_lab.bench.calls import Processor
    from payrouter_lab.faults.ledgers import Ledger

POLL_S = 0.02
SETTLE_WITHIN_S = 30.0
"""Payments that are not settled by then are stuck; that is a failure."""

KEPT_S = 3.0
"""How long payments may stay unsettled before it is asked whether the queue still has them."""

_MARGIN_US = 2_000_000


class StuckError(Exception):
    """Something that should have come about within its time did not."""


@dataclass
class Watch:
    """Follows one load through our ledger and the processors' books.

    `kept`: returns which of these unsettled payments the queue still has, or None while it does not answer. Without
    it, all are believed to be there.
    """

    job: Job
    journal: Journal
    ledger: Ledger
    processors: Mapping[str, Processor]
    kept: Callable[[list[str]], set[str] | None] | None = None

    unsettled: dict[str, int] = field(default_factory=dict)
    """Accepted payments that are not in the ledger yet: id to number."""
    stuck: set[str] = field(default_factory=set)
    """Accepted payments that were given up: not settled in time, or in no store any more."""
    _accepted: int = 0
    _uncompared: dict[str, int] = field(default_factory=dict)
    _compared: Compared = field(default_factory=Compared)
    _offset_s: float = field(default_factory=lambda: time.time() - time.monotonic())

    def refresh(self) -> None:
        """Learn what was accepted and settled since the last time."""
        self.journal.read()
        new = self.journal.accepts[self._accepted :]
        self._accepted += len(new)
        numbers = {self.job.id_of(one.number): one.number for one in new}
        self.unsettled |= numbers
        self._uncompared |= numbers
        if not self.unsettled:
            return
        for one in self.ledger.settled_of(list(self.unsettled), self._since_us(self.unsettled)) or ():
            self.unsettled.pop(one, None)

    @property
    def in_flight(self) -> int:
        """Payments sent and not yet accepted, or accepted and not yet settled."""
        return len(self.unsettled) + self.journal.unanswered

    def wait_until_settled(self, wanted: set[str], seen: Callable[[], None] | None = None) -> float | None:
        """Return the second at which all of `wanted` were settled, calling `seen` meanwhile; None if some never were.

        Those that were given up are `stuck` from then on.
        """
        begun_s = time.monotonic()
        while True:
            self.refresh()
            now_s = time.monotonic()
            if seen is not None:
                seen()
            left = wanted & self.unsettled.keys()
            if not left:
                return None if wanted & self.stuck else now_s
            if now_s > begun_s + SETTLE_WITHIN_S:
                self._give_up(left)
            elif now_s > begun_s + KEPT_S:
                self._give_up(self._gone(left))
            time.sleep(POLL_S)

    def _gone(self, left: set[str]) -> set[str]:
        """Return those that neither the queue nor the ledger has."""
        asked = sorted(left)
        kept = self.kept(asked) if self.kept is not None else left
        if kept is None or not (gone := left - kept):
            return set()
        # Asked second: what leaves the queue is in the ledger already.
        settled = self.ledger.settled_of(sorted(gone), self._since_us(self.unsettled))
        return set() if settled is None else gone - settled

    def _give_up(self, ids: set[str]) -> None:
        self.stuck |= ids
        for one in ids:
            self.unsettled.pop(one, None)

    def compare_settled(self) -> Comparison:
        """Compare what was accepted and settled since the last comparison, and new charges of what came before."""
        closed = {one: number for one, number in self._uncompared.items() if one not in self.unsettled}
        if not closed:
            return Comparison()
        for one in closed:
            del self._uncompared[one]
        since_us = self._since_us(closed)
        ledger = self._entries(since_us)
        charges = self._charges(since_us)
        again = self._compared.again(charges)
        self._compared.note(closed, charges)
        found = compare(_cents(closed), set(), charges, ledger, strangers=False)
        found.doubled |= again
        return found

    def compare_all(self) -> Comparison:
        """Compare everything there is, id by id, once the load has ended and all has come to rest."""
        self.refresh()
        accepted = {self.job.id_of(number): number for number in self.journal.accepted}
        sent = {self.job.id_of(number) for number in self.journal.sent}
        return compare(_cents(accepted), sent, self._charges(0), self._entries(0), strangers=True)

    def number_of(self, correlation_id: str) -> int:
        """Return which payment of the load this would be; see `bench.ids`."""
        return int(correlation_id.rpartition("-")[2], 16)

    def _since_us(self, payments: Mapping[str, int]) -> int:
        """Return an instant before any attempt of these payments."""
        oldest_s = min(self.journal.sent[number] for number in payments.values())
        return int((oldest_s + self._offset_s) * 1e6) - _MARGIN_US

    def _entries(self, since_us: int) -> list[Entry]:
        deadline_s = time.monotonic() + SETTLE_WITHIN_S
        while (found := self.ledger.entries(since_us)) is None:
            if time.monotonic() > deadline_s:
                raise StuckError(f"the ledger has not answered for {SETTLE_WITHIN_S:g} s")
            time.sleep(POLL_S)
        return found

    def _charges(self, since_us: int) -> list[Entry]:
        return [entry for name, one in self.processors.items() for entry in charges_of(name, one, since_us)]


def charges_of(name: str, processor: Processor, since_us: int = 0) -> list[Entry]:
    """Return what a simulated processor has charged, if requested since then."""
    return [
        Entry(name, one["correlationId"], round(one["amount"] * 100), parse_instant(one["requestedAt"]))
        for one in processor.listed(**({"from": format_instant(since_us)} if since_us else {}))
    ]


def _cents(payments: Mapping[str, int]) -> dict[str, int]:
    return {one: cents_of(number) for one, number in payments.items()}
