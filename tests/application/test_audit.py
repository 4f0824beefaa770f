"""The audit, over fakes of both sides' books."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from application.both_books import NAMES, Ours, Theirs, pay
from payrouter.application import audit
from payrouter.application.audit import Auditor, Difference
from payrouter.domain.ledger import Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window
from payrouter.ports.books import BookEntry, BookPage, BooksUnavailable

WINDOW = Window(0, 1000)


def audited(ours, theirs, *, slice_rows=3):
    return asyncio.run(Auditor(ours, theirs, NAMES, slice_rows=slice_rows).audit(WINDOW))


def agreeing(count=10):
    """Return both sides with `count` payments each, alternating between the processors."""
    ours, theirs = Ours(), Theirs()
    for number in range(count):
        pay(ours, theirs, f"p{number}", NAMES[number % 2], at=number * 10)
    return ours, theirs


def kinds(report):
    return dict(report.counts)


def test_agreeing_books_agree_and_the_totals_say_so():
    ours, theirs = agreeing()
    report = audited(ours, theirs)
    assert report.agree
    assert report.processors["default"].ours == report.processors["default"].theirs == Totals(5, 9950)
    assert theirs.lookups == 0


def test_empty_books_agree():
    assert audited(Ours(), Theirs()).agree


def test_our_side_is_read_in_slices():
    ours, theirs = agreeing(50)
    assert audited(ours, theirs, slice_rows=7).agree
    assert ours.largest_slice == 7


def test_how_far_it_has_come_is_told_slice_by_slice():
    ours, theirs = agreeing(50)
    told = []
    asyncio.run(Auditor(ours, theirs, NAMES, slice_rows=20).audit(WINDOW, tell=lambda *so_far: told.append(so_far)))
    assert told == [(20, 50), (40, 50), (50, 50)]


def test_payments_of_one_instant_are_not_torn_apart():
    ours, theirs = Ours(), Theirs()
    for number in range(9):
        pay(ours, theirs, f"p{number}", "default", at=500)
    assert audited(ours, theirs, slice_rows=2).agree


def test_a_payment_that_only_they_have_is_missing_here():
    ours, theirs = agreeing()
    del ours.rows["p3"]
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.MISSING_HERE: 1}
    (finding,) = report.findings
    assert (finding.processor, finding.correlation_id, finding.ours) == ("fallback", "p3", None)
    assert finding.note == "unknown here"


def test_a_payment_that_only_they_have_is_named_with_its_state_here():
    ours, theirs = agreeing()
    ours.rows["p3"] = (None, 1990, None, PaymentState.QUEUED)
    assert audited(ours, theirs).findings[0].note == "queued here"


def test_a_payment_that_only_we_have_is_missing_there():
    ours, theirs = agreeing()
    theirs.books["default"] = [one for one in theirs.books["default"] if one.correlation_id != "p4"]
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.MISSING_THERE: 1}
    assert (report.findings[0].correlation_id, report.findings[0].theirs) == ("p4", None)


def test_another_amount_is_one_difference():
    ours, theirs = agreeing()
    theirs.books["default"][2] = BookEntry("p4", 1991, 40)
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.AMOUNT: 1}
    assert (report.findings[0].ours.amount_minor, report.findings[0].theirs.amount_minor) == (1990, 1991)


@pytest.mark.parametrize(("at", "where"), [(41, "in the same slice"), (95, "in a later one"), (5000, "outside")])
def test_another_instant_is_one_difference_wherever_it_lies(at, where):
    ours, theirs = agreeing()
    theirs.books["default"][2] = BookEntry("p4", 1990, at)
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.INSTANT: 1}, where
    assert (report.findings[0].ours.requested_us, report.findings[0].theirs.requested_us) == (40, at)


def test_another_instant_that_brings_it_into_the_window_is_one_difference():
    ours, theirs = agreeing()
    ours.rows["p4"] = ("default", 1990, 5000, PaymentState.SETTLED)
    assert kinds(audited(ours, theirs)) == {Difference.INSTANT: 1}


def test_a_payment_charged_by_two_processors_is_one_difference():
    ours, theirs = agreeing()
    theirs.books["fallback"].append(BookEntry("p4", 1990, 45))
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.CHARGED_TWICE: 1}
    assert report.findings[0].note == "also charged by default; settled at default here"


def test_a_payment_that_we_do_not_know_and_two_processors_charged_is_one_difference():
    ours, theirs = agreeing()
    for name in NAMES:
        theirs.books[name].append(BookEntry("stray", 500, 45))
    assert kinds(audited(ours, theirs)) == {Difference.CHARGED_TWICE: 1}


def test_a_payment_listed_twice_by_one_processor_was_charged_twice():
    ours, theirs = agreeing()
    theirs.books["default"].append(BookEntry("p4", 1990, 40))
    assert kinds(audited(ours, theirs)) == {Difference.CHARGED_TWICE: 1}


def test_a_payment_at_another_processor_than_we_say_is_missing_on_both_sides():
    ours, theirs = agreeing()
    ours.rows["p4"] = ("fallback", 1990, 40, PaymentState.SETTLED)
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.MISSING_HERE: 1, Difference.MISSING_THERE: 1}
    assert "settled at fallback here" in [finding.note for finding in report.findings]


@pytest.mark.parametrize("state", [PaymentState.ATTEMPTING, PaymentState.PINNED, PaymentState.DEAD_LETTER])
@pytest.mark.parametrize("charged", [True, False])
def test_an_unresolved_attempt_is_counted_and_no_difference(state, charged):
    ours, theirs = agreeing()
    pay(ours, theirs, "open", "default", state=state)
    if not charged:
        theirs.books["default"].pop()
    report = audited(ours, theirs)
    assert report.agree
    assert report.unresolved_count == 1
    assert report.unresolved[0].state == state.label


def test_an_unresolved_attempt_charged_with_another_amount_is_a_difference():
    ours, theirs = agreeing()
    pay(ours, theirs, "open", "default", state=PaymentState.PINNED)
    theirs.books["default"][-1] = BookEntry("open", 1, 500)
    assert kinds(audited(ours, theirs)) == {Difference.AMOUNT: 1}


def test_an_unresolved_attempt_charged_elsewhere_is_missing_here():
    ours, theirs = agreeing()
    pay(ours, theirs, "open", "default", state=PaymentState.PINNED)
    theirs.books["fallback"].append(theirs.books["default"].pop())
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.MISSING_HERE: 1}
    assert report.findings[0].note == "pinned at default here"


def test_a_payment_settled_while_we_compare_is_no_difference():
    ours, theirs = agreeing()
    pay(ours, theirs, "open", "default", state=PaymentState.ATTEMPTING)
    read = ours.settled

    async def settled_after_reading(window):
        found = await read(window)
        ours.rows["open"] = ("default", 1990, 500, PaymentState.SETTLED)
        return found

    ours.settled = settled_after_reading
    assert audited(ours, theirs, slice_rows=100).agree


def test_a_processor_that_lists_nothing_is_compared_by_totals():
    ours, theirs = agreeing()
    theirs.silent = {"fallback"}
    report = audited(ours, theirs)
    assert report.agree
    assert not report.processors["fallback"].listed
    theirs.books["fallback"].pop()
    report = audited(ours, theirs)
    assert kinds(report) == {Difference.TOTALS: 1}
    assert report.findings[0].note == "ours 5 payments, 99.50, theirs 4 payments, 79.60"


@pytest.mark.parametrize("charged", [True, False])
def test_totals_may_differ_by_what_is_unresolved_and_by_no_more(charged):
    ours, theirs = agreeing()
    theirs.silent = set(NAMES)
    pay(ours, theirs, "open", "default", state=PaymentState.PINNED)
    if not charged:
        theirs.books["default"].pop()
    assert audited(ours, theirs).agree
    theirs.books["default"] += [BookEntry("more", 100, 1), BookEntry("and more", 1, 1)]
    assert not audited(ours, theirs).agree


def test_totals_that_no_payment_explains_are_a_difference():
    ours, theirs = agreeing()
    theirs.wrong_totals = Totals(5, 9949)
    assert kinds(audited(ours, theirs)) == {Difference.TOTALS: 2}


def test_former_processors_are_named_as_not_compared():
    ours, theirs = agreeing()
    ours.rows["old"] = ("former", 700, 5, PaymentState.SETTLED)
    report = audited(ours, theirs)
    assert report.agree
    assert report.unaudited == {"former": Totals(1, 700)}


def test_a_listing_that_never_ends_is_given_up():
    ours, theirs = agreeing()

    async def page(processor, window, cursor):
        return BookPage([BookEntry("p0", 1990, 0)], "again")

    theirs.page = page
    with pytest.raises(BooksUnavailable, match="default broke off its list"):
        audited(ours, theirs)


def test_when_everything_differs_findings_and_lookups_stay_bounded(monkeypatch):
    monkeypatch.setattr(audit, "KEPT", 5)
    ours, theirs = agreeing(40)
    theirs.books = {name: [] for name in NAMES}
    auditor = Auditor(ours, theirs, NAMES, slice_rows=10, lookups=7)
    report = asyncio.run(auditor.audit(WINDOW))
    assert kinds(report) == {Difference.MISSING_THERE: 40}
    assert len(report.findings) == 5
    assert theirs.lookups == 7


@given(
    slice_rows=st.integers(1, 12),
    page_size=st.integers(1, 5),
    instants=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    data=st.data(),
)
def test_a_single_lost_payment_is_found_whatever_the_slices_and_pages(slice_rows, page_size, instants, data):
    ours, theirs = Ours(), Theirs(page_size=page_size)
    for number, at in enumerate(instants):
        pay(ours, theirs, f"p{number}", NAMES[number % 2], at=at)
    lost = f"p{data.draw(st.integers(0, len(instants) - 1))}"
    if data.draw(st.booleans()):
        del ours.rows[lost]
        expected = Difference.MISSING_HERE
    else:
        for name in NAMES:
            theirs.books[name] = [one for one in theirs.books[name] if one.correlation_id != lost]
        expected = Difference.MISSING_THERE
    report = audited(ours, theirs, slice_rows=slice_rows)
    assert [(finding.difference, finding.correlation_id) for finding in report.findings] == [(expected, lost)]
