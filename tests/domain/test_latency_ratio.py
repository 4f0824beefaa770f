from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.views import NOW_S, view, views
from payrouter.domain.board import ProcessorView, Standing
from payrouter.domain.routing import Decision, LatencyRatio, LeastCost, ReasonCode, Send, Wait

USABLE, PROBE, FULL, SLOW, DOWN = Standing.USABLE, Standing.PROBE, Standing.FULL, Standing.SLOW, Standing.DOWN
POLICY = LatencyRatio(1.25)


def route(*seen: ProcessorView) -> Decision:
    return POLICY.route(0.5, 0, seen, NOW_S)


def first(standing: Standing = USABLE, **numbers: float) -> ProcessorView:
    return view(standing, name="first", **numbers)


def second(standing: Standing = USABLE, **numbers: float) -> ProcessorView:
    return view(standing, name="second", **numbers)


@pytest.mark.parametrize(
    ("cheapest_ms", "dearer_ms", "chosen"),
    [(100, 100, "first"), (125, 100, "first"), (126, 100, "second"), (5000, 100, "second"), (5, 0, "second")],
)
def test_the_dearer_one_is_chosen_when_the_cheapest_is_slower_than_the_ratio_times_its_minimum(
    cheapest_ms: float, dearer_ms: float, chosen: str
) -> None:
    decision = route(first(reported_ms=cheapest_ms, expected_ms=0), second(reported_ms=dearer_ms))
    assert decision.processor == chosen


def test_what_was_seen_of_the_cheapest_counts_as_much_as_its_report() -> None:
    assert route(first(reported_ms=5, expected_ms=500), second(reported_ms=100)).processor == "second"


def test_the_dearer_one_is_chosen_when_the_cheapest_is_down() -> None:
    decision = route(first(DOWN), second(reported_ms=5000, expected_ms=5000))
    assert decision.processor == "second"
    assert decision.reason.code is ReasonCode.RATIO
    assert decision.reason.passed_over == (("first", "down"),)


def test_the_cheapest_is_chosen_when_the_dearer_one_is_down() -> None:
    decision = route(first(expected_ms=9000), second(DOWN))
    assert decision.processor == "first"
    assert decision.reason.code is ReasonCode.CHEAPEST
    assert decision.reason.passed_over == ()


def test_with_everybody_down_it_waits_for_the_first_that_may_be_probed() -> None:
    decision = route(first(DOWN, retry_s=NOW_S + 0.4), second(DOWN, retry_s=NOW_S + 0.3))
    assert isinstance(decision, Wait)
    assert decision.until_s == NOW_S + 0.3


def test_a_chosen_one_without_permits_is_waited_for() -> None:
    decision = route(first(FULL), second(reported_ms=100))
    assert isinstance(decision, Wait)
    assert decision.reason.code is ReasonCode.WAIT_CHEAPEST


def test_the_reason_to_wait_for_a_dearer_one_names_the_cheaper_it_passed_over() -> None:
    reason = route(first(DOWN), second(FULL)).reason
    assert reason.code is ReasonCode.WAIT_CHEAPEST
    assert reason.passed_over == (("first", "down"),)


def test_a_chosen_one_that_is_half_open_is_probed() -> None:
    decision = route(first(PROBE), second(reported_ms=100))
    assert decision.processor == "first"
    assert decision.probe


def test_of_three_the_ratio_is_applied_step_by_step() -> None:
    third = view(USABLE, name="third", reported_ms=10)
    assert route(first(expected_ms=1000), second(expected_ms=100, reported_ms=100), third).processor == "third"
    assert route(first(expected_ms=10), second(expected_ms=100, reported_ms=100), third).processor == "first"


@given(st.floats(0, 30), st.integers(0, 10_000), views())
def test_it_is_pure_and_sends_neither_to_one_that_is_down_nor_to_one_that_is_full(
    age_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    decision = POLICY.route(age_s, backlog, seen, NOW_S)
    assert decision == POLICY.route(age_s, backlog, seen, NOW_S)
    if isinstance(decision, Send):
        chosen = next(one for one in seen if one.processor.name == decision.processor)
        assert chosen.standing not in (DOWN, FULL)
        assert chosen.free > 0
        assert decision.probe == (chosen.standing is PROBE)
    else:
        assert NOW_S < decision.until_s <= NOW_S + 0.5


@given(views())
def test_both_policies_agree_on_a_lone_usable_processor(others: list[ProcessorView]) -> None:
    seen = [view(USABLE), *(view(DOWN, name=one.processor.name) for one in others[1:])]
    assert POLICY.route(0, 0, seen, NOW_S) == LeastCost().route(0, 0, seen, NOW_S)


def test_a_paused_processor_gets_nothing() -> None:
    decision = route(first(Standing.PAUSED), second(USABLE))
    assert isinstance(decision, Send)
    assert decision.processor == "second"
    assert isinstance(route(first(Standing.PAUSED), second(Standing.PAUSED)), Wait)
