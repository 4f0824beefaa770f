from __future__ import annotations

import pytest

from payrouter.domain.lease import KeeperWatch, trusted_until

A_PAUSE_S = pytest.approx(6.05)
A, B = (7, "a"), (8, "b")


def test_trust_counts_from_when_the_attempt_was_sent_and_ends_before_the_lease() -> None:
    assert trusted_until(100.0, ttl_s=3.0, margin_s=0.25) == 102.75


@pytest.mark.parametrize("margin_s", [3.0, 4.0])
def test_a_margin_that_leaves_no_trust_is_an_error(margin_s: float) -> None:
    with pytest.raises(ValueError, match="leaves nothing to trust"):
        trusted_until(0.0, ttl_s=3.0, margin_s=margin_s)


def looked_at(*looks: tuple[float, float, tuple[int, str]], slow_s: float = 0.0) -> KeeperWatch:
    """A watch that looked at (our seconds, the keeper's seconds, its leader), each answered `slow_s` later."""
    watch = KeeperWatch()
    for ours_s, theirs_s, leader in looks:
        watch.looked(round(theirs_s * 1_000_000), leader, asked_s=ours_s, answered_s=ours_s + slow_s)
    return watch


def test_a_keeper_seen_for_the_first_time_is_believed() -> None:
    assert looked_at((10.0, 5000.0, A)).rest_s(10.0) == 0.0


def test_a_keeper_whose_clock_runs_as_ours_is_believed_whatever_it_shows() -> None:
    assert looked_at((10.0, 5000.0, A), (11.0, 5001.0, A), (14.0, 5004.04, B)).rest_s(14.0) == 0.0


def test_after_its_clock_jumped_ahead_a_whole_pause_is_waited() -> None:
    watch = looked_at((10.0, 5000.0, A), (11.0, 5001.2, A))
    assert watch.rest_s(11.0) == A_PAUSE_S
    assert watch.rest_s(16.05) == pytest.approx(1.0)
    assert watch.rest_s(17.05) == 0.0


def test_a_doubt_is_not_taken_back_by_the_next_look() -> None:
    assert looked_at((10.0, 5000.0, A), (11.0, 9000.0, A), (12.0, 9001.0, A)).rest_s(12.0) == pytest.approx(5.05)


def test_a_slow_answer_is_no_jump() -> None:
    assert looked_at((10.0, 5000.0, A), (11.0, 5002.5, A), slow_s=1.5).rest_s(12.5) == 0.0


def test_a_clock_set_back_gives_no_reason_to_wait_as_it_only_makes_the_last_call_look_younger() -> None:
    assert looked_at((10.0, 5000.0, A), (11.0, 1000.0, A)).rest_s(11.0) == 0.0


@pytest.mark.parametrize("after", [(1, "b"), (7, "b"), (6, "a")])
def test_a_keeper_whose_tokens_do_not_rise_has_lost_its_data_and_is_not_believed(after: tuple[int, str]) -> None:
    assert looked_at((10.0, 5000.0, A), (11.0, 5001.0, after)).rest_s(11.0) == A_PAUSE_S


def test_when_calls_were_made_is_believed_once_the_keeper_was_watched_for_a_whole_pause() -> None:
    watch = looked_at((10.0, 5000.0, A), (11.0, 5001.0, A))
    assert watch.doubt_s(11.0) == pytest.approx(5.05)
    assert watch.doubt_s(16.1) == 0.0


def test_who_never_looked_believes_nothing() -> None:
    assert KeeperWatch().doubt_s(1e9) == float("inf")
