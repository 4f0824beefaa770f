from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payrouter.domain.breaker import Breaker, BreakerState, Probes

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def opened(at_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(breaker.threshold):
        breaker.failed(at_s, probe=False)
    return breaker


def fail_probe(breaker: Breaker, at_s: float) -> None:
    breaker.probes.start(at_s)
    breaker.probes.end()
    breaker.failed(at_s, probe=True)


def hang_probes(breaker: Breaker, from_s: float, count: int) -> float:
    """Let probes go as soon as each may and never answer; return when the last went."""
    at_s = from_s
    for number in range(count):
        at_s = from_s + number * breaker.probes.patience_s
        assert breaker.state(at_s) is HALF_OPEN
        breaker.probes.start(at_s)
        assert breaker.state(at_s) is OPEN
    return at_s


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


def test_probes_go_one_at_a_time() -> None:
    probes = Probes()
    assert probes.may_start(5)
    probes.start(5)
    assert not probes.may_start(5)
    probes.end()
    assert probes.may_start(5)


def test_one_that_hangs_for_longer_than_patience_lets_the_next_go() -> None:
    probes = Probes(patience_s=0.5)
    probes.start(5)
    assert not probes.may_start(5.499)
    assert probes.may_start(5.5)
    probes.start(5.5)
    assert not probes.may_start(5.999), "patience counts from the last that went"
    assert probes.may_start(6)


def test_at_most_so_many_hang_and_a_place_given_back_is_free_at_once() -> None:
    probes = Probes(most=4)
    for number in range(4):
        probes.start(5 + number)
    assert not probes.may_start(1000)
    probes.end()
    assert probes.out == 3
    assert probes.may_start(1000)


def test_half_open_lets_one_probe_through_and_no_second_while_it_may_still_answer() -> None:
    breaker = opened()
    breaker.probes.start(1)
    assert breaker.state(1.499) is OPEN
    assert breaker.state(1.5) is HALF_OPEN


def test_half_open_lets_no_more_than_four_hang() -> None:
    breaker = opened()
    last_s = hang_probes(breaker, 1, 4)
    assert breaker.state(last_s + 1000) is OPEN
    breaker.probes.end()
    assert breaker.state(last_s + 1000) is HALF_OPEN


def test_a_recovery_is_noticed_by_a_later_probe_while_earlier_ones_still_hang() -> None:
    breaker = opened()
    at_s = hang_probes(breaker, 1, 3)
    breaker.probes.end()
    breaker.succeeded(at_s + 0.1)
    assert breaker.state(at_s + 0.1) is CLOSED


def test_a_hanging_probe_that_fails_after_the_recovery_was_noticed_counts_as_any_failure() -> None:
    breaker = opened()
    hang_probes(breaker, 1, 3)
    breaker.probes.end()
    breaker.succeeded(2.1)
    for number in range(1, breaker.threshold):
        breaker.probes.end()
        breaker.failed(7, probe=True)
        assert breaker.state(7) is CLOSED
        assert breaker.failures == number
    breaker.failed(7, probe=True)
    assert breaker.state(7) is OPEN
    assert breaker.retry_s == 7 + breaker.first_open_s


def test_a_probe_that_succeeds_closes() -> None:
    breaker = opened()
    breaker.probes.start(1)
    breaker.probes.end()
    breaker.succeeded(1)
    assert breaker.state(1) is CLOSED


def test_a_probe_that_never_left_gives_its_place_back() -> None:
    breaker = opened()
    breaker.probes.start(1)
    breaker.probes.end()
    assert breaker.state(1) is HALF_OPEN


def test_a_probe_that_was_turned_away_is_followed_by_a_pause_and_is_no_failure() -> None:
    breaker = opened()
    breaker.probes.start(1)
    breaker.probes.end()
    breaker.turned_away(1.1)
    assert breaker.failures == breaker.threshold
    assert breaker.state(1.349) is OPEN
    assert breaker.state(1.1 + breaker.first_open_s) is HALF_OPEN


def test_being_turned_away_does_not_shorten_the_pause_after_a_failed_probe() -> None:
    breaker = opened()
    fail_probe(breaker, 1)
    before_s = breaker.retry_s
    breaker.turned_away(1)
    assert breaker.retry_s == before_s


def test_being_turned_away_does_not_open_it() -> None:
    breaker = Breaker()
    breaker.turned_away(1)
    assert breaker.state(1) is CLOSED


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    breaker, at_s, pauses = opened(), 0.0, []
    for _ in range(6):
        at_s = breaker.retry_s
        fail_probe(breaker, at_s)
        pauses.append(breaker.retry_s - at_s)
    assert pauses == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]


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
    breaker.probes.start(1)
    breaker.reported(1, failing=False)
    assert breaker.state(1) is OPEN
    assert breaker.state(1.499) is OPEN


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


def test_a_better_report_from_before_it_opened_calls_for_nothing() -> None:
    breaker = opened(10)
    breaker.reported(9.9, failing=False)
    assert breaker.state(10.1) is OPEN
    breaker.reported(10.1, failing=False)
    assert breaker.state(10.1) is HALF_OPEN


def test_an_old_failing_report_opens_it_for_what_is_left_of_the_pause() -> None:
    breaker = Breaker()
    breaker.reported(5, failing=True)
    assert breaker.state(8) is HALF_OPEN


def test_a_success_since_an_old_failing_report_was_made_contradicts_it() -> None:
    breaker = Breaker()
    breaker.succeeded(6)
    breaker.reported(5, failing=True)
    assert breaker.state(6) is CLOSED


# -- what another dispatcher says


def test_a_rumour_that_it_is_down_opens_it_for_the_first_short_pause() -> None:
    breaker = Breaker()
    breaker.told(5, up=False)
    assert breaker.state(5) is OPEN
    assert breaker.state(5 + breaker.first_open_s) is HALF_OPEN


def test_a_rumour_that_it_is_down_means_nothing_where_a_payment_went_through_lately() -> None:
    breaker = Breaker(success_outvotes_report_s=1.0)
    breaker.succeeded(5)
    breaker.told(6, up=False)
    assert breaker.state(6) is CLOSED


def test_rumours_do_not_prolong_what_is_open_already() -> None:
    breaker = Breaker()
    breaker.told(5, up=False)
    before_s = breaker.retry_s
    breaker.told(5.1, up=False)
    breaker.told(5.2, up=False)
    assert breaker.retry_s == before_s


def test_a_rumour_that_it_is_back_calls_for_a_probe_at_once_and_does_not_close() -> None:
    breaker = Breaker()
    breaker.reported(5, failing=True)
    breaker.told(5.1, up=True)
    assert breaker.state(5.1) is HALF_OPEN


def test_rumours_that_it_is_back_send_probes_no_faster_than_a_breaker_just_opened_does() -> None:
    breaker = opened(5)
    probes, at_s = 0, 5.0
    while at_s < 15:
        breaker.told(at_s, up=True)
        if breaker.state(at_s) is HALF_OPEN:
            fail_probe(breaker, at_s)
            probes += 1
        at_s += 0.01
    assert 35 <= probes <= 40


def test_a_rumour_that_it_is_back_never_puts_a_probe_off() -> None:
    breaker = opened(5)
    fail_probe(breaker, 5.3)
    before_s = breaker.retry_s
    breaker.probes.start(5.7)
    breaker.probes.end()
    breaker.told(5.75, up=True)
    assert breaker.retry_s == before_s


def test_only_what_happened_to_our_own_attempts_is_first_hand() -> None:
    breaker = Breaker()
    breaker.told(5, up=False)
    assert not breaker.first_hand
    breaker.failed(5.1, probe=False)
    assert not breaker.first_hand, "it left before, and says less than the threshold asks for"
    fail_probe(breaker, 5.3)
    assert breaker.first_hand
    breaker.succeeded(6)
    assert not breaker.first_hand
    breaker.reported(8, failing=True)
    assert not breaker.first_hand
    assert opened().first_hand


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=60))
def test_rumours_alone_never_close_it(rumours: list[tuple[float, bool]]) -> None:
    breaker, now_s = opened(), 0.0
    for pause_s, up in rumours:
        now_s += pause_s
        breaker.told(now_s, up=up)
        assert breaker.state(now_s) is not CLOSED


class AnyLifeOfABreaker(RuleBasedStateMachine):
    """Attempts go out as the state allows; each probe holds its place until it has ended, however late."""

    @initialize()
    def start(self) -> None:
        self.breaker = Breaker()
        self.now_s = 100.0
        self.out = 0
        self.last_probe_s = float("-inf")

    @rule(pause_s=st.one_of(st.floats(0, 0.6), st.floats(0, 3)))
    def time_passes(self, pause_s: float) -> None:
        self.now_s += pause_s

    @precondition(lambda self: self.breaker.state(self.now_s) is HALF_OPEN)
    @rule()
    def send_a_probe(self) -> None:
        assert self.out < 4
        assert self.out == 0 or self.now_s >= self.last_probe_s + 0.5
        self.breaker.probes.start(self.now_s)
        self.out += 1
        self.last_probe_s = self.now_s
        assert self.breaker.state(self.now_s) is OPEN

    def end_a_probe(self) -> None:
        self.breaker.probes.end()
        self.out -= 1

    @precondition(lambda self: self.out)
    @rule()
    def a_probe_fails(self) -> None:
        before, in_a_row = self.breaker.state(self.now_s), self.breaker.failures + 1
        self.end_a_probe()
        self.breaker.failed(self.now_s, probe=True)
        if before is CLOSED and in_a_row < self.breaker.threshold:
            assert self.breaker.state(self.now_s) is CLOSED
        else:
            assert self.breaker.state(self.now_s) is OPEN
            assert self.breaker.retry_s >= self.now_s + self.breaker.first_open_s

    @precondition(lambda self: self.out)
    @rule()
    def a_probe_is_turned_away(self) -> None:
        was_closed = self.breaker.state(self.now_s) is CLOSED
        self.end_a_probe()
        self.breaker.turned_away(self.now_s)
        assert self.breaker.state(self.now_s) is (CLOSED if was_closed else OPEN)

    @precondition(lambda self: self.out)
    @rule()
    def a_probe_never_left(self) -> None:
        self.end_a_probe()

    @precondition(lambda self: self.out)
    @rule()
    def a_probe_succeeds(self) -> None:
        self.end_a_probe()
        self.breaker.succeeded(self.now_s)
        assert self.breaker.state(self.now_s) is CLOSED

    @rule()
    def an_ordinary_attempt_succeeds(self) -> None:
        self.breaker.succeeded(self.now_s)
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

    @rule(up=st.booleans())
    def a_rumour_comes(self, up: bool) -> None:
        before = self.breaker.state(self.now_s)
        self.breaker.told(self.now_s, up=up)
        assert (self.breaker.state(self.now_s) is CLOSED) <= (before is CLOSED)
        assert self.breaker.retry_s <= self.now_s + self.breaker.longest_open_s

    @invariant()
    def it_lets_a_probe_through_within_the_longest_pause_unless_four_hang(self) -> None:
        assert self.breaker.retry_s <= self.now_s + self.breaker.longest_open_s
        later = self.breaker.state(self.now_s + self.breaker.longest_open_s)
        assert (later is OPEN) <= (self.out == 4)

    @invariant()
    def nothing_else_goes_while_a_probe_may_still_answer(self) -> None:
        if self.out and self.now_s < self.last_probe_s + 0.5:
            assert self.breaker.state(self.now_s) is not HALF_OPEN

    @invariant()
    def every_probe_that_went_holds_one_place(self) -> None:
        assert self.breaker.probes.out == self.out <= self.breaker.probes.most


TestAnyLifeOfABreaker = AnyLifeOfABreaker.TestCase
