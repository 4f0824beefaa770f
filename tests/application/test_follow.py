"""The audit that goes on: when windows are compared, what is told once, and what is still due."""

from __future__ import annotations

import asyncio

import pytest

from application.both_books import NAMES, Ours, Theirs, pay
from payrouter.application import follow
from payrouter.application.audit import Books, Difference
from payrouter.application.follow import Follower, Found, NotCompared, Passed, ReadAgain, Resolved, Unread
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window
from payrouter.ports.books import BookEntry

S = 1_000_000


class Bed:
    """Both sides' books and whoever follows them; `told` is what the last pass told, without its end."""

    def __init__(self, *, first_us=0):
        self.ours, self.theirs = Ours(), Theirs(page_size=50)
        self.windows: list[tuple[Window, tuple[str, ...]]] = []
        self.events: list[object] = []
        self.follower = Follower(Books(self.ours, self.theirs, NAMES), self.events.append, first_us=first_us)
        audit = self.follower._auditor.audit

        async def watched(window, only):
            self.windows.append((window, only))
            return await audit(window, only)

        self.follower._auditor.audit = watched

    def pay(self, one, name="default", *, at, **more):
        pay(self.ours, self.theirs, one, name, at=at, **more)

    def stray(self, one, name="default", *, at, amount=1990):
        self.theirs.books[name].append(BookEntry(one, amount, at))

    def look(self, closed_us):
        """Make a pass and return what it told; its end is `passed`."""
        self.events.clear()
        self.windows.clear()
        asyncio.run(self.follower.look(closed_us))
        *told, self.passed = self.events
        assert isinstance(self.passed, Passed)
        return told

    def compared(self, name="default"):
        return [window for window, only in self.windows if only == (name,) and window.first_us < window.last_us]


def names(told):
    return [
        (type(one).__name__, one.finding.difference, one.finding.processor, one.finding.correlation_id) for one in told
    ]


def test_each_pass_compares_what_closed_since_the_last_one():
    bed = Bed(first_us=5)
    for number in range(6):
        bed.pay(f"p{number}", NAMES[number % 2], at=number * S)
    assert bed.look(2 * S) == []
    assert bed.compared("default") == bed.compared("fallback") == [Window(5, 2 * S)]
    assert (bed.passed.windows, bed.passed.payments, bed.passed.compared) == (2, 2, 2)
    assert bed.look(4 * S) == []
    assert bed.compared() == [Window(2 * S + 1, 4 * S)]
    assert (bed.passed.payments, bed.passed.compared) == (2, 4)
    assert bed.look(4 * S) == []
    assert bed.windows == []
    assert not bed.follower.differ
    assert not bed.follower.behind


def test_before_the_first_pass_nothing_is_compared():
    assert Bed().follower.behind


def test_a_long_window_is_compared_in_parts_and_goes_on_where_it_failed(monkeypatch):
    monkeypatch.setattr(follow, "WINDOW_PAYMENTS", 4)
    bed = Bed()
    for number in range(10):
        bed.pay(f"p{number}", at=number * S)
    totals = bed.theirs.totals

    async def fails_late(processor, window):
        bed.theirs.away = {"default"} if window.first_us > 3 * S else set()
        return await totals(processor, window)

    bed.theirs.totals = fails_late
    [unread] = bed.look(20 * S)
    assert (unread.processor, unread.due_us) == ("default", 3 * S + 1)
    assert bed.passed.due == {"default": 3 * S + 1}
    bed.theirs.totals, bed.theirs.away = totals, set()
    assert bed.look(30 * S) == [ReadAgain("default")]
    assert bed.compared() == [Window(3 * S + 1, 7 * S), Window(7 * S + 1, 30 * S)]
    assert bed.passed.compared == 20 - 10


def test_a_difference_is_named_once_and_again_when_it_is_resolved():
    bed = Bed()
    bed.pay("p1", at=S)
    bed.stray("lost", "fallback", at=2 * S)
    assert names(bed.look(3 * S)) == [("Found", Difference.MISSING_HERE, "fallback", "lost")]
    assert bed.passed.standing == 1
    assert bed.look(4 * S) == []
    assert bed.follower.differ
    bed.ours.rows["lost"] = ("fallback", 1990, 2 * S, PaymentState.SETTLED)
    assert names(bed.look(5 * S)) == [("Resolved", Difference.MISSING_HERE, "fallback", "lost")]
    assert (bed.passed.standing, bed.passed.resolved) == (0, 1)
    assert not bed.follower.differ
    assert bed.look(6 * S) == []


@pytest.mark.parametrize(
    ("spoil", "difference", "mend"),
    [
        (
            lambda bed: bed.theirs.books["default"].pop(),
            Difference.MISSING_THERE,
            lambda bed: bed.stray("p1", at=S),
        ),
        (
            lambda bed: bed.theirs.books.update(default=[BookEntry("p1", 1991, S)]),
            Difference.AMOUNT,
            lambda bed: bed.theirs.books.update(default=[BookEntry("p1", 1990, S)]),
        ),
        (
            lambda bed: bed.theirs.books.update(default=[BookEntry("p1", 1990, 3 * S)]),
            Difference.INSTANT,
            lambda bed: bed.theirs.books.update(default=[BookEntry("p1", 1990, S)]),
        ),
        (
            lambda bed: bed.stray("p1", "fallback", at=S + 9),
            Difference.CHARGED_TWICE,
            lambda bed: bed.theirs.books["fallback"].clear(),
        ),
    ],
)
def test_every_kind_is_found_stays_and_is_resolved(spoil, difference, mend):
    bed = Bed()
    bed.pay("p1", at=S)
    spoil(bed)
    [found] = bed.look(2 * S)
    assert (type(found), found.finding.difference, found.finding.correlation_id) == (Found, difference, "p1")
    assert bed.look(4 * S) == []
    assert bed.passed.standing == 1
    mend(bed)
    [gone] = bed.look(5 * S)
    assert (type(gone), gone.finding.difference) == (Resolved, difference)


def test_a_payment_that_two_processors_charged_and_we_do_not_know_is_one_difference():
    bed = Bed()
    for name in NAMES:
        bed.stray("stray", name, at=S)
    assert [one[:2] for one in names(bed.look(2 * S))] == [("Found", Difference.CHARGED_TWICE)]
    assert bed.look(3 * S) == []
    assert bed.passed.standing == 1


def test_an_attempt_under_way_is_no_difference_however_it_ends():
    bed = Bed()
    bed.pay("open", at=S, state=PaymentState.PINNED)
    bed.pay("other", at=S, state=PaymentState.ATTEMPTING)
    bed.theirs.books["default"].pop()
    assert bed.look(2 * S) == []
    assert bed.passed.unresolved == 2
    bed.ours.rows["open"] = ("default", 1990, S, PaymentState.SETTLED)
    assert bed.look(3 * S) == []
    assert bed.passed.unresolved == 1


def test_a_processor_that_cannot_be_read_is_said_once_and_its_windows_stay_due():
    bed = Bed()
    bed.pay("p1", at=S)
    bed.pay("p2", "fallback", at=S)
    bed.stray("lost", "fallback", at=S)
    bed.theirs.away = {"fallback"}
    assert bed.look(2 * S) == [Unread("fallback", "processor fallback cannot be asked", 0)]
    assert bed.passed.due == {"fallback": 0}
    assert bed.look(3 * S) == []
    assert bed.compared("default") == [Window(2 * S + 1, 3 * S)]
    assert bed.follower.behind
    assert not bed.follower.differ
    bed.theirs.away = set()
    told = bed.look(4 * S)
    assert [type(one) for one in told] == [Found, ReadAgain]
    assert bed.compared("fallback") == [Window(0, 4 * S)]
    assert not bed.follower.behind


def test_a_difference_is_named_though_another_processor_cannot_be_asked_about_it():
    bed = Bed()
    bed.stray("lost", at=S)
    bed.theirs.away = {"fallback"}
    found = next(one for one in bed.look(2 * S) if isinstance(one, Found))
    assert found.finding.note == "unknown here; whether fallback charged it too is not known, it cannot be asked"


def test_a_standing_difference_that_cannot_be_looked_at_stands():
    bed = Bed()
    bed.stray("lost", at=S)
    bed.look(2 * S)
    bed.theirs.away = {"default"}
    assert [type(one) for one in bed.look(2 * S)] == [Unread]
    assert bed.passed.standing == 1
    bed.theirs.away = set()
    assert bed.look(3 * S) == [ReadAgain("default")]
    assert bed.passed.standing == 1


def test_our_own_books_away_lose_nothing():
    bed = Bed()
    bed.stray("lost", at=S)
    unresolved = bed.ours.unresolved

    async def away(window, limit):
        raise StoreUnavailable("no connection")

    bed.ours.unresolved = away
    with pytest.raises(StoreUnavailable):
        bed.look(2 * S)
    bed.ours.unresolved = unresolved
    assert [type(one) for one in bed.look(3 * S)] == [Found]


def test_a_late_charge_in_an_old_window_is_found_by_totals_and_only_there_payments_are_listed():
    bed = Bed()
    for number in range(600):
        bed.pay(f"p{number}", NAMES[number % 2], at=number * 5 * S)
    closed_us = 3600 * S
    assert bed.look(closed_us) == []
    bed.stray("late", at=1234 * S)
    for number in range(2, follow.LOOK_BACK_EVERY):
        assert bed.look(closed_us + number) == []
    assert names(bed.look(closed_us + 10)) == [("Found", Difference.MISSING_HERE, "default", "late")]
    [_, listed] = bed.compared()
    assert listed.last_us - listed.first_us < follow.NARROW_US
    assert 1234 * S in listed
    assert bed.compared("fallback") == [Window(closed_us + 6, closed_us + 10)]


def test_looking_back_costs_two_totals_where_nothing_differs():
    bed = Bed()
    bed.pay("p1", at=S)
    for number in range(1, follow.LOOK_BACK_EVERY):
        bed.look(2 * S + number)
    before = bed.theirs.listings
    assert bed.look(2 * S + follow.LOOK_BACK_EVERY - 1) == []
    assert bed.theirs.listings == before


def test_older_charges_are_found_by_the_rarer_look_at_everything(monkeypatch):
    monkeypatch.setattr(follow, "LOOK_AT_ALL_EVERY", 2 * follow.LOOK_BACK_EVERY)
    bed = Bed()
    closed_us = 10 * follow.LOOK_BACK_US
    bed.look(closed_us)
    bed.stray("late", at=S)
    told = [bed.look(closed_us + number) for number in range(2, 2 * follow.LOOK_BACK_EVERY + 1)]
    assert [len(one) for one in told] == [0] * (2 * follow.LOOK_BACK_EVERY - 2) + [1]


def test_looking_back_stays_due_while_the_processor_cannot_be_read():
    bed = Bed()
    bed.look(100 * S)
    bed.stray("late", at=S)
    for number in range(2, follow.LOOK_BACK_EVERY):
        bed.look(100 * S + number)
    bed.theirs.away = {"default"}
    assert [type(one) for one in bed.look(101 * S)] == [Unread]
    bed.theirs.away = set()
    assert [type(one) for one in bed.look(102 * S)] == [Found, ReadAgain]


def test_a_processor_that_lists_nothing_is_compared_by_totals_and_told_once():
    bed = Bed()
    bed.theirs.silent = {"default"}
    bed.pay("p1", at=S)
    bed.stray("more", at=2 * S)
    [found] = bed.look(3 * S)
    assert (found.finding.difference, found.finding.window) == (Difference.TOTALS, Window(0, 3 * S))
    for number in range(2 * follow.LOOK_BACK_EVERY):
        assert bed.look(4 * S + number) == []
        assert bed.passed.standing == 1
    bed.theirs.books["default"].pop()
    [gone] = bed.look(9 * S)
    assert isinstance(gone, Resolved)


def test_former_processors_are_named_once():
    bed = Bed()
    bed.ours.rows["old"] = ("former", 700, S, PaymentState.SETTLED)
    assert [type(one) for one in bed.look(2 * S)] == [NotCompared]
    bed.ours.rows["older"] = ("former", 700, 3 * S, PaymentState.SETTLED)
    assert bed.look(4 * S) == []


def test_memory_is_bounded_and_what_found_no_room_is_found_once_there_is_room(monkeypatch):
    monkeypatch.setattr(follow, "KEPT", 10)
    bed = Bed()
    for number in range(25):
        bed.stray(f"s{number}", at=number * S)
    assert len(bed.look(100 * S)) == 10
    assert bed.passed.unnamed
    assert bed.follower.differ
    assert bed.look(101 * S) == []
    for number in range(10):
        bed.ours.rows[f"s{number}"] = ("default", 1990, number * S, PaymentState.SETTLED)
    assert [type(one) for one in bed.look(102 * S)] == [Resolved] * 10
    assert [type(one) for one in bed.look(103 * S)] == [Found] * 10
    for number in range(10, 25):
        bed.ours.rows[f"s{number}"] = ("default", 1990, number * S, PaymentState.SETTLED)
    bed.look(104 * S)
    assert bed.look(105 * S) == []
    assert not bed.follower.differ


def test_with_many_standing_differences_a_pass_looks_at_some_and_the_next_at_others(monkeypatch):
    monkeypatch.setattr(follow, "RECHECKED", 3)
    bed = Bed()
    for number in range(7):
        bed.stray(f"s{number}", at=number * S)
    bed.look(100 * S)
    bed.theirs.books["default"].clear()
    assert [len(bed.look(100 * S)) for _ in range(4)] == [3, 3, 1, 0]


# -- totals first


def by_totals(bed):
    bed.follower._totals_first = True
    return bed


def test_with_totals_first_payments_are_compared_only_where_totals_differ():
    bed = by_totals(Bed(first_us=0))
    for second in range(1, 400):
        bed.pay(f"p{second}", at=second * S)
    assert bed.look(399 * S) == []
    assert bed.windows == []
    assert not bed.follower.behind
    bed.pay("later", at=401 * S)
    bed.stray("stray", at=450 * S)
    told = bed.look(500 * S)
    assert names(told) == [("Found", Difference.MISSING_HERE, "default", "stray")]
    assert all(window.last_us - window.first_us <= follow.NARROW_US for window in bed.compared())
    assert [one.correlation_id for one in bed.follower.standing] == ["stray"]


def test_with_totals_first_one_that_cannot_be_read_stays_due():
    bed = by_totals(Bed())
    bed.pay("one", at=1 * S)
    bed.theirs.away.add("default")
    assert [type(one) for one in bed.look(10 * S)] == [Unread]
    assert "default" in bed.follower.unread
    bed.theirs.away.clear()
    bed.stray("stray", at=2 * S)
    told = bed.look(20 * S)
    assert Difference.MISSING_HERE in {one.finding.difference for one in told if isinstance(one, Found)}
    assert bed.follower.unread == {}
