from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.attempt import Charged, Invalid, Outcome, Refusal, Refused, Unknown
from payrouter.domain.board import ProcessorBoard, Standing
from payrouter.domain.breaker import BreakerState
from payrouter.domain.health import HealthReport
from payrouter.domain.limiter import Limiter
from payrouter.domain.processor import Processor

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.breaker import Probes

DEFAULT = Processor("default", "http://default", Decimal("0.05"))
FAILING = Refused(Refusal.FAILING, "answered 500")
BUSY = Refused(Refusal.BUSY, "answered 429")
UNREACHABLE = Refused(Refusal.UNREACHABLE, "connection refused")
MISCONFIGURED = Refused(Refusal.MISCONFIGURED, "answered 404")
LOST = Unknown("no answer within 6 s")
OUTCOMES: list[Outcome] = [
    Charged(),
    Charged(already=True),
    FAILING,
    BUSY,
    UNREACHABLE,
    MISCONFIGURED,
    LOST,
    Invalid("answered 400"),
]


def board(*, most: int = 256, ceiling_ms: float = 1000) -> ProcessorBoard:
    return ProcessorBoard(DEFAULT, latency_ceiling_ms=ceiling_ms, limiter=Limiter(most=most))


def standing(one: ProcessorBoard, now_s: float) -> Standing:
    return one.view(now_s).standing


def attempt(one: ProcessorBoard, outcome: Outcome, now_s: float, latency_ms: float = 10) -> None:
    """One attempt, sent as the standing allows and answered at `now_s`."""
    sent_s = now_s - latency_ms / 1000
    probe = one.started(sent_s, counts_as_probe=standing(one, sent_s) is Standing.PROBE)
    one.ended(outcome, now_s, latency_ms, probe=probe)


def downed(now_s: float, outcome: Outcome = FAILING) -> ProcessorBoard:
    one = board()
    for _ in range(3):
        attempt(one, outcome, now_s)
    return one


def test_an_unknown_processor_is_usable() -> None:
    assert standing(board(), 0) is Standing.USABLE


@pytest.mark.parametrize("outcome", [FAILING, UNREACHABLE, MISCONFIGURED, LOST], ids=str)
def test_failures_in_a_row_bring_it_down_until_a_probe_succeeds(outcome: Outcome) -> None:
    one = downed(10, outcome)
    assert standing(one, 10) is Standing.DOWN
    assert standing(one, 10.25) is Standing.PROBE
    probe = one.started(10.25, counts_as_probe=True)
    assert probe is one.breaker.probes
    assert standing(one, 10.3) is Standing.DOWN
    one.ended(Charged(), 10.35, 100, probe=probe)
    assert standing(one, 10.35) is Standing.USABLE
    assert probe.out == 0


def test_an_ordinary_attempt_counts_among_no_probes() -> None:
    assert board().started(10) is None
    assert board().started(10, counts_as_probe=False) is None


def test_a_failed_probe_keeps_it_down_for_longer() -> None:
    one = downed(10)
    attempt(one, FAILING, 10.3)
    assert standing(one, 10.55) is Standing.DOWN
    assert standing(one, 10.8) is Standing.PROBE


@pytest.mark.parametrize("outcome", [Charged(), Invalid("answered 400")], ids=str)
def test_answers_that_are_no_failure_keep_it_usable(outcome: Outcome) -> None:
    one = board()
    for step in range(50):
        attempt(one, outcome, 10 + step)
    assert standing(one, 60) is Standing.USABLE


def test_422_is_no_failure_however_often_it_comes() -> None:
    one = board()
    for step in range(50):
        attempt(one, Charged(already=True), 10 + step)
    assert one.breaker.failures == 0
    assert standing(one, 60) is Standing.USABLE


def test_a_probe_answered_422_shows_that_it_works() -> None:
    one = downed(10)
    attempt(one, Charged(already=True), 10.5)
    assert one.breaker.probes.out == 0
    assert one.breaker.state(10.5) is BreakerState.CLOSED
    assert one.breaker.failures == 0
    assert standing(one, 10.5) is Standing.USABLE


def test_busy_shrinks_the_limit_and_does_not_bring_it_down() -> None:
    one = board()
    step = 0
    while one.limiter.limit > 1:
        attempt(one, BUSY, 10 + step)
        assert standing(one, 10.5 + step) is Standing.USABLE
        step += 1
    assert one.breaker.failures == 0


def test_one_that_is_busy_even_with_one_at_a_time_is_as_good_as_down() -> None:
    one = board()
    one.limiter.limit = 1.0
    for step in range(3):
        attempt(one, BUSY, 10 + step)
    assert standing(one, 12) is Standing.DOWN
    assert standing(one, 13) is Standing.PROBE


def test_a_busy_probe_gives_its_place_back_and_leaves_it_in_peace_for_a_moment() -> None:
    one = downed(10)
    failures = one.breaker.failures
    attempt(one, BUSY, 10.5)
    assert one.breaker.probes.out == 0
    assert one.breaker.failures == failures
    assert standing(one, 10.5) is Standing.DOWN
    assert one.view(10.5).retry_s == 10.5 + one.breaker.first_open_s
    assert standing(one, 10.5 + one.breaker.first_open_s) is Standing.PROBE


def test_a_busy_slow_probe_is_followed_by_another_after_a_second() -> None:
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=2000), 10)
    attempt(one, BUSY, 10.1)
    assert standing(one, 11) is Standing.SLOW
    assert standing(one, 11.1) is Standing.PROBE


def test_a_busy_answer_to_an_ordinary_attempt_does_not_put_off_the_probe() -> None:
    one = board()
    late = one.started(9.9)
    for _ in range(3):
        attempt(one, FAILING, 10)
    one.ended(BUSY, 10.2, 300, probe=late)
    assert standing(one, 10.25) is Standing.PROBE


def test_a_timeout_shrinks_the_limit_and_is_no_latency_sample() -> None:
    one = board()
    attempt(one, Charged(), 10, latency_ms=20)
    attempt(one, LOST, 16, latency_ms=6000)
    assert one.limiter.limit < 32
    assert one.view(16).expected_ms == 20


def test_an_unreachable_processor_gives_no_latency_sample() -> None:
    one = board()
    attempt(one, Charged(), 10, latency_ms=200)
    attempt(one, UNREACHABLE, 10.1, latency_ms=0.1)
    assert one.view(10.1).expected_ms == 200


def test_it_is_full_without_permits_and_usable_again_with_one() -> None:
    one = board(most=2)
    one.started(10)
    probe = one.started(10)
    assert standing(one, 10) is Standing.FULL
    one.ended(Charged(), 10.1, 100, probe=probe)
    assert standing(one, 10.1) is Standing.USABLE


def test_a_slow_report_calls_for_one_probe_and_then_it_is_slow() -> None:
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=5000), 10)
    assert standing(one, 10) is Standing.PROBE
    assert one.started(10, counts_as_probe=True) is one.slow_probes
    assert standing(one, 10.1) is Standing.SLOW


def test_a_slow_probe_that_was_quick_makes_it_usable() -> None:
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=5000), 10)
    attempt(one, Charged(), 10.1, latency_ms=20)
    assert standing(one, 10.1) is Standing.USABLE


def test_a_slow_probe_that_was_slow_is_followed_by_another_after_a_second() -> None:
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=2000), 10)
    attempt(one, Charged(), 12.1, latency_ms=2000)
    assert standing(one, 12.2) is Standing.SLOW
    assert one.view(12.2).retry_s == pytest.approx(13.1)
    assert standing(one, 13.1) is Standing.PROBE


def hang_probes(one: ProcessorBoard, from_s: float, count: int) -> list[Probes]:
    """Send probes as soon as each may go, none of which is answered."""
    out: list[Probes] = []
    for number in range(count):
        at_s = from_s + number * 0.5
        assert standing(one, at_s) is Standing.PROBE
        probe = one.started(at_s, counts_as_probe=True)
        assert probe is not None
        assert standing(one, at_s + 0.49) in (Standing.DOWN, Standing.SLOW)
        out.append(probe)
    return out


def slowed(now_s: float) -> ProcessorBoard:
    """Known to be slow from its report, and due for a probe."""
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=5000), now_s)
    return one


@pytest.mark.parametrize("brought_to_probe", [downed, slowed])
def test_probes_that_hang_do_not_keep_a_recovery_from_being_noticed(
    brought_to_probe: Callable[[float], ProcessorBoard],
) -> None:
    one = brought_to_probe(10)
    hanging = hang_probes(one, 10.25, 2)
    assert standing(one, 11.25) is Standing.PROBE
    probe = one.started(11.25, counts_as_probe=True)
    one.ended(Charged(), 11.26, 10, probe=probe)
    assert standing(one, 11.26) is Standing.USABLE
    for late in hanging:
        one.ended(LOST, 16.3, 6000, probe=late)
    assert standing(one, 16.3) is Standing.USABLE, "they tell how it was, not how it is"
    assert hanging[0].out == 0


@pytest.mark.parametrize("brought_to_probe", [downed, slowed])
def test_at_most_four_probes_hang_and_the_first_late_answer_lets_another_go(
    brought_to_probe: Callable[[float], ProcessorBoard],
) -> None:
    one = brought_to_probe(10)
    hanging = hang_probes(one, 10.25, 4)
    assert standing(one, 15) in (Standing.DOWN, Standing.SLOW)
    assert 15 < one.view(15).retry_s <= 15.05
    one.ended(LOST, 16.25, 6000, probe=hanging.pop())
    assert one.view(16.25).retry_s <= 17.25
    assert standing(one, 17.25) is Standing.PROBE


@pytest.mark.parametrize("brought_to_probe", [downed, slowed])
@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_a_probe_gives_its_place_back_however_late_its_answer_comes(
    brought_to_probe: Callable[[float], ProcessorBoard], outcome: Outcome
) -> None:
    one = brought_to_probe(10)
    hanging = hang_probes(one, 10.25, 4)
    for probe in hanging:
        attempt(one, Charged(), 12)
        one.ended(outcome, 16.25, 6000, probe=probe)
    assert (one.breaker.probes.out, one.slow_probes.out) == (0, 0)
    assert one.limiter.in_flight == 0


def test_a_probe_keeps_its_place_among_the_probes_it_was_sent_as_when_it_is_slow_and_then_goes_down() -> None:
    one = slowed(10)
    [slow] = hang_probes(one, 10, 1)
    for _ in range(3):
        attempt(one, UNREACHABLE, 10.1)
    [probe] = hang_probes(one, 10.35, 1)
    assert (one.slow_probes.out, one.breaker.probes.out) == (1, 1)
    pause_s = one.breaker.retry_s
    one.ended(FAILING, 10.4, 400, probe=slow)
    assert (one.slow_probes.out, one.breaker.probes.out) == (0, 1)
    assert one.breaker.retry_s == pause_s, "it was not the breaker's probe"
    one.ended(Charged(), 10.5, 150, probe=probe)
    assert (one.slow_probes.out, one.breaker.probes.out) == (0, 0)


def test_a_slow_answer_that_closes_the_breaker_is_followed_by_a_slow_probe_at_once() -> None:
    one = slowed(9)
    [slow] = hang_probes(one, 9, 1)
    for _ in range(3):
        attempt(one, UNREACHABLE, 9.9)
    [probe] = hang_probes(one, 10.2, 1)
    one.ended(UNREACHABLE, 12, 3000, probe=slow)  # by itself it would put off the next slow probe until 13
    one.ended(Charged(), 12.2, 2000, probe=probe)
    assert one.view(12.2).expected_ms == 2000
    assert standing(one, 12.2) is Standing.PROBE
    [slow] = hang_probes(one, 12.2, 1)
    assert slow is one.slow_probes
    one.ended(Charged(), 12.21, 10, probe=slow)
    assert standing(one, 12.21) is Standing.USABLE


def test_a_slow_probe_that_was_quick_makes_it_usable_however_slow_the_answers_just_before_it_were() -> None:
    one = slowed(10)
    hanging = hang_probes(one, 10, 2)
    one.ended(Charged(), 10.99, 5000, probe=hanging.pop())
    one.ended(Charged(), 11, 10, probe=hanging.pop())
    assert standing(one, 11) is Standing.USABLE
    assert one.view(11).expected_ms == 10


def test_a_slow_probe_that_was_slow_is_one_sample_among_others() -> None:
    one = board()
    attempt(one, Charged(), 10, latency_ms=6000)
    [probe] = hang_probes(one, 10, 1)
    one.ended(Charged(), 10.9, 2000, probe=probe)
    assert one.view(10.9).expected_ms == pytest.approx(6000 - 4000 * 0.2)


def test_silence_makes_it_slow_before_any_answer_says_so() -> None:
    one = board(ceiling_ms=1000)
    one.started(10)
    one.started(11, counts_as_probe=True)
    assert standing(one, 11) is Standing.FULL
    assert standing(one, 11.01) is Standing.SLOW


def known_for(latency_ms: float) -> ProcessorBoard:
    """One that has answered after so long, the last time at 10 s."""
    one = board()
    attempt(one, Charged(), 10, latency_ms=latency_ms)
    return one


@pytest.mark.parametrize("usual_ms", [0, 5, 100, 400])
def test_one_that_takes_far_longer_than_usual_gets_one_at_a_time_until_it_answers(usual_ms: float) -> None:
    one = known_for(usual_ms)
    first = one.started(20)
    quiet_s = 20 + (100 + 2 * usual_ms) / 1000
    assert standing(one, quiet_s - 0.001) is Standing.USABLE
    assert standing(one, quiet_s + 0.001) is Standing.PROBE
    probe = one.started(quiet_s + 0.001, counts_as_probe=True)
    assert probe is one.slow_probes
    assert standing(one, quiet_s + 0.002) is Standing.FULL
    one.ended(Charged(), quiet_s + 0.01, (quiet_s + 0.01 - 20) * 1000, probe=first)
    assert standing(one, quiet_s + 0.01) is Standing.USABLE


def test_a_report_tells_how_long_an_answer_may_take_before_it_is_missed() -> None:
    one = known_for(5)
    one.reported(HealthReport(failing=False, min_response_ms=300), 19)
    one.started(20)
    assert standing(one, 20.69) is Standing.USABLE
    assert standing(one, 20.71) is Standing.PROBE


def test_an_attempt_that_a_later_one_has_overtaken_is_missed_no_more() -> None:
    one = known_for(5)
    one.started(20)
    probe = one.started(20.2, counts_as_probe=True)
    one.ended(Charged(), 20.21, 10, probe=probe)
    assert one.limiter.in_flight == 1
    assert standing(one, 60) is Standing.USABLE
    assert one.view(60).expected_ms == 10


def test_an_attempt_that_never_left_is_not_missed() -> None:
    one = known_for(5)
    one.cancelled(probe=one.started(20))
    assert one.view(60).expected_ms == 5


def test_a_hiccup_is_no_outage() -> None:
    one = known_for(5)
    one.started(20)
    assert standing(one, 20.3) is Standing.PROBE
    one.ended(Charged(), 20.4, 400, probe=None)
    assert standing(one, 20.4) is Standing.USABLE
    assert one.view(20.4).since_s == float("-inf")


def test_an_answer_ends_the_silence() -> None:
    one = board()
    one.started(10)
    one.started(10)
    one.ended(Charged(), 11.5, 900, probe=None)
    assert one.view(11.6).expected_ms == 900


def test_with_nothing_in_flight_there_is_no_silence() -> None:
    one = board()
    attempt(one, Charged(), 10, latency_ms=5)
    assert one.view(1000).expected_ms == 5


def test_a_quick_report_calls_a_slow_one_to_be_probed_at_once() -> None:
    one = board()
    attempt(one, Charged(), 12, latency_ms=2000)
    attempt(one, Charged(), 14, latency_ms=2000)
    assert standing(one, 14.1) is Standing.SLOW
    one.reported(HealthReport(failing=False, min_response_ms=5), 14.1)
    assert standing(one, 14.1) is Standing.PROBE


def test_a_failing_report_brings_it_down_and_a_better_one_calls_for_a_probe() -> None:
    one = board()
    one.reported(HealthReport(failing=True, min_response_ms=0), 10)
    assert standing(one, 10) is Standing.DOWN
    one.reported(HealthReport(failing=False, min_response_ms=0), 10.5)
    assert standing(one, 10.5) is Standing.PROBE


def test_pinned_payments_take_the_probe() -> None:
    one = downed(10)
    one.pinned = 1
    assert standing(one, 11) is Standing.DOWN
    assert one.may_repeat(11)
    probe = one.started(11)
    assert probe is one.breaker.probes, "a repeat at a half-open breaker is the probe"
    assert not one.may_repeat(11)
    one.ended(Charged(), 11.1, 100, probe=probe)
    assert standing(one, 11.1) is Standing.USABLE


def test_a_pinned_payment_may_not_be_repeated_while_the_breaker_is_open() -> None:
    one = downed(10)
    assert not one.may_repeat(10.1)
    assert one.may_repeat(10.25)


def test_one_with_as_many_pinned_as_it_may_have_in_flight_gets_no_more_until_it_has_resolved_some() -> None:
    one = board(most=3)
    one.pinned = 3
    assert standing(one, 10) is Standing.DOWN
    assert one.may_repeat(10)
    one.pinned = 2
    assert standing(one, 10) is Standing.USABLE


@pytest.mark.parametrize("slow", [False, True])
def test_a_probe_whose_intent_could_not_be_written_gives_everything_back(slow: bool) -> None:
    one = board() if slow else downed(10)
    if slow:
        one.reported(HealthReport(failing=False, min_response_ms=5000), 10)
    probe = one.started(10.5, counts_as_probe=True)
    assert probe is (one.slow_probes if slow else one.breaker.probes)
    one.cancelled(probe=probe)
    assert probe.out == 0
    assert standing(one, 10.5) is Standing.PROBE
    assert one.limiter.in_flight == 0


def test_one_that_never_failed_has_always_been_usable() -> None:
    one = board(most=1)
    assert one.view(10).since_s == float("-inf")
    one.started(10)
    assert standing(one, 10.1) is Standing.FULL
    one.ended(Charged(), 10.2, 200, probe=None)
    assert one.view(10.2).since_s == float("-inf"), "full is no outage"


@pytest.mark.parametrize("brought_to_probe", [downed, slowed])
def test_one_that_came_back_says_since_when_and_keeps_saying_it(
    brought_to_probe: Callable[[float], ProcessorBoard],
) -> None:
    one = brought_to_probe(10)
    assert standing(one, 10.3) is Standing.PROBE
    attempt(one, Charged(), 10.4)
    assert one.view(10.5).since_s == 10.5
    assert one.view(11).since_s == 10.5
    for _ in range(int(one.limiter.limit)):
        one.started(12)
    assert standing(one, 12) is Standing.FULL
    assert one.view(12.1).since_s == 10.5


def test_each_comeback_counts_anew() -> None:
    one = downed(10)
    attempt(one, Charged(), 10.4)
    assert one.view(10.5).since_s == 10.5
    for _ in range(3):
        attempt(one, FAILING, 20)
    assert standing(one, 20) is Standing.DOWN
    attempt(one, Charged(), 20.5)
    assert one.view(20.6).since_s == 20.6


def test_an_outage_is_as_old_as_we_have_known_of_it_whatever_it_turns_into() -> None:
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=3000), 10)
    assert one.view(10).since_s == 10
    attempt(one, Charged(), 13, latency_ms=3000)
    for _ in range(3):
        attempt(one, FAILING, 14)
    assert standing(one, 14) is Standing.DOWN
    assert one.view(14).since_s == 10


def test_while_probes_fail_or_hang_the_outage_grows_older() -> None:
    one = downed(10)
    assert one.view(10).since_s == 10
    for at_s in (11.5, 13, 14.5):
        attempt(one, FAILING, at_s)
        assert one.view(at_s + 1.4).since_s == 10
    one.started(16, counts_as_probe=True)
    assert one.view(30).since_s == 10


def test_an_outage_nobody_has_looked_into_for_a_while_counts_anew() -> None:
    one = downed(10)
    assert one.view(10).since_s == 10
    assert one.view(12).since_s == 10
    assert one.view(12.1).since_s == 12.1
    attempt(one, FAILING, 13)
    assert one.view(14).since_s == pytest.approx(12.99), "when the probe left"


def test_capacity_is_the_limit_over_the_latency() -> None:
    one = board()
    attempt(one, Charged(), 10, latency_ms=100)
    view = one.view(10)
    assert view.capacity_per_s == pytest.approx(view.limit / 0.1)
    assert view.free == view.limit


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.floats(0, 1), st.none()),
        st.tuples(st.just("repeat"), st.floats(0, 1), st.none()),
        st.tuples(st.just("cancel"), st.floats(0, 1), st.integers(0, 50)),
        st.tuples(st.just("end"), st.floats(0, 2), st.tuples(st.integers(0, 50), st.sampled_from(OUTCOMES))),
        st.tuples(st.just("report"), st.floats(0, 6), st.tuples(st.booleans(), st.integers(0, 6000))),
        st.tuples(st.just("pin"), st.just(0.0), st.integers(0, 2)),
    ),
    max_size=80,
)


@given(st.integers(1, 12), STEPS)
def test_permits_and_probes_add_up_and_the_standing_makes_sense_after_any_history(most: int, steps: list) -> None:
    one, now_s = board(most=most), 100.0
    out: list[tuple[float, Probes | None]] = []
    for what, pause_s, detail in steps:
        now_s += pause_s
        view = one.view(now_s)
        match what:
            case "send" if view.standing in (Standing.USABLE, Standing.PROBE):
                probe = one.started(now_s, counts_as_probe=view.standing is Standing.PROBE)
                assert (probe is not None) == (view.standing is Standing.PROBE)
                out.append((now_s, probe))
            case "repeat" if one.may_repeat(now_s):
                out.append((now_s, one.started(now_s)))
            case "cancel" if out:
                one.cancelled(probe=out.pop(detail % len(out))[1])
            case "end" if out:
                sent_s, probe = out.pop(detail[0] % len(out))
                one.ended(detail[1], now_s, (now_s - sent_s) * 1000, probe=probe)
            case "report":
                one.reported(HealthReport(failing=detail[0], min_response_ms=detail[1]), now_s)
            case "pin":
                one.pinned = detail
        assert_it_makes_sense(one, now_s, [probe for _, probe in out])
    for sent_s, probe in out:
        one.ended(LOST, now_s + 6, (now_s + 6 - sent_s) * 1000, probe=probe)
    assert (one.limiter.in_flight, one.breaker.probes.out, one.slow_probes.out) == (0, 0, 0)


def assert_it_makes_sense(one: ProcessorBoard, now_s: float, out: list[Probes | None]) -> None:
    view = one.view(now_s)
    assert view.in_flight == len(out)
    for probes in (one.breaker.probes, one.slow_probes):
        assert probes.out == sum(probe is probes for probe in out) <= 4
    assert 1 <= view.limit <= one.limiter.most
    assert (view.standing is Standing.DOWN) >= (one.breaker.state(now_s) is BreakerState.OPEN)
    assert view.since_s <= now_s
    if view.standing in (Standing.DOWN, Standing.SLOW):
        assert now_s < view.retry_s <= now_s + 1.0
    if view.standing is Standing.FULL:
        assert view.free <= 0 or view.expected_ms > 100
    assert len(one._unanswered_s) <= view.in_flight
    assert list(one._unanswered_s) == sorted(one._unanswered_s)
    if view.standing is Standing.USABLE:
        assert view.free > 0
        assert view.expected_ms <= one.latency_ceiling_ms


# -- health reports of the leader, and what other dispatchers say


def test_a_report_older_than_the_newest_known_is_ignored() -> None:
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=20), 10)
    one.reported(HealthReport(failing=True, min_response_ms=900), 9)
    assert one.latency.reported_ms == 20
    assert standing(one, 10) is Standing.USABLE


def test_a_report_is_fresh_from_when_it_was_made_not_from_when_it_was_read() -> None:
    one = board()
    one.reported(HealthReport(failing=False, min_response_ms=5000), 10)
    assert standing(one, 20.9) in (Standing.SLOW, Standing.PROBE)
    assert one.expected_ms(21.1) == 0.0


def test_one_told_to_be_down_is_probed_after_a_moment_and_one_success_settles_it() -> None:
    one = board()
    one.told(10, up=False)
    assert standing(one, 10) is Standing.DOWN
    assert standing(one, 10.25) is Standing.PROBE
    attempt(one, Charged(), 10.3)
    assert standing(one, 10.3) is Standing.USABLE
    one.told(10.4, up=False)
    assert standing(one, 10.4) is Standing.USABLE


def test_one_told_to_be_back_gets_one_probe_and_no_more() -> None:
    one = downed(10)
    one.told(10.01, up=True)
    assert standing(one, 10.01) is Standing.PROBE
    one.started(10.01, counts_as_probe=True)
    assert standing(one, 10.02) is Standing.DOWN
