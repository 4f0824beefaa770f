from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.views import NOW_S, views
from payrouter.domain.board import ProcessorView, Standing
from payrouter.domain.routing import LatencyRatio, LeastCost, Reason, ReasonCode, Send

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", fullmatch=True)
REASONS = st.builds(
    Reason,
    st.sampled_from(ReasonCode),
    st.integers(0, 100_000).map(lambda tenths: tenths / 10),
    st.integers(0, 5000),
    st.integers(1, 5000),
    st.integers(0, 10**8).map(lambda hundredths: hundredths / 100),
    st.lists(st.tuples(NAMES, st.sampled_from([one.value for one in Standing])), max_size=5).map(tuple),
)


def test_the_stored_codes_never_change() -> None:
    assert [code.value for code in ReasonCode] == [
        "cheapest",
        "cheaper-down",
        "cheaper-slow",
        "cheaper-full",
        "cheaper-paused",
        "probe",
        "least-bad",
        "ratio",
        "wait-cheapest",
        "wait-all",
        "proven",
    ]


def test_the_stored_form_is_short_and_fixed() -> None:
    reason = Reason(ReasonCode.CHEAPER_DOWN, 12.34, 3, 32, 10.001, (("default", "down"), ("other", "slow")))
    assert reason.encode() == "cheaper-down|12.3|3|32|10.00|default=down,other=slow"


@given(REASONS)
def test_a_stored_reason_is_read_back_as_it_was(reason: Reason) -> None:
    assert Reason.decode(reason.encode()) == reason


@given(REASONS, NAMES)
def test_a_reason_reads_the_same_before_and_after_it_was_stored(reason: Reason, processor: str) -> None:
    assert Reason.decode(reason.encode()).in_words(processor) == reason.in_words(processor)


@pytest.mark.parametrize("code", [code for code in ReasonCode if code is not ReasonCode.PROVEN])
def test_every_reason_reads_as_a_sentence_about_its_processor(code: ReasonCode) -> None:
    words = Reason(code, 12.3, 3, 32, 4.56).in_words("fallback")
    assert words.startswith("fallback ")
    assert words.endswith(": expected 12 ms with 3 of 32 permits in use, 4.6 s after the payment was accepted")
    assert "{" not in words


def test_what_was_charged_before_anybody_decided_says_so() -> None:
    words = Reason(ReasonCode.PROVEN, 0, 0, 0, 4.56).in_words("fallback")
    assert words == (
        "fallback had charged it already, as its own record shows: found 4.6 s after the payment was accepted"
    )


def test_a_reason_names_the_cheaper_ones_and_how_they_were() -> None:
    reason = Reason(ReasonCode.CHEAPER_DOWN, 12, 3, 32, 10, (("default", "down"), ("other", "slow")))
    assert "default was down, other was slow" in reason.in_words("fallback")


@pytest.mark.parametrize("code", [ReasonCode.LEAST_BAD, ReasonCode.WAIT_ALL])
def test_where_all_are_weighed_and_there_is_only_one_it_says_so(code: ReasonCode) -> None:
    assert "there is no other" in Reason(code, 12, 3, 32, 10).in_words("default")


@given(st.floats(0, 30), st.integers(0, 10_000), views())
def test_passed_over_names_the_cheaper_ones_or_all_others_where_all_were_weighed(
    age_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    for policy in (LeastCost(), LatencyRatio()):
        decision = policy.route(age_s, backlog, seen, NOW_S)
        code, passed_over = decision.reason.code, decision.reason.passed_over
        standings = [(one.processor.name, one.standing.value) for one in seen]
        assert list(passed_over) == [one for one in standings if one in passed_over], "cheapest first"
        if code in (ReasonCode.LEAST_BAD, ReasonCode.WAIT_ALL):
            assert len(passed_over) == len(seen) - 1
        elif isinstance(decision, Send):
            names = [name for name, _ in standings]
            assert list(passed_over) == standings[: names.index(decision.processor)]
        else:
            assert list(passed_over) == standings[: len(passed_over)]
            assert len(passed_over) < len(seen)


@given(st.floats(0, 30), st.integers(0, 10_000), views())
def test_whatever_a_policy_decides_can_be_stored_and_said(
    age_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    for policy in (LeastCost(), LatencyRatio()):
        decision = policy.route(age_s, backlog, seen, NOW_S)
        stored = Reason.decode(decision.reason.encode())
        assert stored.code is decision.reason.code
        assert stored.passed_over == decision.reason.passed_over
        assert stored.in_words(decision.processor if isinstance(decision, Send) else "first")
