from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.latency import Latency


def test_nothing_known_is_expected_to_be_instant() -> None:
    assert Latency().expected_ms(10, silent_s=0) == 0


def test_the_first_sample_counts_alone_and_later_ones_by_a_fifth() -> None:
    latency = Latency()
    latency.sampled(10, 100)
    assert latency.expected_ms(10, silent_s=0) == 100
    latency.sampled(10.5, 200)
    assert latency.expected_ms(10.5, silent_s=0) == pytest.approx(120)


def test_after_a_pause_a_sample_counts_alone_again() -> None:
    latency = Latency()
    latency.sampled(10, 5000)
    latency.sampled(11.001, 20)
    assert latency.expected_ms(11.001, silent_s=0) == 20


def test_a_sample_may_be_given_as_one_that_counts_alone() -> None:
    latency = Latency()
    latency.sampled(10, 5000)
    latency.sampled(10.1, 20, alone=True)
    assert latency.expected_ms(10.1, silent_s=0) == 20
    latency.sampled(10.2, 120)
    assert latency.expected_ms(10.2, silent_s=0) == pytest.approx(40)


def test_a_worse_report_counts_at_once() -> None:
    latency = Latency()
    latency.sampled(10, 20)
    latency.reported(10.1, 5000)
    assert latency.expected_ms(10.1, silent_s=0) == 5000


def test_a_better_report_does_not_erase_what_was_seen() -> None:
    latency = Latency()
    latency.sampled(10, 3000)
    latency.reported(10.1, 5)
    assert latency.expected_ms(10.1, silent_s=0) == 3000


def test_a_sample_newer_than_the_report_speaks_instead_of_it() -> None:
    latency = Latency()
    latency.reported(10, 5000)
    latency.sampled(10.1, 20)
    assert latency.expected_ms(10.1, silent_s=0) == 20


def test_a_stale_report_is_ignored() -> None:
    latency = Latency(report_fresh_s=11)
    latency.reported(10, 5000)
    assert latency.expected_ms(20.999, silent_s=0) == 5000
    assert latency.expected_ms(21, silent_s=0) == 0


def test_the_report_is_kept_apart_from_the_samples() -> None:
    latency = Latency()
    latency.reported(10, 5000)
    latency.sampled(11, 20)
    assert latency.reported_ms == 5000
    assert latency.observed_ms == 20


def test_silence_is_a_lower_bound_that_needs_no_answer() -> None:
    latency = Latency()
    latency.sampled(10, 20)
    assert latency.expected_ms(12, silent_s=1.5) == 1500
    assert latency.expected_ms(12, silent_s=0.001) == 20


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.floats(0, 10_000)), max_size=50),
    st.floats(0, 20),
    st.floats(0, 60),
)
def test_what_is_expected_is_never_below_the_silence_nor_above_everything_heard(
    news: list[tuple[bool, float, float]], pause_s: float, silent_s: float
) -> None:
    latency, now_s = Latency(), 0.0
    for is_report, after_s, ms in news:
        now_s += after_s
        (latency.reported if is_report else latency.sampled)(now_s, ms)
    expected_ms = latency.expected_ms(now_s + pause_s, silent_s=silent_s)
    most_ms = max([ms for _, _, ms in news] + [silent_s * 1000])
    assert silent_s * 1000 <= expected_ms <= most_ms + 1e-6


def test_an_overtaken_answer_says_nothing_new() -> None:
    latency = Latency()
    latency.sampled(40.6, 20.0)
    latency.sampled(41.5, 2000.0)
    assert latency.observed_ms == 20.0


def test_an_answer_slower_than_the_one_before_it_counts_when_both_left_together() -> None:
    latency = Latency()
    latency.sampled(40.0, 20.0)
    latency.sampled(40.2, 220.0)
    assert latency.observed_ms == pytest.approx(60.0)
