from __future__ import annotations

from decimal import Decimal

import pytest

from payrouter_lab.bench.ids import payment_id, scramble
from payrouter_lab.bench.k6 import read_console
from payrouter_lab.bench.score import Charge, Total, bonus, compare_books, score

FEES = {"default": Decimal("0.05"), "fallback": Decimal("0.15")}
AMOUNT = Decimal("19.90")


def settled(default: int, fallback: int = 0) -> dict[str, Total]:
    return {"default": Total(default, default * AMOUNT), "fallback": Total(fallback, fallback * AMOUNT)}


@pytest.mark.parametrize(("p99_ms", "expected"), [(1.0, 0.20), (6.0, 0.10), (11.0, 0.0), (50.0, 0.0), (0.5, 0.21)])
def test_the_bonus_is_two_percent_per_millisecond_below_eleven(p99_ms: float, expected: float) -> None:
    assert bonus(p99_ms) == pytest.approx(expected)


def test_everything_at_the_lowest_fee_within_a_millisecond_is_the_upper_bound() -> None:
    earned = score(settled(1000), FEES, accepted=1000, amount=AMOUNT, p99_ms=1.0, inconsistent=False)
    assert earned.profit == pytest.approx(1000 * 19.90 * 0.95 * 1.20)
    assert earned.share_percent == pytest.approx(100)
    assert earned.margin == 1.0


def test_fees_are_taken_per_processor_and_what_is_queued_earns_nothing() -> None:
    earned = score(settled(500, 100), FEES, accepted=1000, amount=AMOUNT, p99_ms=20, inconsistent=False)
    assert earned.settled == Decimal("11940.00")
    assert earned.fees == Decimal("796.00")
    assert earned.profit == pytest.approx(11144)
    assert earned.margin == pytest.approx(11144 / (1000 * 19.90 * 0.95))


def test_an_inconsistency_costs_a_third_and_does_not_touch_the_margin() -> None:
    earned = score(settled(100), FEES, accepted=100, amount=AMOUNT, p99_ms=6, inconsistent=True)
    assert earned.profit == pytest.approx(100 * 19.90 * 0.95 * (1 + 0.10 - 0.35))
    assert earned.margin == 1.0


def test_settling_more_than_was_accepted_disqualifies() -> None:
    assert score(settled(101), FEES, accepted=100, amount=AMOUNT, p99_ms=1, inconsistent=False).profit == 0


def test_nothing_accepted_scores_nothing() -> None:
    earned = score(settled(0), FEES, accepted=0, amount=AMOUNT, p99_ms=1, inconsistent=False)
    assert (earned.profit, earned.share_percent, earned.margin) == (0, 0, 0)


def charges(*names: str, cents: int = 1990) -> list[Charge]:
    return [Charge(name, cents) for name in names]


def test_books_that_agree_have_nothing_to_report() -> None:
    books = {"default": charges("a", "b"), "fallback": charges("c")}
    assert compare_books({"a", "b", "c"}, set(), books, cents=1990).agree


def test_lost_doubled_uninvited_and_wrong_amounts_are_told_apart() -> None:
    books = {"default": charges("a", "b", "b"), "fallback": charges("a", "x") + charges("c", cents=1989)}
    report = compare_books({"a", "b", "c", "d"}, set(), books, cents=1990)
    assert report.lost == ["d"]
    assert report.doubled == ["a", "b"]
    assert report.uninvited == ["x"]
    assert report.wrong_amount == ["c"]
    assert not report.agree


def test_an_unanswered_payment_may_be_charged_or_not_but_never_twice() -> None:
    books = {"default": charges("a", "b"), "fallback": charges("b")}
    report = compare_books(set(), {"a", "b", "c"}, books, cents=1990)
    assert (report.lost, report.uninvited, report.doubled) == ([], [], ["b"])


def test_ids_look_like_uuids_and_never_repeat() -> None:
    names = {payment_id(0xDEADBEEF, stream, n) for stream in (1, 550, 65_535) for n in range(2_000)}
    assert len(names) == 6_000
    assert payment_id(0xDEADBEEF, 550, 33).endswith("-0226-4eef-8000-000000000021")


def test_scrambling_is_one_to_one_on_what_is_used() -> None:
    assert scramble(0) == 0
    assert scramble(1) == 0x514E28B7  # MurmurHash3's fmix32
    assert len({scramble(key) for key in range(100_000)}) == 100_000


def test_the_accepted_payments_are_those_up_to_each_users_last_but_the_refused() -> None:
    console = read_console(
        [
            "start 1500",
            "refused 1 1 422",
            "refused 1 3 503",
            "refused 2 0 0",
            "last 1 1",
            "last 1 3",
            "last 2 0",
            'end {"ours":{}}',
        ]
    )
    accepted, unanswered = console.ids(salt=5)
    assert console.started_s == 1.5
    assert console.sent() == 5
    assert accepted == {payment_id(5, 1, 0), payment_id(5, 1, 2)}
    assert unanswered == {payment_id(5, 1, 3), payment_id(5, 2, 0)}


def test_a_line_nobody_expects_is_an_error() -> None:
    assert read_console(["error stage at 3 s"]).errors == ["error stage at 3 s"]
    assert read_console(["Uncaught TypeError"]).errors == ["Uncaught TypeError"]
