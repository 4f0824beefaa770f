from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from domain.views import NOW_S, row, view, views
from payrouter.domain.board import ProcessorView, Standing
from payrouter.domain.routing import Decision, LeastCost, ReasonCode, Send, Wait

USABLE, PROBE, FULL, SLOW, DOWN = Standing.USABLE, Standing.PROBE, Standing.FULL, Standing.SLOW, Standing.DOWN
PAUSED = Standing.PAUSED
PATIENCE_S = 10.0
YOUNG_S, OLD_S = 0.5, 10.0
POLICY = LeastCost(PATIENCE_S)
ENDLESS = 10**12

AGES = st.floats(0, 30)
BACKLOGS = st.integers(0, 1_000_000)


def route(seen: list[ProcessorView], *, age_s: float = YOUNG_S, backlog: int = 0) -> Decision:
    return POLICY.route(age_s, backlog, seen, NOW_S)


def just_back(one: ProcessorView) -> bool:
    return one.standing is USABLE and one.since_s + POLICY.notice_s > NOW_S


def short(decision: Decision) -> str:
    """`second cheaper-down`, `first probe *` for a probe, `wait wait-all`."""
    if isinstance(decision, Wait):
        return f"wait {decision.reason.code}"
    return f"{decision.processor} {decision.reason.code}" + (" *" if decision.probe else "")


@pytest.mark.parametrize(
    ("standings", "young", "old"),
    [
        ((USABLE,), "first cheapest", "first cheapest"),
        ((USABLE, USABLE), "first cheapest", "first cheapest"),
        ((USABLE, DOWN), "first cheapest", "first cheapest"),
        ((USABLE, PROBE), "first cheapest", "first cheapest"),
        ((PROBE, USABLE), "first probe *", "first probe *"),
        ((DOWN, USABLE), "wait wait-cheapest", "second cheaper-down"),
        ((DOWN, PROBE), "wait wait-cheapest", "second probe *"),
        ((SLOW, USABLE), "second cheaper-slow", "second cheaper-slow"),
        ((SLOW, PROBE), "second probe *", "second probe *"),
        ((FULL, USABLE), "wait wait-cheapest", "wait wait-cheapest"),
        ((SLOW, DOWN, USABLE), "wait wait-cheapest", "third cheaper-down"),
        ((DOWN, SLOW, USABLE), "wait wait-cheapest", "third cheaper-slow"),
        ((DOWN, DOWN, USABLE), "wait wait-cheapest", "third cheaper-down"),
        ((SLOW, FULL, USABLE), "wait wait-cheapest", "wait wait-cheapest"),
        ((SLOW, SLOW, SLOW, USABLE), "fourth cheaper-slow", "fourth cheaper-slow"),
        ((DOWN,), "wait wait-cheapest", "wait wait-all"),
        ((DOWN, DOWN), "wait wait-cheapest", "wait wait-all"),
        ((SLOW,), "wait wait-all", "first least-bad"),
        ((SLOW, SLOW), "wait wait-all", "first least-bad"),
        ((SLOW, DOWN), "wait wait-cheapest", "first least-bad"),
        ((DOWN, SLOW), "wait wait-cheapest", "second least-bad"),
        ((FULL,), "wait wait-cheapest", "wait wait-cheapest"),
        ((FULL, FULL), "wait wait-cheapest", "wait wait-cheapest"),
        ((DOWN, FULL), "wait wait-cheapest", "wait wait-cheapest"),
        ((FULL, SLOW), "wait wait-cheapest", "wait wait-cheapest"),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, tuple) else None,
)
def test_where_a_payment_goes(standings: tuple[Standing, ...], young: str, old: str) -> None:
    assert short(route(row(*standings), age_s=YOUNG_S)) == young
    assert short(route(row(*standings), age_s=OLD_S)) == old


def test_patience_ends_exactly_at_its_limit() -> None:
    seen = row(DOWN, USABLE)
    assert isinstance(route(seen, age_s=PATIENCE_S - 0.001), Wait)
    assert isinstance(route(seen, age_s=PATIENCE_S), Send)


def test_without_patience_a_dearer_one_is_paid_at_once() -> None:
    assert short(LeastCost(0).route(0, 0, row(DOWN, USABLE), NOW_S)) == "second cheaper-down"


@pytest.mark.parametrize("age_s", [0.0, YOUNG_S, 9.999])
def test_nobody_waits_for_the_end_of_an_outage_that_has_lasted_longer_than_patience(age_s: float) -> None:
    def after(outage_s: float) -> Decision:
        return route([view(DOWN, since_s=NOW_S - outage_s), view(USABLE, name="second")], age_s=age_s)

    assert short(after(PATIENCE_S - 0.001)) == "wait wait-cheapest"
    assert short(after(PATIENCE_S)) == "second cheaper-down"
    assert short(after(1000)) == "second cheaper-down"


def test_a_payment_that_has_waited_for_its_patience_pays_more_however_young_the_outage() -> None:
    seen = [view(DOWN, since_s=NOW_S - 0.1), view(USABLE, name="second")]
    assert short(route(seen, age_s=PATIENCE_S)) == "second cheaper-down"


@given(AGES, BACKLOGS, views(), st.floats(0, 30))
def test_an_older_outage_never_makes_a_payment_wait_that_was_sent_in_a_younger_one(
    age_s: float, backlog: int, seen: list[ProcessorView], longer_s: float
) -> None:
    younger = route(seen, age_s=age_s, backlog=backlog)
    longer = [replace(one, since_s=one.since_s - longer_s) if one.standing is DOWN else one for one in seen]
    older = route(longer, age_s=age_s, backlog=backlog)
    if isinstance(younger, Send):
        assert isinstance(older, Send)
        assert older.processor == younger.processor


@given(st.floats(0, PATIENCE_S), st.floats(0, 30), st.floats(0, PATIENCE_S))
def test_what_waits_for_a_price_was_accepted_within_patience(age_s: float, outage_s: float, patience_s: float) -> None:
    assume(abs(max(age_s, outage_s) - patience_s) > 1e-6)
    seen = [view(DOWN, since_s=NOW_S - outage_s), view(USABLE, name="second")]
    decision = LeastCost(patience_s).route(age_s, 0, seen, NOW_S)
    assert isinstance(decision, Wait) == (max(age_s, outage_s) < patience_s)
    if isinstance(decision, Wait):
        assert decision.until_s <= NOW_S + patience_s - max(age_s, outage_s) + 1e-9


def test_the_wait_for_one_that_is_down_ends_when_it_may_be_probed() -> None:
    assert route([view(DOWN, retry_s=NOW_S + 0.3)]).until_s == NOW_S + 0.3


def test_the_wait_for_one_that_is_down_ends_with_patience_at_the_latest() -> None:
    decision = route([view(DOWN, retry_s=NOW_S + 2), view(USABLE, name="second")], age_s=9.5)
    assert decision.until_s == NOW_S + 0.5
    old = view(DOWN, retry_s=NOW_S + 2, since_s=NOW_S - 9.75)
    assert route([old, view(USABLE, name="second")]).until_s == NOW_S + 0.25


@pytest.mark.parametrize("age_s", [YOUNG_S, OLD_S, 1000.0])
def test_a_full_one_is_worth_waiting_for_at_any_age_while_its_queue_is_shorter_than_patience(
    age_s: float,
) -> None:
    full = view(FULL, limit=10, expected_ms=100)  # 100 payments a second
    seen = [full, view(USABLE, name="second")]
    assert short(route(seen, age_s=age_s, backlog=1000)) == "wait wait-cheapest"
    assert short(route(seen, age_s=age_s, backlog=1001)) == "second cheaper-full"


@pytest.mark.parametrize("age_s", [0, YOUNG_S, OLD_S, 1000.0])
@pytest.mark.parametrize("patience_s", [0, 1, PATIENCE_S])
def test_how_long_the_queue_for_a_full_one_may_be_is_its_capacity_times_patience(
    patience_s: float, age_s: float
) -> None:
    seen = [view(FULL, limit=20, expected_ms=50), view(USABLE, name="second")]  # 400 payments a second
    longest = int(400 * patience_s)
    assert short(LeastCost(patience_s).route(age_s, longest, seen, NOW_S)) == "wait wait-cheapest"
    assert short(LeastCost(patience_s).route(age_s, longest + 1, seen, NOW_S)) == "second cheaper-full"


@given(AGES, AGES, BACKLOGS, views())
def test_where_nobody_is_down_or_slow_age_decides_nothing(
    age_s: float, other_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    assume(all(one.standing in (USABLE, FULL, PROBE) for one in seen))
    one, other = route(seen, age_s=age_s, backlog=backlog), route(seen, age_s=other_s, backlog=backlog)
    assert short(one) == short(other)


CHEAPER = pytest.mark.parametrize(
    ("cheaper", "backlog"), [(DOWN, 0), (SLOW, 0), (FULL, ENDLESS)], ids=["down", "slow", "full"]
)


@CHEAPER
def test_a_dearer_one_that_has_just_come_back_is_paid_once_the_cheaper_had_time_to_be_noticed(
    cheaper: Standing, backlog: int
) -> None:
    def after(s: float) -> Decision:
        back = view(USABLE, name="second", since_s=NOW_S - s)
        return route([view(cheaper), back], age_s=OLD_S, backlog=backlog)

    for s in (0, 0.5, 1.499):
        assert short(after(s)) == "wait wait-cheapest"
        assert after(s).until_s == pytest.approx(NOW_S + 1.5 - s)
    assert short(after(1.5)) == f"second cheaper-{cheaper}"


@CHEAPER
@pytest.mark.parametrize("patience_s", [0, PATIENCE_S])
def test_a_dearer_one_that_was_always_usable_is_paid_at_once(
    patience_s: float, cheaper: Standing, backlog: int
) -> None:
    seen = [view(cheaper), view(USABLE, name="second")]
    assert short(LeastCost(patience_s).route(patience_s, backlog, seen, NOW_S)) == f"second cheaper-{cheaper}"


def test_while_the_cheapest_may_be_noticed_the_reason_is_about_it() -> None:
    seen = [view(SLOW, expected_ms=4000), view(DOWN, name="second"), view(USABLE, name="third", since_s=NOW_S)]
    reason = route(seen, age_s=OLD_S).reason
    assert (reason.code, reason.expected_ms, reason.passed_over) == (ReasonCode.WAIT_CHEAPEST, 4000, ())


def test_the_cheapest_is_used_the_moment_it_is_back() -> None:
    assert short(route([view(USABLE, since_s=NOW_S), view(USABLE, name="second")])) == "first cheapest"


def test_a_probe_to_a_dearer_one_does_not_wait_for_the_cheaper_to_be_noticed() -> None:
    assert short(route([view(DOWN), view(PROBE, name="second", since_s=NOW_S - 0.1)], age_s=OLD_S)) == (
        "second probe *"
    )


@given(st.floats(0, 5), st.floats(0, 3), BACKLOGS, views())
def test_nobody_waits_longer_than_notice_for_a_cheaper_one_to_be_noticed(
    notice_s: float, ago_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    policy = LeastCost(PATIENCE_S, notice_s=notice_s)
    back = [replace(one, since_s=NOW_S - ago_s) if one.standing is USABLE else one for one in seen]
    always = [replace(one, since_s=float("-inf")) if one.standing is USABLE else one for one in seen]
    without = policy.route(OLD_S, backlog, always, NOW_S)
    decision = policy.route(OLD_S, backlog, back, NOW_S)
    if short(decision) == short(without):
        return
    assert isinstance(without, Send)
    assert isinstance(decision, Wait)
    assert without.processor != seen[0].processor.name
    assert NOW_S < decision.until_s <= NOW_S + notice_s
    assert short(policy.route(OLD_S, backlog, back, decision.until_s)) == short(without)


@pytest.mark.parametrize("patience_s", [0, PATIENCE_S, 100])
def test_a_slow_one_is_taken_from_the_age_of_the_last_resort_on_whatever_patience_is(patience_s: float) -> None:
    policy = LeastCost(patience_s, last_resort_s=30)
    seen = row(SLOW, SLOW)
    assert short(policy.route(29.999, ENDLESS, seen, NOW_S)) == "wait wait-all"
    assert short(policy.route(30, 0, seen, NOW_S)) == "first least-bad"


def test_without_a_wait_for_the_last_resort_a_slow_one_is_taken_at_once() -> None:
    assert short(LeastCost(last_resort_s=0).route(0, 0, row(SLOW, DOWN), NOW_S)) == "wait wait-cheapest"
    assert short(LeastCost(0, last_resort_s=0).route(0, 0, row(SLOW, DOWN), NOW_S)) == "first least-bad"


def test_of_slow_ones_the_fastest_is_least_bad() -> None:
    seen = [
        view(SLOW, name="first", expected_ms=5000),
        view(SLOW, name="second", expected_ms=2000),
        view(SLOW, name="third", expected_ms=3000),
    ]
    assert short(route(seen, age_s=OLD_S)) == "second least-bad"


def test_of_equally_slow_ones_the_cheapest_is_least_bad() -> None:
    assert short(route(row(DOWN, SLOW, SLOW), age_s=OLD_S)) == "second least-bad"


def test_a_slow_one_without_permits_is_not_even_least_bad() -> None:
    seen = [view(SLOW, limit=4, in_flight=4), view(SLOW, name="second", expected_ms=9000)]
    assert short(route(seen, age_s=OLD_S)) == "second least-bad"
    assert isinstance(route(seen[:1], age_s=OLD_S), Wait)


def test_when_all_are_weighed_the_reason_names_all_others_cheapest_first() -> None:
    seen = [view(SLOW, expected_ms=5000), view(SLOW, name="second", expected_ms=2000), view(DOWN, name="third")]
    assert route(seen, age_s=OLD_S).reason.passed_over == (("first", "slow"), ("third", "down"))
    waiting = route(row(DOWN, DOWN, DOWN), age_s=OLD_S).reason
    assert waiting.code is ReasonCode.WAIT_ALL
    assert waiting.passed_over == (("second", "down"), ("third", "down"))


def test_the_reason_names_what_was_passed_over_and_the_numbers_of_the_moment() -> None:
    chosen = view(USABLE, name="third", expected_ms=12.5, in_flight=3, limit=40)
    reason = route([*row(DOWN, SLOW), chosen], age_s=12).reason
    assert reason.passed_over == (("first", "down"), ("second", "slow"))
    assert (reason.expected_ms, reason.in_flight, reason.limit, reason.age_s) == (12.5, 3, 40, 12)


@given(AGES, BACKLOGS, views())
def test_the_same_question_has_the_same_answer(age_s: float, backlog: int, seen: list[ProcessorView]) -> None:
    before = list(seen)
    assert route(seen, age_s=age_s, backlog=backlog) == route(seen, age_s=age_s, backlog=backlog)
    assert seen == before


@given(AGES, BACKLOGS, views())
def test_nothing_is_ever_sent_to_one_that_is_down_or_full(
    age_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    decision = route(seen, age_s=age_s, backlog=backlog)
    if isinstance(decision, Send):
        chosen = next(one for one in seen if one.processor.name == decision.processor)
        assert chosen.standing not in (DOWN, FULL)
        assert chosen.free > 0 or chosen.standing is PROBE
        assert decision.probe == (chosen.standing is PROBE)


@given(AGES, BACKLOGS, views())
def test_a_wait_ends_in_the_future_and_within_two_seconds(
    age_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    decision = route(seen, age_s=age_s, backlog=backlog)
    if isinstance(decision, Wait):
        assert NOW_S <= decision.until_s <= NOW_S + 2.0
        assert decision.until_s > NOW_S or PATIENCE_S - age_s < 1e-9


@given(AGES, BACKLOGS, views())
def test_with_the_cheapest_usable_nobody_else_is_paid(age_s: float, backlog: int, others: list[ProcessorView]) -> None:
    first = view(USABLE, since_s=others[0].since_s)
    decision = route([first, *others[1:]], age_s=age_s, backlog=backlog)
    assert short(decision) == "first cheapest"


@given(views())
def test_past_patience_and_behind_a_long_queue_a_payment_goes_to_the_cheapest_that_takes_it_now(
    seen: list[ProcessorView],
) -> None:
    takers = [one for one in seen if one.standing in (USABLE, PROBE)]
    assume(takers)
    decision = route(seen, age_s=OLD_S, backlog=ENDLESS)
    if just_back(takers[0]) and takers[0] is not seen[0]:
        assert isinstance(decision, Wait)
        assert decision.until_s == takers[0].since_s + POLICY.notice_s
    else:
        assert decision.processor == takers[0].processor.name


@given(st.floats(0, PATIENCE_S, exclude_max=True), BACKLOGS, views())
def test_before_patience_runs_out_nobody_pays_more_because_a_cheaper_one_is_down(
    age_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    young = {one.processor.name for one in seen if NOW_S - one.since_s < PATIENCE_S}
    decision = route(seen, age_s=age_s, backlog=backlog)
    if isinstance(decision, Send):
        assert not [name for name, how in decision.reason.passed_over if how == "down" and name in young]


@given(AGES, AGES, BACKLOGS, views())
@example(age_s=9.99, other_s=10.0, backlog=0, seen=row(DOWN, USABLE))
def test_what_a_younger_payment_may_do_an_older_one_may_too(
    age_s: float, other_s: float, backlog: int, seen: list[ProcessorView]
) -> None:
    younger = route(seen, age_s=min(age_s, other_s), backlog=backlog)
    older = route(seen, age_s=max(age_s, other_s), backlog=backlog)
    if isinstance(younger, Send):
        assert isinstance(older, Send)
        assert older.processor == younger.processor


@given(views(), AGES, BACKLOGS, BACKLOGS)
def test_a_longer_queue_never_makes_a_payment_wait_that_was_sent_with_a_shorter_one(
    seen: list[ProcessorView], age_s: float, backlog: int, more: int
) -> None:
    if isinstance(route(seen, age_s=age_s, backlog=backlog), Send):
        assert isinstance(route(seen, age_s=age_s, backlog=backlog + more), Send)


@given(views(), BACKLOGS)
def test_past_patience_a_payment_waits_only_for_a_permit_or_a_notice_or_where_nobody_has_one_to_spare(
    seen: list[ProcessorView], backlog: int
) -> None:
    decision = route(seen, age_s=OLD_S, backlog=backlog)
    if isinstance(decision, Wait) and decision.reason.code is ReasonCode.WAIT_CHEAPEST:
        fulls = [one for one in seen if one.standing is FULL]
        worth_it = any(backlog <= PATIENCE_S * one.capacity_per_s for one in fulls)
        assert worth_it or any(just_back(one) for one in seen[1:])
    elif isinstance(decision, Wait):
        assert all(one.standing in (DOWN, FULL, PAUSED) or (one.standing is SLOW and one.free <= 0) for one in seen)


@given(views(), AGES, BACKLOGS)
def test_a_paused_processor_gets_nothing(seen: list[ProcessorView], age_s: float, backlog: int) -> None:
    paused = {one.processor.name for one in seen if one.standing is PAUSED}
    decision = route(seen, age_s=age_s, backlog=backlog)
    assert not (isinstance(decision, Send) and decision.processor in paused)


def test_nobody_waits_for_a_paused_processor_while_another_is_usable() -> None:
    decision = route(row(PAUSED, USABLE), age_s=0.0, backlog=0)
    assert isinstance(decision, Send)
    assert decision.reason.code is ReasonCode.CHEAPER_PAUSED
    assert "an operator has paused the cheaper" in decision.reason.in_words(decision.processor)


def test_with_every_processor_paused_payments_wait() -> None:
    decision = route(row(PAUSED, PAUSED), age_s=OLD_S, backlog=0)
    assert isinstance(decision, Wait)
    assert decision.until_s <= NOW_S + 0.5
