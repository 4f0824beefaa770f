"""A payment and the states it moves through, as a table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from payrouter.domain.errors import InvalidInput

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Payment:
    """What a client asked for. `correlation_id` is a UUID in lower case; `accepted_us` is UTC microseconds.

    `trace`: the client's `traceparent` (`trace.parse_traceparent`), "" when it sent none.
    """

    correlation_id: str
    amount_minor: int
    accepted_us: int
    trace: str = ""


def parse_correlation_id(text: str) -> str:
    """Return a UUID in its canonical form, lower case with dashes.

    Raises:
        InvalidInput: if it is anything else, a UUID without dashes included.
    """
    if _UUID.fullmatch(text) is None:
        shown = text[:64]
        raise InvalidInput(f"correlationId must be a UUID like 4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3, got {shown!r}")
    return text.lower()


class PaymentState(IntEnum):
    """Where a payment stands. The numbers are stored: never reuse one."""

    QUEUED = 0
    ATTEMPTING = 1
    PINNED = 2
    SETTLED = 3
    DEAD_LETTER = 4

    @property
    def label(self) -> str:
        """The state as clients and operators read it."""
        return self.name.lower().replace("_", "-")


class PaymentEvent(StrEnum):
    """What can happen to a payment after it was accepted."""

    INTENT_WRITTEN = "intent written"
    CHARGED = "charged"
    REFUSED = "refused"
    UNKNOWN = "outcome unknown"
    INVALID = "invalid"
    RETRIED = "retried by an operator"
    RETRIED_WHILE_PINNED = "retried by an operator, an earlier attempt unresolved"
    PROVEN = "charge proven by the processor's record"


_S, _E = PaymentState, PaymentEvent

TRANSITIONS: dict[tuple[PaymentState, PaymentEvent], PaymentState] = {
    (_S.QUEUED, _E.INTENT_WRITTEN): _S.ATTEMPTING,
    (_S.ATTEMPTING, _E.CHARGED): _S.SETTLED,
    (_S.ATTEMPTING, _E.REFUSED): _S.QUEUED,
    (_S.ATTEMPTING, _E.UNKNOWN): _S.PINNED,
    (_S.ATTEMPTING, _E.INVALID): _S.DEAD_LETTER,
    # I6: nothing but a proven charge lets a pinned payment leave its processor.
    (_S.PINNED, _E.CHARGED): _S.SETTLED,
    (_S.PINNED, _E.REFUSED): _S.PINNED,
    (_S.PINNED, _E.UNKNOWN): _S.PINNED,
    # A dead letter keeps its pin: sending it again repeats the same attempt.
    (_S.PINNED, _E.INVALID): _S.DEAD_LETTER,
    (_S.DEAD_LETTER, _E.RETRIED): _S.QUEUED,
    (_S.DEAD_LETTER, _E.RETRIED_WHILE_PINNED): _S.PINNED,
    # It had been charged after all, says somebody who learned of it late (I4): of one that keeps its pin, as without
    # a pin no charge can be of its attempt.
    (_S.DEAD_LETTER, _E.CHARGED): _S.SETTLED,
    # The intent was lost (a store that does not sync every write), the charge was not.
    (_S.QUEUED, _E.PROVEN): _S.SETTLED,
}
"""Every allowed step; what is not here cannot happen. `docs/states.md` draws it."""


def next_state(state: PaymentState, event: PaymentEvent) -> PaymentState:
    """Return where an event takes a payment.

    Raises:
        ValueError: if the table has no such step.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"a {state.label} payment cannot be {event.value}") from None
