"""What a processor says of itself, and how often it may be asked (I8)."""

from __future__ import annotations

from dataclasses import dataclass

BETWEEN_CALLS_S = 5.0
MARGIN_S = 0.05

CALL_PAUSE_S = BETWEEN_CALLS_S + MARGIN_S
"""From one health call's end to the next. From its end: one that was held has used up the window it ended in."""

LEAVES_WITHIN_S = 1.0
"""A health call leaves within this of its reservation, or not at all."""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`GET /payments/service-health`: failing or not, and the least latency in milliseconds."""

    failing: bool
    min_response_ms: int


@dataclass(frozen=True, slots=True)
class CallTurn:
    """Whose turn it is: `wait_s` is 0.0 when a call may be made now. `newest_us` is what to remember."""

    wait_s: float
    newest_us: int


def call_turn(newest_us: int | None, now_us: int, *, pause_s: float = CALL_PAUSE_S) -> CallTurn:
    """Decide whether a health call may be made at `now_us`, by the clock that wrote `newest_us`.

    `newest_us` is the latest instant at which the newest call may have left, None when there was none. Until a call
    is known to have ended, it may have left as late as `LEAVES_WITHIN_S` after its reservation: its caller may have
    died, and nobody else knows more.
    """
    unanswered_us = now_us + round(LEAVES_WITHIN_S * 1_000_000)
    if newest_us is None:
        return CallTurn(0.0, unanswered_us)
    # The clock was set back. One pause from now is enough, and not one pause from whenever we ask.
    newest_us = now_us if newest_us > unanswered_us else newest_us
    wait_s = pause_s - (now_us - newest_us) / 1_000_000
    return CallTurn(wait_s, newest_us) if wait_s > 0 else CallTurn(0.0, unanswered_us)
