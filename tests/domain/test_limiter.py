from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.limiter import Limiter

ROUND_TRIP_S = 0.2
STEPS = st.lists(
    st.tuples(st.sampled_from(["acquire", "release", "succeeded", "overloaded"]), st.floats(0, 1), st.floats(0, 2)),
    max_size=200,
)


def busy(limiter: Limiter) -> Limiter:
    while limiter.free:
        limiter.acquire()
    return limiter


def test_a_permit_is_taken_and_given_back() -> None:
    limiter = Limiter(limit=2)
    limiter.acquire()
    assert limiter.free == 1
    limiter.acquire()
    assert limiter.free == 0
    limiter.release()
    assert limiter.free == 1


def test_a_repeat_may_exceed_the_limit_and_free_stays_at_none() -> None:
    limiter = busy(Limiter(limit=1))
    limiter.acquire()
    assert limiter.in_flight == 2
    assert limiter.free == 0


def test_the_limit_never_starts_above_the_most() -> None:
    assert Limiter(most=8, limit=32).limit == 8


def test_it_grows_by_one_per_success_until_the_first_overload() -> None:
    limiter = busy(Limiter(limit=4))
    limiter.succeeded()
    assert limiter.limit == 5


def test_after_an_overload_it_grows_by_one_per_round_of_successes() -> None:
    limiter = busy(Limiter(limit=30))
    limiter.overloaded(1, latency_s=ROUND_TRIP_S)
    assert limiter.limit == pytest.approx(20)
    for _ in range(20):
        limiter.succeeded()
    assert limiter.limit == pytest.approx(21, abs=0.05)


def test_it_does_not_grow_while_less_than_half_of_it_is_used() -> None:
    limiter = Limiter(limit=32)
    limiter.acquire()
    limiter.succeeded()
    assert limiter.limit == 32


def test_a_burst_of_refusals_within_one_round_trip_is_one_piece_of_news() -> None:
    limiter = Limiter(limit=90)
    for step in range(50):
        limiter.overloaded(1 + step * ROUND_TRIP_S / 51, latency_s=ROUND_TRIP_S)
    assert limiter.limit == pytest.approx(60)
    limiter.overloaded(1 + ROUND_TRIP_S, latency_s=ROUND_TRIP_S)
    assert limiter.limit == pytest.approx(40)


def test_refusals_for_ever_leave_one_permit() -> None:
    limiter = Limiter()
    for second in range(100):
        limiter.overloaded(second, latency_s=ROUND_TRIP_S)
    assert limiter.limit == 1
    assert limiter.free == 1


def test_successes_for_ever_end_at_the_most() -> None:
    limiter = busy(Limiter(most=64, limit=1))
    for _ in range(200):
        limiter.succeeded()
        busy(limiter)
    assert limiter.limit == 64


def test_it_recovers_from_a_single_permit() -> None:
    limiter = Limiter(most=16)
    for second in range(50):
        limiter.overloaded(second, latency_s=ROUND_TRIP_S)
    for _ in range(400):
        busy(limiter).succeeded()
    assert limiter.limit == 16


@given(st.integers(1, 300), st.floats(1, 300), STEPS)
def test_the_limit_stays_between_one_and_the_most_whatever_happens(
    most: int, limit: float, steps: list[tuple[str, float, float]]
) -> None:
    limiter, now_s = Limiter(most=most, limit=limit), 0.0
    for what, pause_s, latency_s in steps:
        now_s += pause_s
        match what:
            case "acquire" if limiter.free:
                limiter.acquire()
            case "release" if limiter.in_flight:
                limiter.release()
            case "succeeded":
                limiter.succeeded()
            case "overloaded":
                limiter.overloaded(now_s, latency_s=latency_s)
            case _:
                continue
        assert 1 <= limiter.limit <= most
        assert 0 <= limiter.free <= most
        assert 0 <= limiter.in_flight <= most


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=50), st.floats(0, 1))
def test_it_shrinks_at_most_once_per_round_trip(pauses_s: list[float], latency_s: float) -> None:
    limiter, now_s, last_shrunk_s = Limiter(most=10_000, limit=10_000), 0.0, float("-inf")
    for pause_s in pauses_s:
        now_s += pause_s
        before = limiter.limit
        limiter.overloaded(now_s, latency_s=latency_s)
        if limiter.limit < before:
            assert now_s >= last_shrunk_s + latency_s
            last_shrunk_s = now_s
