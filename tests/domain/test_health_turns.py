from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.health import call_turn

SECOND_US = 1_000_000
NOW_US = 1_752_582_896_000_000


def test_the_first_call_may_be_made_at_once_and_counts_as_leaving_within_a_second() -> None:
    turn = call_turn(None, NOW_US)
    assert (turn.wait_s, turn.newest_us) == (0.0, NOW_US + SECOND_US)


def test_a_call_that_may_have_left_late_is_followed_by_a_whole_pause() -> None:
    newest_us = call_turn(None, NOW_US).newest_us
    assert call_turn(newest_us, NOW_US).wait_s == 6.05
    assert call_turn(newest_us, NOW_US + 6_049_999).wait_s > 0
    assert call_turn(newest_us, NOW_US + 6_050_000).wait_s == 0


def test_a_call_that_ended_is_followed_by_a_whole_pause() -> None:
    assert call_turn(NOW_US, NOW_US).wait_s == 5.05
    assert call_turn(NOW_US, NOW_US + 5_049_999).wait_s > 0
    assert call_turn(NOW_US, NOW_US + 5_050_000).wait_s == 0


def test_asking_does_not_prolong_the_wait() -> None:
    newest_us = NOW_US
    for asked_us in range(NOW_US, NOW_US + 5 * SECOND_US, SECOND_US // 2):
        turn = call_turn(newest_us, asked_us)
        assert turn.wait_s > 0
        assert turn.newest_us == newest_us
        newest_us = turn.newest_us


def test_after_a_clock_was_set_back_one_pause_is_enough_however_often_somebody_asks() -> None:
    newest_us, now_us, asked = NOW_US + 3600 * SECOND_US, NOW_US, 0
    while (turn := call_turn(newest_us, now_us)).wait_s > 0:
        newest_us = turn.newest_us
        now_us += SECOND_US
        asked += 1
    assert asked == 6


@given(
    newest_us=st.one_of(st.none(), st.integers(0, 2 * NOW_US)),
    steps_us=st.lists(st.integers(1, 8 * SECOND_US), min_size=5, max_size=50),
)
def test_however_it_is_asked_turns_are_a_pause_apart_and_nobody_waits_longer(
    newest_us: int | None, steps_us: list[int]
) -> None:
    now_us, waiting_from_us, given_us = NOW_US, NOW_US, None
    for step_us in steps_us:
        turn = call_turn(newest_us, now_us)
        newest_us = turn.newest_us
        assert turn.wait_s <= 6.05
        if turn.wait_s == 0:
            assert given_us is None or now_us - given_us >= 6_050_000
            given_us = waiting_from_us = now_us
        else:
            assert now_us - waiting_from_us < 6_050_000 + 6_050_000 * (given_us is None)
        now_us += step_us
