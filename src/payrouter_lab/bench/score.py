"""The challenge's arithmetic (the contract, section 3) and the comparison of books, id by id. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

BONUS_BELOW_MS = 11.0
BONUS_PER_MS = 0.02
FINE = 0.35
# The upper bound is everything accepted, settled at the lowest fee, with the bonus of a p99 of 1 ms.
BEST_FACTOR = Decimal("1.20")


@dataclass(frozen=True, slots=True)
class Total:
    """How many payments, and their sum."""

    count: int
    amount: Decimal

    def __str__(self) -> str:
        return f"{self.count} ({self.amount})"


@dataclass(frozen=True, slots=True)
class Score:
    """What a test earned. `margin` leaves out bonus and fine: the share of the best possible net amount."""

    settled: Decimal
    fees: Decimal
    bonus: float
    fine: float
    profit: float
    upper_bound: float
    margin: float

    @property
    def share_percent(self) -> float:
        """The profit as a percentage of the upper bound."""
        return 100 * self.profit / self.upper_bound if self.upper_bound else 0.0


def bonus(p99_ms: float) -> float:
    """Return max(0, (11 - p99) x 0.02)."""
    return max(0.0, (BONUS_BELOW_MS - p99_ms) * BONUS_PER_MS)


def score(  # noqa: PLR0913 - the facts of one test
    settled: Mapping[str, Total],
    fees: Mapping[str, Decimal],
    *,
    accepted: int,
    amount: Decimal,
    p99_ms: float,
    inconsistent: bool,
) -> Score:
    """Return the score of a test that accepted `accepted` payments of `amount` each.

    Settling more payments than were accepted disqualifies: the profit is 0.
    """
    gross = sum((total.amount for total in settled.values()), Decimal(0))
    fee = sum((total.amount * fees[name] for name, total in settled.items()), Decimal(0))
    best = accepted * amount * (1 - min(fees.values()))
    extra = bonus(p99_ms)
    fine = FINE if inconsistent else 0.0
    net = gross - fee
    honest = sum(total.count for total in settled.values()) <= accepted
    return Score(
        settled=gross,
        fees=fee,
        bonus=extra,
        fine=fine,
        profit=float(net) * (1 + extra - fine) if honest else 0.0,
        upper_bound=float(best * BEST_FACTOR),
        margin=float(net / best) if best else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Charge:
    """One payment in a processor's books."""

    correlation_id: str
    cents: int


@dataclass(frozen=True, slots=True)
class BooksReport:
    """What the books say about every payment of a test; ids, sorted, empty when all is well."""

    lost: list[str]
    """Accepted, and on no processor."""
    doubled: list[str]
    """Charged more than once, on one processor or on several."""
    uninvited: list[str]
    """Charged, but neither accepted nor left without an answer."""
    wrong_amount: list[str]
    """Charged with another amount than the one sent."""

    @property
    def agree(self) -> bool:
        """True when nothing is wrong."""
        return not (self.lost or self.doubled or self.uninvited or self.wrong_amount)


def compare_books(
    accepted: Set[str],
    unanswered: Set[str],
    charges: Mapping[str, Iterable[Charge]],
    *,
    cents: int,
) -> BooksReport:
    """Compare what was accepted with what every processor charged.

    An unanswered payment may have been accepted or not, so it may be charged or not; but only once.
    """
    times: Counter[str] = Counter()
    wrong: set[str] = set()
    for books in charges.values():
        for charge in books:
            times[charge.correlation_id] += 1
            if charge.cents != cents:
                wrong.add(charge.correlation_id)
    return BooksReport(
        lost=sorted(accepted - times.keys()),
        doubled=sorted(name for name, count in times.items() if count > 1),
        uninvited=sorted(times.keys() - accepted - unanswered),
        wrong_amount=sorted(wrong),
    )
