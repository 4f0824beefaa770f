"""Attempts: the intent written before one is sent, and the outcome as a value.

What each answer of a processor means is fixed here and nowhere else (source: the challenge's Payment Processor).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payrouter.domain.payment import PaymentEvent


@dataclass(frozen=True, slots=True)
class Delivery:
    """A payment claimed from the queue. Only the holder of the newest `receipt` may act on it.

    `attempts` counts the attempts made so far. `trace`: the client's `traceparent`, "" when there is none.
    """

    correlation_id: str
    amount_minor: int
    accepted_us: int
    receipt: int
    attempts: int = 0
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """One attempt, written down before it is sent (I5: `requested_us`, UTC microseconds, never changes).

    `reason` is the stored form of why this processor was chosen (`routing.Reason.encode`).
    """

    delivery: Delivery
    processor: str
    requested_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that did not charge: what it means for the payment, when (UTC microseconds), and what was said.

    `latency_ms`: how long it took to say so.
    """

    intent: Intent
    event: PaymentEvent
    at_us: int
    detail: str
    latency_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Charged:
    """The processor has it: `already` when it says so of an earlier attempt (`422`)."""

    already: bool = False


class Refusal(StrEnum):
    """Why an attempt was certainly not charged."""

    FAILING = "failing"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Refused:
    """This attempt was not charged, certainly. An earlier one of unknown outcome still may be (I6)."""

    refusal: Refusal
    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It was sent and we do not know: it may be charged now, or later while it sleeps over there."""

    detail: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """The processor will never take this payment as it is."""

    detail: str


Outcome = Charged | Refused | Unknown | Invalid

_MISCONFIGURED = {401, 403, 404, 405, 406, 415}


def outcome_of_answer(status: int, body: bytes) -> Outcome:
    """Return what a processor's answer to `POST /payments` means.

    Only answers known to mean "not charged" count as such; everything unforeseen is Unknown, which costs a
    repeat and never a second charge. `401`, `404` and their like say that our settings are wrong, not that the
    payment is: they must not fill the dead letters.
    """
    match status:
        case 200 if body.lstrip()[:1] == b"{":
            return Charged()
        case 200:
            return Unknown("answered 200 with a body that is not a JSON object")
        case 422:
            return Charged(already=True)
        case 500:
            return Refused(Refusal.FAILING, "answered 500")
        case 429:
            return Refused(Refusal.BUSY, "answered 429")
        case 400 | 413:
            said = body[:120].decode("utf-8", "replace")
            return Invalid(f"answered {status}: {said}")
        case _ if status in _MISCONFIGURED:
            return Refused(Refusal.MISCONFIGURED, f"answered {status}; check the processor's url and keys")
        case _:
            return Unknown(f"answered {status}")
