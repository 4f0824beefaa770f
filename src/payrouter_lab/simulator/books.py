"""What one processor has charged: payments by id, and their totals by second. Pure: no clock, no JSON.

Keeping a total per second of `requestedAt` makes a summary cost as many steps as its window has seconds, plus
the payments of the two seconds at its edges, however many payments were ever charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND_US = 1_000_000


class Charge(NamedTuple):
    """One charged payment. `requested_us` is microseconds since the epoch."""

    correlation_id: str
    cents: int
    requested_us: int


class Totals(NamedTuple):
    """How many payments, and their sum."""

    payments: int
    cents: int


class Cursor(NamedTuple):
    """A place in the listing, which goes by second of `requestedAt` and within it by order of arrival."""

    second: int
    position: int


class Page(NamedTuple):
    """Some charges in listing order, and where to go on; `after` is None when the listing has ended."""

    charges: list[Charge]
    after: Cursor | None


class _Second:
    """The payments whose `requestedAt` lies in one second, in order of arrival."""

    __slots__ = ("cents", "ids")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.cents = 0


class Books:
    """Charged payments: `payments` maps correlationId to (cents, requested_us), in the order charged."""

    __slots__ = ("_cents", "_seconds", "duplicates", "payments")

    def __init__(self) -> None:
        self.payments: dict[str, tuple[int, int]] = {}
        self.duplicates: dict[str, int] = {}
        self._seconds: dict[int, _Second] = {}
        self._cents = 0

    def charge(self, correlation_id: str, cents: int, requested_us: int) -> bool:
        """Charge a payment; False if it was charged before, which is counted in `duplicates` by id."""
        payments = self.payments
        if correlation_id in payments:
            self.duplicates[correlation_id] = self.duplicates.get(correlation_id, 0) + 1
            return False
        payments[correlation_id] = (cents, requested_us)
        second = self._seconds.get(requested_us // SECOND_US)
        if second is None:
            second = self._seconds[requested_us // SECOND_US] = _Second()
        second.ids.append(correlation_id)
        second.cents += cents
        self._cents += cents
        return True

    def totals(self, from_us: int | None = None, to_us: int | None = None) -> Totals:
        """Sum the payments requested in a window, both ends included; everything if either end is None."""
        if from_us is None or to_us is None:
            return Totals(len(self.payments), self._cents)
        if from_us > to_us:
            return Totals(0, 0)
        first, last = from_us // SECOND_US, to_us // SECOND_US
        count = cents = 0
        for number in {first, last}:
            for charge in self._charges(number, 0):
                if from_us <= charge.requested_us <= to_us:
                    count += 1
                    cents += charge.cents
        for number in self._present(first + 1, last - 1):
            second = self._seconds[number]
            count += len(second.ids)
            cents += second.cents
        return Totals(count, cents)

    def page(self, from_us: int | None, to_us: int | None, *, after: Cursor | None, limit: int) -> Page:
        """List up to `limit` payments of a window from a cursor on; a missing end is open.

        Payments charged while somebody pages are listed if they come after the cursor.
        """
        first = None if from_us is None else from_us // SECOND_US
        last = None if to_us is None else to_us // SECOND_US
        if after is not None and (first is None or first < after.second):
            first = after.second
        found: list[Charge] = []
        for number in sorted(self._present(first, last)):
            skipped = after.position if after is not None and after.second == number else 0
            for index, charge in enumerate(self._charges(number, skipped), skipped):
                if (from_us is None or from_us <= charge.requested_us) and (
                    to_us is None or charge.requested_us <= to_us
                ):
                    found.append(charge)
                    if len(found) == limit:
                        return Page(found, Cursor(number, index + 1))
        return Page(found, None)

    def purge(self) -> None:
        """Forget everything."""
        self.payments.clear()
        self.duplicates.clear()
        self._seconds.clear()
        self._cents = 0

    def _charges(self, number: int, skipped: int) -> Iterable[Charge]:
        """Yield the charges of one second from the `skipped`-th on, in order of arrival."""
        second = self._seconds.get(number)
        if second is not None:
            for index in range(skipped, len(second.ids)):
                correlation_id = second.ids[index]
                yield Charge(correlation_id, *self.payments[correlation_id])

    def _present(self, first: int | None, last: int | None) -> Iterable[int]:
        """Return the seconds from `first` to `last` that hold payments, in no order; None is an open end."""
        seconds = self._seconds
        if first is not None and last is not None and last - first < len(seconds):
            return [number for number in range(first, last + 1) if number in seconds]
        return [number for number in seconds if (first is None or first <= number) and (last is None or number <= last)]
