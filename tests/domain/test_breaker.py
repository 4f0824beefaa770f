from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payrouter.domain.breaker import Breaker, BreakerState

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def opened(at_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(breaker.threshold):
        breaker.failed(at_s, probe=False)
    return breaker


def fail_probe(breaker: Breaker, at_s: float) -> None:
    breaker.start_probe()
    breaker.failed(at_s, probe=True)


def test_it_is_closed_until_the_threshold_of_failures_in_a_row() -> None:
    breaker = Breaker(threshold=3)
    breaker.failed(1, probe=False)
    breaker.failed(1, probe=False)
    assert breaker.state(1) is CLOSED
    breaker.failed(1, probe=False)
    assert breaker.state(1) is OPEN


def test_a_success_between_failures_starts_the_count_again() -> None:
    breaker = Breaker(threshold=2)
    for at_s in range(10):
        breaker.failed(at_s, probe=False)
        breaker.succeeded(at_s)
    assert breaker.state(10) is CLOSED


def test_it_is_half_open_once_its_time_is_over() -> None:
    breaker = opened()
    assert breaker.state(breaker.first_open_s - 0.001) is OPEN
    assert breaker.state(breaker.first_open_s) is HALF_OPEN


def test_half_open_lets_one_probe_through_and_no_second() -> None:
    breaker = opened()
    breaker.start_probe()
    assert breaker.state(1000) is OPEN


def test_a_probe_that_succeeds_closes() -> None:
    breaker = opened()
    breaker.start_probe()
    breaker.succeeded(1)
    assert breaker.state(1) is CLOSED


def test_a_probe_that_never_left_gives_its_place_back() -> None:
    breaker = opened()
    breaker.start_probe()
    breaker.cancel_probe()
    assert breaker.state(1) is HALF_OPEN


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    breaker, at_s, pauses = opened(), 0.0, []
    for _ in range(6):
        at_s = breaker.retry_s
        fail_probe(breaker, at_s)
        pauses.append(breaker.retry_s - at_s)
    assert pauses == [0.5, 1.0, 2.0, 2.0, 2.0, 2.0]


def test_it_says_since_when_it_has_been_open_however_many_probes_failed() -> None:
    breaker = opened(at_s=10)
    fail_probe(breaker, 11)
    fail_probe(breaker, 12)
    assert breaker.opened_s == 10


def test_after_a_recovery_the_pause_is_the_first_again() -> None:
    breaker = opened()
    fail_probe(breaker, 1)
    breaker.succeeded(2)
    for _ in range(breaker.threshold):
        breaker.failed(3, probe=False)
    assert breaker.retry_s == 3 + breaker.first_open_s


def test_late_failures_of_attempts_sent_before_it_opened_do_not_prolong_it() -> None:
    breaker = opened()
    before_s = breaker.retry_s
    breaker.failed(0.2, probe=False)
    breaker.failed(0.24, probe=False)
    assert breaker.retry_s == before_s


def test_a_late_success_closes_it() -> None:
    breaker = opened()
    breaker.succeeded(0.1)
    assert breaker.state(0.1) is CLOSED


def test_a_failing_report_opens_it_for_the_longest_pause_when_nothing_succeeded_lately() -> None:
    breaker = Breaker()
    breaker.reported(5, failing=True)
    assert breaker.state(5) is OPEN
    assert breaker.retry_s == 5 + breaker.longest_open_s


def test_a_fresh_success_outvotes_a_failing_report() -> None:
    breaker = Breaker(success_outvotes_report_s=1.0)
    breaker.succeeded(5)
    breaker.reported(6, failing=True)
    assert breaker.state(6) is CLOSED
    breaker.reported(6.001, failing=True)
    assert breaker.state(6.001) is OPEN


def test_a_failing_report_does_not_prolong_what_is_open_already() -> None:
    breaker = opened()
    before_s = breaker.retry_s
    breaker.reported(0.2, failing=True)
    assert breaker.retry_s == before_s


def test_a_better_report_calls_for_a_probe_and_does_not_close() -> None:
    breaker = Breaker()
    breaker.reported(5, failing=True)
    breaker.reported(5.1, failing=False)
    assert breaker.state(5.1) is HALF_OPEN


def test_a_better_report_does_not_make_room_for_a_second_probe() -> None:
    breaker = opened()
    breaker.start_probe()
    breaker.reported(1, failing=False)
    assert breaker.state(1) is OPEN


def test_a_better_report_changes_nothing_while_it_is_closed() -> None:
    breaker = Breaker()
    breaker.reported(5, failing=False)
    assert breaker.state(5) is CLOSED
    assert breaker.failures == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_reports_alone_never_close_it(reports: list[tuple[float, bool]]) -> None:
    breaker, now_s = opened(), 0.0
    for pause_s, failing in reports:
        now_s += pause_s
        breaker.reported(now_s, failing=failing)
        assert breaker.state(now_s) is not CLOSED


class AnyLifeOfABreaker(RuleBasedStateMachine):
    """Attempts go out as the state allows; a probe holds its place until it has ended."""

    @initialize()
    def start(self) -> None:
        self.breaker = Breaker()
        self.now_s = 100.0
        self.probe_is_out = False

    @rule(pause_s=st.floats(0, 3))
    def time_passes(self, pause_s: float) -> None:
        self.now_s += pause_s

    @precondition(lambda self: self.breaker.state(self.now_s) is HALF_OPEN)
    @rule()
    def send_a_probe(self) -> None:
        assert not self.probe_is_out
        self.breaker.start_probe()
        self.probe_is_out = True

    @precondition(lambda self: self.probe_is_out)
    @rule()
    def the_probe_fails(self) -> None:
        self.breaker.failed(self.now_s, probe=True)
        self.probe_is_out = False
        assert self.breaker.state(self.now_s) is OPEN
        assert self.breaker.first_open_s <= self.breaker.retry_s - self.now_s <= self.breaker.longest_open_s

    @precondition(lambda self: self.probe_is_out)
    @rule()
    def the_probe_never_left(self) -> None:
        self.breaker.cancel_probe()
        self.probe_is_out = False

    @precondition(lambda self: self.probe_is_out or self.breaker.state(self.now_s) is CLOSED)
    @rule()
    def an_attempt_succeeds(self) -> None:
        self.breaker.succeeded(self.now_s)
        self.probe_is_out = False
        assert self.breaker.state(self.now_s) is CLOSED

    @rule()
    def an_ordinary_attempt_fails(self) -> None:
        before = self.breaker.state(self.now_s)
        in_a_row = self.breaker.failures + 1
        self.breaker.failed(self.now_s, probe=False)
        opens = before is CLOSED and in_a_row >= self.breaker.threshold
        assert self.breaker.state(self.now_s) is (OPEN if opens else before)

    @rule(failing=st.booleans())
    def a_report_comes(self, failing: bool) -> None:
        before = self.breaker.state(self.now_s)
        self.breaker.reported(self.now_s, failing=failing)
        assert (self.breaker.state(self.now_s) is CLOSED) <= (before is CLOSED)

    @invariant()
    def it_opens_again_within_the_longest_pause(self) -> None:
        assert self.breaker.retry_s <= self.now_s + self.breaker.longest_open_s
        later = self.breaker.state(self.now_s + self.breaker.longest_open_s)
        assert later is not OPEN or self.probe_is_out

    @invariant()
    def nothing_else_goes_while_a_probe_is_out(self) -> None:
        assert not self.probe_is_out or self.breaker.state(self.now_s) is OPEN


TestAnyLifeOfABreaker = AnyLifeOfABreaker.TestCase
