"""Facts the product publishes; adapters turn them into log lines, and tests listen to them instead of sleeping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.ledger import Settlement
    from payrouter.domain.payment import Payment


@dataclass(frozen=True, slots=True)
class PaymentsAccepted:
    """A group was handed in, and at `now_us` (UTC) its answers were known: one of `results` per payment, in order.

    `accepted`, `duplicate`, `conflict`, `full`, or `unavailable` when nothing could be made durable.
    """

    payments: Sequence[Payment]
    results: Sequence[str]
    now_us: int


@dataclass(frozen=True, slots=True)
class PaymentsSettled:
    """A batch of charges reached the ledger at `now_us` (UTC); `written` is False where one was there before."""

    settlements: Sequence[Settlement]
    written: Sequence[bool]
    now_us: int

    @property
    def count(self) -> int:
        """Payments settled by this batch."""
        return sum(self.written)


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt did not charge: refused, unknown or invalid."""

    correlation_id: str
    processor: str
    outcome: str
    detail: str
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class PaymentBuried:
    """A payment went to the dead letters."""

    correlation_id: str
    processor: str
    reason: str


@dataclass(frozen=True, slots=True)
class StandingChanged:
    """A processor's standing became another."""

    processor: str
    before: str
    after: str
    expected_ms: float


@dataclass(frozen=True, slots=True)
class HealthCallFailed:
    """A health endpoint did not answer, or with something that is no report."""

    processor: str
    detail: str


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store could not make something durable; it is tried again."""

    doing: str
    detail: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """At start: attempts that were under way, to be repeated, and payments still waiting."""

    standing_intents: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Purged:
    """An operator emptied everything."""


@dataclass(frozen=True, slots=True)
class LeadershipChanged:
    """A dispatcher of the cluster began to lead, or stopped."""

    node: str
    leading: bool


@dataclass(frozen=True, slots=True)
class ProcessorPaused:
    """An operator paused a processor, or let it go on."""

    processor: str
    paused: bool


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A call of the public API was refused before it was read: `reason` is `unauthorized` or `rate-limited`.

    `client` is the name of its API key, or the address it came from.
    """

    reason: str
    client: str


@dataclass(frozen=True, slots=True)
class WebhookDelivered:
    """The receiver has taken a webhook; `event` is its type."""

    correlation_id: str
    event: str


@dataclass(frozen=True, slots=True)
class WebhookFailed:
    """The receiver did not take a webhook; it is told again later."""

    correlation_id: str
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class WebhooksGivenUp:
    """Webhooks that nobody will be told of any more."""

    count: int
    detail: str


@dataclass(frozen=True, slots=True)
class BooksCompared:
    """The audit in the background came to another result: `agree`, `differ` or `unavailable`."""

    state: str
    differences: int
    detail: str


Event = (
    PaymentsAccepted
    | PaymentsSettled
    | AttemptFailed
    | PaymentBuried
    | StandingChanged
    | HealthCallFailed
    | StoreFailed
    | Recovered
    | Purged
    | LeadershipChanged
    | ProcessorPaused
    | BooksCompared
    | RequestRefused
    | WebhookDelivered
    | WebhookFailed
    | WebhooksGivenUp
)
