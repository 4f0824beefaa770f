"""Facts the product publishes; adapters turn them into log lines, and tests listen to them instead of sleeping."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaymentsSettled:
    """A batch reached the ledger."""

    count: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt did not charge: refused, unknown or invalid."""

    correlation_id: str
    processor: str
    outcome: str
    detail: str


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


Event = (
    PaymentsSettled
    | AttemptFailed
    | PaymentBuried
    | StandingChanged
    | HealthCallFailed
    | StoreFailed
    | Recovered
    | Purged
    | LeadershipChanged
)
