"""Notices: what a receiver of webhooks is still to be told, what each is called, and when it is told again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payrouter.domain.payment import PaymentState

LEASE_S = 30.0
"""For so long a claimed notice is its claimer's alone: longer than sending one takes, with a store that hesitates."""

GIVE_UP_AFTER_S = 3 * 86_400.0
"""A notice so old is given up when it fails once more."""

_LONGEST_PAUSE_S = 3600.0
_MOST_DOUBLINGS = 12


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell: the payment got settled or became a dead letter (`event` is that state) at `at_us` (UTC).

    `tries` counts the failed ones. A payment that becomes a dead letter twice gives two, with different instants.
    """

    correlation_id: str
    event: PaymentState
    at_us: int
    tries: int = 0

    @property
    def type(self) -> str:
        """What the receiver reads: `payment.settled` or `payment.dead_letter`."""
        return f"payment.{self.event.name.lower()}"

    @property
    def webhook_id(self) -> str:
        """The same whenever this is told, so that a receiver can tell repeats; a payment settles only once."""
        name = f"{self.event.name.lower()}_{self.correlation_id}"
        return name if self.type == "payment.settled" else f"{name}_{self.at_us}"


def pause_s(tries: int, draw: float) -> float:
    """Return the seconds until the next try after `tries` failed ones, 1 at least.

    1 s, doubling up to an hour, times 0.5 to 1.5 by `draw` (0 to 1), so that many do not come back at once.
    """
    longest_s = min(2.0 ** min(max(tries - 1, 0), _MOST_DOUBLINGS), _LONGEST_PAUSE_S)
    return max(longest_s * (0.5 + draw), 1.0)
