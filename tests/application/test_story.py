"""What is told of a payment."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from payrouter.application.story import Step, StepKind, story
from payrouter.domain.ledger import AttemptRecord, PaymentRecord
from payrouter.domain.payment import PaymentState
from payrouter.domain.processor import Processor

AT_US = 1_750_000_000_000_000
S, MS = 1_000_000, 1000
PROCESSORS = (
    Processor("default", "http://127.0.0.1:1", Decimal("0.05")),
    Processor("fallback", "http://127.0.0.1:2", Decimal("0.15")),
)
CHEAPEST = "cheapest|5.0|3|256|0.00|"
AFTER_WAITING = "cheaper-down|7.0|0|64|10.00|default=down"


def record(state: PaymentState, **known: Any) -> PaymentRecord:
    values: dict[str, Any] = {
        "correlation_id": "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3",
        "amount_minor": 1990,
        "accepted_us": AT_US,
        "state": state,
        "attempts": 1,
        "processor": None,
        "requested_us": None,
        "settled_us": None,
        "latency_ms": None,
        "reason": None,
        "failures": (),
    }
    return PaymentRecord(**values | known)


def kinds(steps: list[Step]) -> list[str]:
    return [step.kind.value for step in steps]


def told(one: PaymentRecord) -> list[Step]:
    """Its story, whose steps are in order."""
    steps = story(one, PROCESSORS)
    assert [step.at_us for step in steps] == sorted(step.at_us for step in steps)
    return steps


def test_a_payment_that_went_straight_through() -> None:
    steps = told(
        record(
            PaymentState.SETTLED,
            processor="default",
            requested_us=AT_US + 2 * MS,
            settled_us=AT_US + 14 * MS,
            latency_ms=11.6,
            reason=CHEAPEST,
        )
    )
    assert steps == [
        Step(AT_US, StepKind.ACCEPTED, "accepted: 19.90"),
        Step(
            AT_US + 2 * MS,
            StepKind.ATTEMPT,
            "sent to default: default was the cheapest and usable: expected 5 ms with 3 of 256 permits in use, "
            "0.0 s after the payment was accepted",
        ),
        Step(AT_US + 14 * MS, StepKind.SETTLED, "settled: charged by default, after 12 ms, for a fee of 1.00"),
    ]


def test_a_wait_says_how_long_and_what_for() -> None:
    refused = AttemptRecord(
        AT_US + 20 * MS, "default", "refused", "answered 500", AT_US + 10 * MS, 10.0, "cheapest|5.0|3|256|0.00|"
    )
    steps = told(
        record(
            PaymentState.SETTLED,
            attempts=2,
            processor="fallback",
            requested_us=AT_US + 10 * S,
            settled_us=AT_US + 10 * S + 8 * MS,
            latency_ms=7.5,
            reason=AFTER_WAITING,
            failures=(refused,),
        )
    )
    assert kinds(steps) == ["accepted", "attempt", "failed", "waited", "attempt", "settled"]
    assert steps[2].text == "default: refused after 10 ms, not charged: answered 500; back in its place in the queue"
    assert steps[3] == Step(AT_US + 20 * MS, StepKind.WAITED, "waited 10.0 s: default was down")
    assert steps[5].text == "settled: charged by fallback, after 7.5 ms, for a fee of 2.98"


def test_an_unknown_outcome_is_repeated_where_it_is_and_pinned_once() -> None:
    def at(after_us: int, outcome: str, latency_ms: float) -> AttemptRecord:
        return AttemptRecord(AT_US + after_us, "default", outcome, "no answer", AT_US + MS, latency_ms, CHEAPEST)

    steps = told(
        record(
            PaymentState.SETTLED,
            processor="default",
            requested_us=AT_US + MS,
            settled_us=AT_US + 5 * S,
            latency_ms=20.0,
            reason=CHEAPEST,
            failures=(at(S, "outcome unknown", 999.0), at(2 * S, "refused", 5.0), at(3 * S, "outcome unknown", 5.0)),
        )
    )
    assert kinds(steps) == [
        *("accepted", "attempt", "failed", "pinned", "attempt", "failed", "attempt", "failed"),
        *("attempt", "settled"),
    ]
    assert steps[3].text == "stays with default, which may have charged it, and is repeated there until it says"
    assert steps[4].at_us == AT_US + 2 * S - 5 * MS
    assert "the same requestedAt" in steps[4].text
    assert "proves nothing of the first" in steps[5].text
    assert steps[8].at_us == AT_US + 5 * S - 20 * MS


def test_a_take_over_shows_as_a_repeat() -> None:
    steps = told(
        record(
            PaymentState.SETTLED,
            processor="default",
            requested_us=AT_US + MS,
            settled_us=AT_US + 5 * S,
            latency_ms=20.0,
            reason=CHEAPEST,
        )
    )
    assert kinds(steps) == ["accepted", "attempt", "attempt", "settled"]


def test_a_repeat_that_is_refused_after_a_take_over_frees_nothing() -> None:
    refused = AttemptRecord(AT_US + 5 * S, "default", "refused", "answered 500", AT_US + MS, 5.0, CHEAPEST)
    pinned = record(
        PaymentState.PINNED, processor="default", requested_us=AT_US + MS, reason=CHEAPEST, failures=(refused,)
    )
    steps = told(pinned)
    assert kinds(steps) == ["accepted", "attempt", "failed", "pinned"]
    assert "proves nothing" in steps[2].text


def test_a_dead_letter_says_why_and_that_it_was_sent_again() -> None:
    invalid = AttemptRecord(AT_US + S, "default", "invalid", "answered 400: no", AT_US + MS, 9.0, CHEAPEST)
    dead = told(record(PaymentState.DEAD_LETTER, failures=(invalid,)))
    assert kinds(dead) == ["accepted", "attempt", "dead-letter"]
    assert dead[-1].text == "it cannot succeed as it is: default after 9.0 ms: answered 400: no"
    again = told(record(PaymentState.QUEUED, failures=(invalid,)))
    assert kinds(again) == [*kinds(dead), "queued"]
    assert again[-1].text == "an operator sent it again: it waits to be sent"
    settled = told(
        record(
            PaymentState.SETTLED,
            attempts=2,
            processor="default",
            requested_us=AT_US + 9 * S,
            settled_us=AT_US + 9 * S + 5 * MS,
            latency_ms=4.0,
            reason=CHEAPEST,
            failures=(invalid,),
        )
    )
    # When the operator did is not kept: no wait is made up of it.
    assert kinds(settled) == [*kinds(dead), "queued", "attempt", "settled"]


def test_what_has_not_ended_ends_with_where_it_stands() -> None:
    assert told(record(PaymentState.QUEUED))[-1] == Step(AT_US, StepKind.QUEUED, "waits to be sent")
    out = record(PaymentState.ATTEMPTING, processor="default", requested_us=AT_US + MS, reason=CHEAPEST)
    assert kinds(told(out)) == ["accepted", "attempt"]
    pinned = record(PaymentState.PINNED, processor="default", requested_us=AT_US + MS, reason=CHEAPEST)
    assert kinds(told(pinned)) == ["accepted", "attempt", "pinned"]


def test_records_of_earlier_versions_are_told_as_far_as_they_go() -> None:
    old = AttemptRecord(AT_US + S, "default", "refused", "answered 500")
    steps = told(record(PaymentState.QUEUED, failures=(old,)))
    assert kinds(steps) == ["accepted", "failed", "queued"]
    assert steps[1].text == "default: refused, not charged: answered 500; back in its place in the queue"


def test_more_failures_than_are_kept_are_said_to_be_missing() -> None:
    failures = tuple(
        AttemptRecord(AT_US + n * S + 9 * MS, "default", "refused", "answered 500", AT_US + n * S, 9.0, CHEAPEST)
        for n in range(20, 40)
    )
    steps = told(record(PaymentState.QUEUED, attempts=40, failures=failures))
    assert steps[1].text == "only the last 20 failed attempts are kept; there may have been more before"
    # Nor is the time before them made up to be one wait.
    assert kinds(steps)[:4] == ["accepted", "failed", "attempt", "failed"]


def test_a_charge_that_an_audit_found_was_not_sent_by_anybody_known() -> None:
    steps = told(
        record(
            PaymentState.SETTLED,
            processor="default",
            requested_us=AT_US + MS,
            settled_us=AT_US + 60 * S,
            latency_ms=0.0,
            reason="proven|0.0|0|0|60.00|",
        )
    )
    assert kinds(steps) == ["accepted", "settled"]
    assert steps[1].text == "settled: default's own record shows that it was charged, for a fee of 1.00"
