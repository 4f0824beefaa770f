"""The storm's accounting: what is lost, doubled or booked differently is found, and is a failure."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from payrouter.domain.window import format_instant
from payrouter_lab.faults import watch as watching
from payrouter_lab.faults.books import Compared, Entry, compare
from payrouter_lab.faults.catalogue import Fault, cluster_faults, may_pair
from payrouter_lab.faults.disk import DiskBed, SmallDisk, disk_faults
from payrouter_lab.faults.journal import Attempt, Job, Journal, attempt_line, cents_of, sent_line
from payrouter_lab.faults.report import failures, storm_table
from payrouter_lab.faults.storm import AT_THE_END, Round, Storm
from payrouter_lab.faults.watch import Watch

if TYPE_CHECKING:
    from pathlib import Path

A, B = "aaaaaaaa-0001-4001-8000-000000000001", "bbbbbbbb-0001-4001-8000-000000000002"
US = 1_750_000_000_000_000


def entry(correlation_id: str = A, processor: str = "default", cents: int = 1990, requested_us: int = US) -> Entry:
    return Entry(processor, correlation_id, cents, requested_us)


def compared(
    charges: list[Entry], ledger: list[Entry], payments: dict[str, int] | None = None, sent: set[str] = frozenset()
):
    return compare({A: 1990} if payments is None else payments, {A} | sent, charges, ledger, strangers=True)


def test_books_that_say_the_same_agree():
    found = compared([entry(), entry(B, "fallback", 5)], [entry(B, "fallback", 5), entry()], {A: 1990, B: 5})
    assert found.agree
    assert found.findings() == []


def test_an_accepted_payment_that_nobody_charged_is_lost():
    found = compared([], [])
    assert (found.lost, found.doubled, found.differing) == ({A}, set(), {})
    assert "1 lost" in found.findings()[0]


def test_a_settled_payment_that_nobody_charged_is_lost_and_differs():
    found = compared([], [entry()])
    assert (found.lost, set(found.differing)) == ({A}, {A})


@pytest.mark.parametrize("other", [entry(processor="fallback"), entry(), entry(requested_us=US + 1)])
def test_two_charges_are_a_doubled_payment_whatever_the_ledger_says(other):
    for ledger in ([entry()], [entry(), other]):
        assert compared([entry(), other], ledger).doubled == {A}


@pytest.mark.parametrize(
    "ours", [entry(processor="fallback"), entry(cents=1991), entry(requested_us=US + 1), None], ids=str
)
def test_a_ledger_that_says_otherwise_differs(ours):
    found = compared([entry()], [] if ours is None else [ours])
    assert (found.lost, found.doubled, set(found.differing)) == (set(), set(), {A})


def test_both_books_may_agree_and_still_not_on_what_was_sent():
    assert set(compared([entry(cents=1)], [entry(cents=1)]).differing) == {A}


def test_what_no_client_sent_is_found_in_either_book():
    assert set(compared([entry(), entry(B)], [entry()]).differing) == {B}
    assert set(compared([entry()], [entry(), entry(B)]).differing) == {B}


def test_a_payment_sent_and_never_accepted_may_be_charged_but_only_once_and_in_both_books():
    assert compared([entry(), entry(B)], [entry(), entry(B)], sent={B}).agree
    assert set(compared([entry(), entry(B)], [entry()], sent={B}).differing) == {B}
    twice = [entry(), entry(B), entry(B, "fallback")]
    assert compared(twice, twice, sent={B}).doubled == {B}


def test_a_second_charge_of_a_payment_compared_before_is_noticed():
    seen = Compared()
    seen.note([A], [entry(), entry(B)])
    assert seen.again([entry(), entry(B, "fallback")]) == set()
    assert seen.again([entry(processor="fallback")]) == {A}


# -- the journal


def journal_of(path: Path, *lines: bytes) -> Journal:
    path.write_bytes(b"".join(lines))
    journal = Journal(path)
    journal.read()
    return journal


def test_a_journal_is_read_line_by_line_as_it_grows(tmp_path):
    journal = journal_of(
        tmp_path / "j", sent_line(0, 1.0), sent_line(1, 1.5), attempt_line(Attempt(0, 1.0, 1.2, 202))[:5]
    )
    assert journal.sent == {0: 1.0, 1: 1.5}
    assert (journal.accepted, journal.unanswered) == ({}, 2)
    with journal.file.open("ab") as file:
        file.write(attempt_line(Attempt(0, 1.0, 1.2, 202))[5:] + attempt_line(Attempt(1, 1.5, 1.6, 503)))
    journal.read()
    assert journal.accepted == {0: 1.2}
    assert journal.refused_since(1.0) == [Attempt(1, 1.5, 1.6, 503)]
    assert journal.unanswered == 1


def test_payments_are_accepted_again_once_none_is_refused_any_more(tmp_path):
    attempts = [
        Attempt(0, 9.8, 10.05, 202),  # begun before the fault: says nothing of it
        Attempt(1, 10.1, 10.2, 503),
        Attempt(2, 10.2, 10.3, 202),  # a late answer among refusals
        Attempt(3, 10.3, 10.4, 0),
        Attempt(1, 10.5, 10.6, 202),
        Attempt(3, 10.5, 10.7, 202),
    ]
    journal = journal_of(tmp_path / "j", *(sent_line(n, 9.0) for n in range(4)), *map(attempt_line, attempts))
    assert journal.accepting_since(10.0) == pytest.approx(10.6)
    assert [one.number for one in journal.refused_since(10.0)] == [1, 3]
    assert journal.accepting_since(10.8) is None


# -- a watch over books of the test's own


class FakeProcessor:
    def __init__(self) -> None:
        self.charges: dict[str, Entry] = {}

    def listed(self, **_window: str) -> list[dict[str, Any]]:
        return [
            {
                "correlationId": one.correlation_id,
                "amount": one.cents / 100,
                "requestedAt": format_instant(one.requested_us),
            }
            for one in self.charges.values()
        ]


class FakeLedger:
    def __init__(self) -> None:
        self.settled: dict[str, Entry] = {}

    def settled_of(self, correlation_ids: list[str], since_us: int) -> set[str]:
        return self.settled.keys() & set(correlation_ids)

    def entries(self, since_us: int = 0) -> list[Entry]:
        return list(self.settled.values())


class World:
    """Ten accepted payments, charged by the cheap processor and settled."""

    def __init__(self, path: Path) -> None:
        self.job = Job(1, 1.0, salt=7, journal=str(path))
        self.ids = [self.job.id_of(number) for number in range(10)]
        self.default, self.fallback, self.ledger = FakeProcessor(), FakeProcessor(), FakeLedger()
        self.kept: set[str] = set()
        lines = [sent_line(n, 1.0 + n) + attempt_line(Attempt(n, 1.0 + n, 1.5 + n, 202)) for n in range(10)]
        journal = journal_of(path, *lines)
        journal._at = 0
        journal.sent, journal.accepted, journal.accepts, journal.refusals = {}, {}, [], []
        for number, one in enumerate(self.ids):
            charge = Entry("default", one, cents_of(number), US + number)
            self.default.charges[one] = self.ledger.settled[one] = charge
        processors: Any = {"default": self.default, "fallback": self.fallback}
        self.watch = Watch(self.job, journal, self.ledger, processors, lambda ids: self.kept & set(ids))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "j")


def test_a_watch_finds_nothing_where_nothing_is_wrong(world):
    world.watch.refresh()
    assert world.watch.in_flight == 0
    assert world.watch.compare_settled().agree
    assert world.watch.compare_all().agree


def test_a_watch_compares_each_payment_once_and_those_not_settled_later(world):
    late = world.ids[3]
    settled = world.ledger.settled.pop(late)
    charge = world.default.charges.pop(late)
    world.watch.refresh()
    assert world.watch.in_flight == 1
    assert world.watch.compare_settled().agree
    world.ledger.settled[late] = settled
    world.watch.refresh()
    assert world.watch.compare_settled().lost == {late}
    world.default.charges[late] = charge
    assert world.watch.compare_settled().agree
    assert world.watch.compare_all().agree


def test_a_watch_gives_up_a_payment_that_no_store_has_but_waits_for_one_in_the_queue(world, monkeypatch):
    monkeypatch.setattr(watching, "KEPT_S", 0.0)
    monkeypatch.setattr(watching, "SETTLE_WITHIN_S", 0.3)
    gone, queued = world.ids[:2]
    for one in (gone, queued):
        del world.ledger.settled[one], world.default.charges[one]
    world.kept = {queued}
    world.watch.refresh()
    assert world.watch.wait_until_settled({gone}) is None
    assert world.watch.stuck == {gone}
    assert world.watch.wait_until_settled({queued}) is None
    assert world.watch.stuck == {gone, queued}
    assert world.watch.compare_all().lost == {gone, queued}


# -- the verdict


def a_round(**changes: Any) -> Round:
    given = {
        "fault": "kill -9 api1",
        "began_s": 0.0,
        "in_flight": 3,
        "kill": True,
        "accepting_s": 0.1,
        "settled_s": 0.2,
    }
    return Round(**(given | changes))


def test_a_clean_round_is_no_failure():
    assert failures([a_round()], lenient_times=False, may_lose=False) == []


@pytest.mark.parametrize("what", ["lost", "doubled", "differing", "stuck"])
def test_books_that_disagree_are_a_failure_however_lenient(what):
    wrong = [a_round(**{what: 1})]
    assert len(failures(wrong, lenient_times=True, may_lose=False)) == 1
    assert failures(wrong, lenient_times=False, may_lose=True) == []


@pytest.mark.parametrize(
    "late", [{"accepting_s": 1.01}, {"accepting_s": None}, {"settled_s": 5.01}, {"settled_s": None}]
)
def test_late_recovery_from_one_death_is_a_failure_unless_times_are_lenient(late):
    assert len(failures([a_round(**late)], lenient_times=False, may_lose=False)) == 1
    assert failures([a_round(**late)], lenient_times=True, may_lose=False) == []
    assert failures([a_round(**late, kill=False)], lenient_times=False, may_lose=False) == []


def test_what_the_death_of_an_api_refused_is_a_failure():
    for refused in ({"refused": 1}, {"unanswered": 1}):
        assert failures([a_round(refuses=False, **refused)], lenient_times=True, may_lose=False)
        assert failures([a_round(**refused)], lenient_times=True, may_lose=False) == []


def test_a_process_that_ended_by_itself_is_a_failure_whatever_is_bearable():
    ended = a_round(defects=["dispatcher1 ended by itself with code 1"])
    assert failures([ended], lenient_times=True, may_lose=True) == ["dispatcher1 ended by itself with code 1"]


def test_what_is_left_behind_is_a_failure():
    left = a_round(fault=AT_THE_END, findings=["Redis still has payments: 1"])
    assert failures([left], lenient_times=True, may_lose=False) == ["Redis still has payments: 1"]


def test_the_table_has_a_row_per_fault_one_for_all_and_one_for_the_end():
    rounds = [a_round(accepting_s=2.0), a_round(fault="pause redis", kill=False), a_round(), a_round(fault=AT_THE_END)]
    table = storm_table("", rounds)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["kill -9 api1", "pause redis", "all", AT_THE_END]
    assert columns[1] == ["2", "1", "3", "1"]
    assert columns[-2][0] == "1.05 / 2.00!"


def test_faults_have_names_of_their_own_and_pair_only_on_different_things():
    faults = cluster_faults()
    assert len({one.name for one in faults}) == len(faults)
    named = {one.name: one for one in faults}
    assert may_pair(named["kill -9 api1"], named["pause redis"])
    assert not may_pair(named["kill -9 redis"], named["pause redis"])
    assert not may_pair(named["kill -9 redis"], named["reload nginx"])


# -- real processes, with faults that no router could survive


@contextmanager
def storm_on_one_file(directory: Path):
    with DiskBed(directory, rate=100) as bed:
        yield Storm(bed, lambda _line: None)


def _forget(bed: DiskBed) -> None:
    bed.watch.processors["default"].purge()


def _charge_again(bed: DiskBed) -> None:
    """Let the dearer processor charge once more what is settled."""
    bed.watch.refresh()
    one = next(each for each in bed.watch.ledger.entries() or () if each.processor == "default")
    body = {
        "correlationId": one.correlation_id,
        "amount": one.cents / 100,
        "requestedAt": format_instant(one.requested_us),
    }
    bed.watch.processors["fallback"].call("POST", "/payments", body)


def _invite(bed: DiskBed) -> None:
    assert bed.target.ask("POST", "/payments", {"correlationId": str(uuid.uuid4()), "amount": 1.0})[0] == 202


def _nothing(_bed: DiskBed) -> None:
    return


def test_without_a_small_disk_a_limit_on_file_sizes_fills_it(tmp_path, monkeypatch):
    monkeypatch.setattr(SmallDisk, "_mount", lambda _disk: False)
    full = next(one for one in disk_faults() if one.name.startswith("disk full"))
    with storm_on_one_file(tmp_path / "storm") as storm:
        found = storm.strike(full, 0.2)
        storm.finish()
    assert found.refused >= 20
    assert found.accepting_s is not None
    assert failures(storm.rounds, lenient_times=True, may_lose=False) == []


def test_a_storm_finds_charges_that_were_forgotten_made_twice_or_nobodys(tmp_path):
    with storm_on_one_file(tmp_path / "storm") as storm:
        assert storm.strike(Fault("nothing", _nothing, _nothing), 0.3).books_agree
        doubled = storm.strike(Fault("charge again", _charge_again, _nothing), 0.2)
        assert doubled.doubled == 1
        assert storm.strike(Fault("a stranger", _invite, _nothing), 0.2).books_agree
        forgotten = storm.strike(Fault("forget", _forget, _nothing), 0.2)
        assert forgotten.lost > 0
        storm.bed.services["serve"].kill()
        revived = storm.strike(Fault("nothing", _nothing, _nothing), 0.0)
        assert [one.splitlines()[0] for one in revived.defects] == ["serve ended by itself with code -9:"]
        last = storm.finish()
    assert any("never sent by a client" in one for one in last.findings)
    assert any("the summary says" in one for one in last.findings)
    first = storm.rounds[0]
    assert first.lost > 0, "what the first round had compared was forgotten later, and is found in the end"
    assert failures(storm.rounds, lenient_times=True, may_lose=False)
