"""What `payrouter audit --follow` prints, line by line, and how it goes on while our own books are away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from application.both_books import Ours, Theirs
from payrouter.application.audit import Difference, Finding
from payrouter.application.follow import Found, NotCompared, Passed, ReadAgain, Resolved, Unread
from payrouter.application.repair import Repair, Verdict
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.ledger import Totals
from payrouter.domain.processor import Processor
from payrouter.domain.window import Window
from payrouter.entrypoints.cli import audit_follow
from payrouter.entrypoints.cli.audit_follow import Pace, Teller, follow
from payrouter.ports.books import BookEntry
from payrouter.settings import Settings

ENTRY = BookEntry("4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3", 1990, 1_752_582_896_000_000)
AT = "2025-07-15T12:34:56.000000Z"
FINDING = Finding(Difference.AMOUNT, "default", ENTRY.correlation_id, ENTRY, BookEntry("x", 1991, ENTRY.requested_us))
SUMS = Finding(Difference.TOTALS, "default", note="ours 1, theirs 2", window=Window(0, ENTRY.requested_us))
PASSED = Passed(ENTRY.requested_us, 2, 3, 4, 5, 6, 7, unnamed=True, due={"fallback": 0})

EVENTS = [
    (
        Found(FINDING),
        f"difference: amount differs at default {ENTRY.correlation_id}: ours 19.90 {AT}; theirs 19.91 {AT} -> "
        "ask default which amount was charged",
        {"event": "difference", "difference": "amount differs", "correlationId": ENTRY.correlation_id},
    ),
    (
        Resolved(SUMS),
        f"resolved: totals differ at default to {AT}: ours 1, theirs 2",
        {"event": "resolved", "difference": "totals differ", "correlationId": None},
    ),
    (
        Unread("default", "no answer", ENTRY.requested_us),
        f"not compared: no answer; from {AT} on stays due",
        {"event": "unread", "processor": "default", "why": "no answer", "dueFrom": AT},
    ),
    (
        Unread("default", "no answer", 0),
        "not compared: no answer; everything stays due",
        {"event": "unread", "dueFrom": None},
    ),
    (
        ReadAgain("default"),
        "compared again: default can be read, and nothing is due",
        {"event": "read again", "processor": "default"},
    ),
    (
        NotCompared("old", Totals(2, 700)),
        "not compared: 2 payments or more, 7.00, at old, which is not configured",
        {"event": "not compared", "processor": "old", "totalRequests": 2, "totalAmount": 7.0},
    ),
    (
        PASSED,
        f"up to {AT}: 2 windows, 3 payments (4 so far), 5 and more differences, 6 resolved, 7 unresolved attempts, "
        "due: fallback",
        {"event": "pass", "to": AT, "windows": 2, "payments": 3, "paymentsSoFar": 4, "differences": 5}
        | {"moreDifferences": True, "resolved": 6, "unresolved": 7, "due": {"fallback": None}},
    ),
]


@pytest.mark.parametrize(("event", "text", "facts"), EVENTS, ids=[type(one[0]).__name__ for one in EVENTS])
def test_every_event_is_one_line_for_people_and_one_for_machines(capsys, event, text, facts):
    Teller(as_json=False).event(event)
    line = capsys.readouterr().out
    assert line.endswith(f"{text}\n")
    assert line.count("\n") == 1
    Teller(as_json=True).event(event)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line).items() >= facts.items()


def test_what_is_left_is_said_once_and_what_is_settled_each_time(capsys):
    teller = Teller(as_json=False)
    for verdict in (Verdict.LEFT, Verdict.LEFT, Verdict.SETTLED, Verdict.SETTLED):
        teller.repair(Repair(verdict, "default", ENTRY, "because"))
    left, *settled = capsys.readouterr().out.splitlines()
    assert left == f"repair: left as it is {ENTRY.correlation_id} at default, 19.90 {AT}: because"
    assert settled == [f"repair: settled {ENTRY.correlation_id} at default, 19.90 {AT}: because"] * 2


def test_what_was_said_of_repairs_is_bounded(monkeypatch, capsys):
    monkeypatch.setattr(audit_follow, "KEPT", 2)
    teller = Teller(as_json=True)
    for number in range(9):
        teller.repair(Repair(Verdict.LEFT, "default", ENTRY, f"reason {number}"))
    assert len(teller._said) == 4
    assert len(capsys.readouterr().out.splitlines()) == 9


class Away(Ours):
    """Our books, away for the first passes."""

    passes = 0

    async def unresolved(self, window, limit):
        self.passes += 1
        if self.passes <= 3:
            raise StoreUnavailable("no connection")
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
        return await super().unresolved(window, limit)


@pytest.mark.parametrize("as_json", [True, False])
def test_our_own_books_away_are_said_once_and_asked_again(monkeypatch, capsys, as_json):
    class Stores:
        @asynccontextmanager
        async def books(self):
            yield Away()

    @asynccontextmanager
    async def theirs(settings):
        yield Theirs()

    monkeypatch.setattr(audit_follow, "installation", lambda settings: Stores())
    monkeypatch.setattr(audit_follow, "processor_books", theirs)
    settings = Settings(processors=(Processor("default", "http://there", Decimal("0.05")),))
    code = asyncio.run(follow(settings, Pace(0, 0.01, 2.0), repair=False, dry_run=False, as_json=as_json))
    assert code == 0
    first, *rest = capsys.readouterr().out.splitlines()
    if as_json:
        assert json.loads(first).items() >= {"event": "our books unread", "why": "no connection"}.items()
    else:
        assert first == "our books cannot be read or written, trying again: no connection"
    assert rest
    assert not [line for line in rest if "no connection" in line]
