"""`payrouter audit --follow`: pass after pass until Ctrl-C or SIGTERM, a line for whatever happens."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

import msgspec
import typer

from payrouter.adapters.clock import SystemClock
from payrouter.application.audit import KEPT, Books
from payrouter.application.follow import Event, Follower, Found, NotCompared, Passed, ReadAgain, Resolved, Unread
from payrouter.application.repair import Repair, Repairer, Verdict
from payrouter.bootstrap import installation, processor_books
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.money import format_minor
from payrouter.domain.window import format_instant
from payrouter.entrypoints.cli.audit_report import (
    advice,
    finding_json,
    in_words,
    repair_in_words,
    repair_json,
    totals_json,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from payrouter.settings import Settings


@dataclass(frozen=True, slots=True)
class Pace:
    """From which instant on to compare, how long to pause between passes, and how old a window has to be."""

    first_us: int
    every_s: float
    settle_for_s: float


class Teller:
    """Prints what happens, a line each, as text or as JSON; what was said of a repair is not said again."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._said: dict[Repair, None] = {}
        self._books_unread = ""

    def event(self, event: Event) -> None:
        """Print what the audit tells."""
        self._print(_event_json(event) if self._as_json else _event_text(event))
        self._books_unread = ""

    def repair(self, repair: Repair) -> None:
        """Print what became of a payment."""
        if repair in self._said:
            return
        if repair.verdict is not Verdict.SETTLED:
            self._said[repair] = None
            if len(self._said) > 2 * KEPT:
                self._said.pop(next(iter(self._said)))
        if self._as_json:
            self._print({"event": "repair", "at": _now(), **repair_json(repair)})
        else:
            self._print(f"repair: {repair_in_words(repair)}")

    def books_unread(self, error: StoreUnavailable) -> None:
        """Print that our own books cannot be read, once until something else happens."""
        why = str(error)
        if why != self._books_unread:
            self._books_unread = why
            if self._as_json:
                self._print({"event": "our books unread", "at": _now(), "why": why})
            else:
                self._print(f"our books cannot be read or written, trying again: {why}")

    def _print(self, what: str | dict[str, Any]) -> None:
        typer.echo(what if isinstance(what, str) else msgspec.json.encode(what).decode())


async def follow(settings: Settings, pace: Pace, *, repair: bool, dry_run: bool, as_json: bool) -> int:
    """Audit until SIGINT or SIGTERM; return the exit code: 0 agree, 1 differ, 2 something is not compared."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clock, teller, stores = SystemClock(), Teller(as_json=as_json), installation(settings)
    async with AsyncExitStack() as stack:
        books = Books(
            await stack.enter_async_context(stores.books()),
            await stack.enter_async_context(processor_books(settings)),
            tuple(one.name for one in settings.processors),
        )
        repairer = None
        if repair:
            charges = None if dry_run else await stack.enter_async_context(stores.charges())
            repairer = Repairer(books, charges, clock, teller.repair)
        follower = Follower(books, teller.event, first_us=pace.first_us, repairer=repairer)
        while not stop.is_set():
            try:
                await _unless(stop, follower.look(clock.now_us() - round(pace.settle_for_s * 1_000_000)))
            except StoreUnavailable as error:
                teller.books_unread(error)
            await _unless(stop, asyncio.sleep(pace.every_s))
    if follower.differ:
        return 1
    return 2 if follower.behind else 0


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do something, broken off when it is time to stop."""
    doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        doing.cancel()
        await asyncio.wait((doing,))
    if not doing.cancelled():
        doing.result()


def _now() -> str:
    return format_instant(SystemClock().now_us())


def _event_text(event: Event) -> str:
    match event:
        case Found(finding):
            return f"difference: {in_words(finding)} -> {advice(finding)}"
        case Resolved(finding):
            return f"resolved: {in_words(finding)}"
        case Unread(_, why, due_us):
            since = f"from {format_instant(due_us)} on" if due_us else "everything"
            return f"not compared: {why}; {since} stays due"
        case ReadAgain(processor):
            return f"compared again: {processor} can be read, and nothing is due"
        case NotCompared(processor, totals):
            amount = format_minor(totals.amount_minor)
            return f"not compared: {totals.count} payments or more, {amount}, at {processor}, which is not configured"
        case Passed():
            more = " and more" if event.unnamed else ""
            due = f", due: {', '.join(event.due)}" if event.due else ""
            return (
                f"{_now()} up to {format_instant(event.closed_us)}: {event.windows} windows, "
                f"{event.payments} payments ({event.compared} so far), {event.standing}{more} differences, "
                f"{event.resolved} resolved, {event.unresolved} unresolved attempts{due}"
            )
        case _:
            assert_never(event)


def _event_json(event: Event) -> dict[str, Any]:
    match event:
        case Found(finding):
            return {"event": "difference", "at": _now(), **finding_json(finding)}
        case Resolved(finding):
            return {"event": "resolved", "at": _now(), **finding_json(finding)}
        case Unread(processor, why, due_us):
            due = format_instant(due_us) if due_us else None
            return {"event": "unread", "at": _now(), "processor": processor, "why": why, "dueFrom": due}
        case ReadAgain(processor):
            return {"event": "read again", "at": _now(), "processor": processor}
        case NotCompared(processor, totals):
            return {"event": "not compared", "at": _now(), "processor": processor, **totals_json(totals)}
        case Passed():
            return {
                "event": "pass",
                "at": _now(),
                "to": format_instant(event.closed_us),
                "windows": event.windows,
                "payments": event.payments,
                "paymentsSoFar": event.compared,
                "differences": event.standing,
                "moreDifferences": event.unnamed,
                "resolved": event.resolved,
                "unresolved": event.unresolved,
                "due": {name: format_instant(due_us) if due_us else None for name, due_us in event.due.items()},
            }
        case _:
            assert_never(event)
