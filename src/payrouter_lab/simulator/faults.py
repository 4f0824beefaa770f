"""Faults a test can ask of a simulated processor. Only the values; `edge` acts on them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from payrouter.adapters.http.message import STATUS_LINES

Chance = bool | Annotated[float, msgspec.Meta(ge=0, le=1)]
"""How often: never (False, 0), always (True, 1), or a probability."""


class HealthReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer of `GET /payments/service-health`."""

    failing: bool
    min_response_ms: int = msgspec.field(name="minResponseTime")


class Faults(msgspec.Struct, forbid_unknown_fields=True):
    """What goes wrong just now; nothing, unless set.

    `refuse_before`: the connection is cut on arrival, nothing is charged.
    `status`: after the delay this status is answered, nothing is charged.
    `answer_lost`: the payment is charged, then the connection is cut without an answer.
    `garbage_answer`: the payment is charged, then answered `200` with a body that is not JSON.
    `health_hangs`, `health_garbage`, `health_lies`: a health call that is let through never gets an answer,
    gets one that is not JSON, gets this report instead of the truth.
    """

    health_hangs: bool = False
    health_garbage: bool = False
    health_lies: HealthReport | None = None
    refuse_before: Chance = False
    answer_lost: Chance = False
    garbage_answer: Chance = False
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None

    def patched(self, changes: dict[str, Any]) -> Faults:
        """Return these faults with some replaced.

        Raises:
            msgspec.ValidationError: if a key is unknown or a value is wrong.
        """
        faults = msgspec.convert(msgspec.to_builtins(self) | changes, Faults)
        if faults.status is not None and faults.status not in STATUS_LINES:
            raise msgspec.ValidationError(f"status {faults.status} is not an HTTP status")
        return faults
