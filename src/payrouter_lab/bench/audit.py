"""The books after a benchmark: every payment looked up on every processor, every total compared."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from payrouter_lab.bench.score import BooksReport, compare_books

if TYPE_CHECKING:
    from collections.abc import Set
    from decimal import Decimal

    from payrouter_lab.bench.bed import Bed

WINDOWS = 20


@dataclass(frozen=True, slots=True)
class Audit:
    """What the books say once everything has come to rest."""

    report: BooksReport
    differences: list[str]
    """Windows for which the contender's summary differs from a processor's books; empty when all agree."""

    @property
    def agree(self) -> bool:
        """True when nothing is lost, doubled or different."""
        return self.report.agree and not self.differences

    def findings(self) -> list[str]:
        """Return what is wrong, a line each with a few examples; empty when nothing is."""
        named = {
            "lost": self.report.lost,
            "charged more than once": self.report.doubled,
            "charged but not accepted": self.report.uninvited,
            "charged with another amount": self.report.wrong_amount,
            "windows that differ": self.differences,
        }
        return [f"{len(items)} {what}, such as {', '.join(items[:3])}" for what, items in named.items() if items]


def audit_books(bed: Bed, accepted: Set[str], unanswered: Set[str], amount: Decimal, *, since_s: float) -> Audit:
    """Compare accepted payments with the processors' books id by id, and the summaries of random windows.

    `since_s` is the Unix second before the first payment; the windows lie between it and now, and around all.
    """
    charges = {name: processor.charges() for name, processor in bed.processors.items()}
    report = compare_books(accepted, unanswered, charges, cents=int(amount * 100))
    chance = random.Random(since_s)
    now_s = datetime.now(UTC).timestamp()
    windows = [sorted(chance.uniform(since_s, now_s) for _ in range(2)) for _ in range(WINDOWS)]
    queries = [{}, *({"from": _instant(start), "to": _instant(end)} for start, end in windows)]
    return Audit(report, [text for query in queries for text in _differences(bed, query)])


def _differences(bed: Bed, query: dict[str, str]) -> list[str]:
    ours = bed.target.summary(**query)
    window = f"{query['from']} to {query['to']}" if query else "everything"
    found = []
    for name, processor in bed.processors.items():
        theirs = processor.total(**query)
        if ours.get(name) != theirs:
            found.append(f"{window}, {name}: ours {ours.get(name)}, theirs {theirs}")
    return found


def _instant(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
