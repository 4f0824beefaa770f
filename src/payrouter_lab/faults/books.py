"""The comparison of all books, payment by payment: what clients got accepted, what processors charged, our ledger.

While payments keep coming, a comparison is exact for a closed set of them: accepted, and settled by now. Every payment
is compared once after the fault that it lived through, and all of them again, with sums and strangers, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set


class Entry(NamedTuple):
    """One payment in somebody's books. `requested_us`: UTC microseconds since the epoch."""

    processor: str
    correlation_id: str
    cents: int
    requested_us: int


@dataclass(slots=True)
class Comparison:
    """What is wrong, by correlationId; all empty when nothing is."""

    lost: set[str] = field(default_factory=set)
    """Accepted, and charged by nobody."""
    doubled: set[str] = field(default_factory=set)
    """Charged more than once, by one processor or by several."""
    differing: dict[str, str] = field(default_factory=dict)
    """Our ledger and the processors do not say the same of it: id, processor, instant, cents; and in which way."""

    @property
    def agree(self) -> bool:
        """True when nothing is wrong."""
        return not (self.lost or self.doubled or self.differing)

    def without(self, other: Comparison) -> Comparison:
        """Return what is wrong here and not in `other`."""
        return Comparison(
            self.lost - other.lost,
            self.doubled - other.doubled,
            {one: how for one, how in self.differing.items() if one not in other.differing},
        )

    def only(self, correlation_id: str) -> Comparison:
        """Return what is wrong with one payment."""
        one = {correlation_id}
        differing = {correlation_id: self.differing[correlation_id]} if correlation_id in self.differing else {}
        return Comparison(self.lost & one, self.doubled & one, differing)

    def add(self, other: Comparison) -> None:
        """Take in what is wrong there."""
        self.lost |= other.lost
        self.doubled |= other.doubled
        self.differing |= other.differing

    def findings(self) -> list[str]:
        """Return what is wrong, a line each with a few examples; empty when nothing is."""
        lines = [
            f"{len(found)} {what}, such as {', '.join(sorted(found)[:3])}"
            for what, found in (("lost", self.lost), ("charged more than once", self.doubled))
            if found
        ]
        if self.differing:
            examples = "; ".join(f"{one}: {how}" for one, how in list(self.differing.items())[:3])
            lines.append(f"{len(self.differing)} in books that differ: {examples}")
        return lines


def compare(
    payments: Mapping[str, int], sent: Set[str], charges: Iterable[Entry], ledger: Iterable[Entry], *, strangers: bool
) -> Comparison:
    """Compare the books on `payments`: accepted and settled ones, with their cents.

    With `strangers`, entries on payments that no client ever sent are differences too; and entries on payments that
    were sent and are not among `payments`, once the two sides do not say the same of them.
    """
    theirs, ours = _by_id(charges), _by_id(ledger)
    found = Comparison()
    for correlation_id, cents in payments.items():
        _compare_one(found, correlation_id, cents, theirs.get(correlation_id, []), ours.get(correlation_id, []))
    if strangers:
        for correlation_id in (theirs.keys() | ours.keys()) - payments.keys():
            if correlation_id not in sent:
                found.differing[correlation_id] = "never sent by a client"
            elif theirs.get(correlation_id) != ours.get(correlation_id):
                found.differing[correlation_id] = "never accepted, and not the same on both sides"
            if len(theirs.get(correlation_id, ())) > 1:
                found.doubled.add(correlation_id)
    return found


def _compare_one(found: Comparison, correlation_id: str, cents: int, theirs: list[Entry], ours: list[Entry]) -> None:
    if not theirs:
        found.lost.add(correlation_id)
    if len(theirs) > 1:
        found.doubled.add(correlation_id)
    if sorted(theirs) != sorted(ours):
        found.differing[correlation_id] = f"charged {_words(theirs)}, in the ledger {_words(ours)}"
    elif any(entry.cents != cents for entry in theirs):
        found.differing[correlation_id] = f"sent {cents} cents, charged {_words(theirs)}"


def _words(entries: list[Entry]) -> str:
    return " and ".join(f"{one.cents} cents by {one.processor} at {one.requested_us}" for one in entries) or "nowhere"


def _by_id(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.correlation_id, []).append(entry)
    return found


@dataclass
class Compared:
    """What earlier comparisons saw charged, so that a later charge of the same payment is noticed."""

    charges: dict[str, Entry] = field(default_factory=dict)

    def again(self, charges: Iterable[Entry]) -> set[str]:
        """Return the payments among these that were seen charged otherwise: by another processor or instant."""
        return {one.correlation_id for one in charges if self.charges.get(one.correlation_id, one) != one}

    def note(self, payments: Iterable[str], charges: Iterable[Entry]) -> None:
        """Remember the charges of payments that were compared."""
        wanted = set(payments)
        self.charges.update((one.correlation_id, one) for one in charges if one.correlation_id in wanted)
