"""`payrouter audit`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from payrouter.adapters.clock import SystemClock
from payrouter.application.audit import Auditor, AuditReport, Books
from payrouter.application.repair import Repair, Repairer, RepairReport
from payrouter.bootstrap import installation, processor_books
from payrouter.domain.errors import StoreError
from payrouter.domain.window import Window
from payrouter.entrypoints.cli.audit_follow import Pace, follow
from payrouter.entrypoints.cli.audit_report import repair_in_words, repair_json, report_json, show, show_repairs
from payrouter.entrypoints.cli.common import FromOption, JsonOption, ToOption, print_json, terminal, window_between
from payrouter.entrypoints.cli.plain import say, settings_in_force
from payrouter.entrypoints.cli.progress import progress
from payrouter.entrypoints.running import run_async
from payrouter.ports.books import BooksUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from payrouter.settings import Settings

CLOSED_AFTER_S = 2.0
"""A window counts as closed this long after its end: every intent of it has been written by then."""

FOLLOWED_AFTER_S = 30.0
"""With --follow it is longer: attempts under way should have come to an end too, or each would be told as missing."""

EVERY_S = 10.0
COULD_NOT_COMPARE = 2


@dataclass(slots=True)
class _Audited:
    """What stands after the repairs, if there were any, and what they were."""

    report: AuditReport
    repaired: RepairReport = field(default_factory=RepairReport)
    repairs: list[Repair] = field(default_factory=list)


def audit(  # noqa: PLR0913 - the command's options
    *,
    from_text: FromOption = None,
    to_text: ToOption = None,
    follow_on: Annotated[
        bool, typer.Option("--follow", help="Go on until Ctrl-C: compare windows as they close, tell what is new.")
    ] = False,
    every_s: Annotated[
        float | None,
        typer.Option("--every", metavar="SECONDS", min=0.1, help="With --follow: pause between passes (10)."),
    ] = None,
    settle_for_s: Annotated[
        float | None,
        typer.Option(
            "--settle-for", metavar="SECONDS", min=2.0, help="Compare what is so old (2, with --follow 30) or older."
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Settle what a processor's own record proves was charged.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: only say what would be done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare our books with every processor's own: totals, and each payment where one lists them.

    Works while a router runs and when none does. Without --to, or with a later one, all up to two seconds
    ago is compared.

    --follow goes on: each pass compares what has closed since, names each difference once, and says when it is
    none any more; it looks back too, as a processor may charge late. A processor that cannot be read is said and
    asked again, and what it missed stays due. With --json, one object per line.

    --repair settles payments that a processor's own record proves were charged: same id, amount and instant as
    our unresolved attempt there; or same id and amount for one that waits here without an attempt, and that no
    other processor has. It sends no payment, ever: what is missing there is not charged again, and all other
    differences are only told.

    Exit code 0 when the books agree, 1 when differences stand, 2 when something could not be compared.

    Example: `payrouter audit --from 2026-01-31T00:00:00Z --json`

    Example: `payrouter audit --follow --every 60 --settle-for 120`

    Example: `payrouter audit --repair --dry-run`, and then without `--dry-run`
    """
    window = window_between(from_text, to_text)
    if dry_run and not repair:
        raise typer.BadParameter("--dry-run is for --repair")
    if follow_on and to_text is not None:
        raise typer.BadParameter("--follow has no end: leave out --to")
    if every_s is not None and not follow_on:
        raise typer.BadParameter("--every is for --follow")
    settle_for_s = settle_for_s or (FOLLOWED_AFTER_S if follow_on else CLOSED_AFTER_S)
    if follow_on:
        pace = Pace(window.first_us, every_s or EVERY_S, settle_for_s)
        work = follow(settings_in_force(), pace, repair=repair, dry_run=dry_run, as_json=as_json)
        raise typer.Exit(_ended(work))
    closed_us = SystemClock().now_us() - round(settle_for_s * 1_000_000)
    window = Window(window.first_us, min(window.last_us, closed_us))
    if window.first_us > window.last_us:
        raise typer.BadParameter(f"--from must lie at least {settle_for_s:g} s in the past, got {from_text}")
    raise typer.Exit(_ended(_once(settings_in_force(), window, repair=repair, dry_run=dry_run, as_json=as_json)))


def _ended(work: Coroutine[Any, Any, int]) -> int:
    """Run an audit and return its exit code."""
    try:
        return run_async(work)
    except (BooksUnavailable, StoreError) as error:
        say(f"payrouter: {error}")
        return COULD_NOT_COMPARE


async def _once(settings: Settings, window: Window, *, repair: bool, dry_run: bool, as_json: bool) -> int:
    console = terminal()
    audited = await _audited(settings, window, repair=repair, dry_run=dry_run)
    report = audited.report
    if as_json:
        answer = report_json(report)
        if repair:
            answer |= {
                "repairs": [repair_json(one) for one in audited.repairs],
                "unproven": audited.repaired.unproven,
                "notRepaired": audited.repaired.unread,
            }
        print_json(answer)
    else:
        show(report, console)
        for one in audited.repairs:
            console.print(repair_in_words(one), soft_wrap=True)
        show_repairs(audited.repaired, console)
    return 0 if report.agree else 1


async def _audited(settings: Settings, window: Window, *, repair: bool, dry_run: bool) -> _Audited:
    names = tuple(one.name for one in settings.processors)
    stores = installation(settings)
    async with AsyncExitStack() as stack:
        books = Books(
            await stack.enter_async_context(stores.books()),
            await stack.enter_async_context(processor_books(settings)),
            names,
        )
        auditor = Auditor(books.ours, books.theirs, names)
        # Not where the report goes, which other programs may read.
        with progress(Console(stderr=True), "comparing payments", None, transient=True) as tell:
            audited = _Audited(await auditor.audit(window, tell=lambda done, total: tell(done, total=total)))
        if repair:
            charges = None if dry_run else await stack.enter_async_context(stores.charges())
            repairer = Repairer(books, charges, SystemClock(), audited.repairs.append)
            audited.repaired = await repairer.repair(audited.report.unresolved, audited.report.findings)
            if audited.repaired.settled:
                # What stands now is what counts.
                audited.report = await auditor.audit(window)
        return audited
