"""`payrouter audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from payrouter.adapters.clock import SystemClock
from payrouter.application.audit import KEPT, Auditor, AuditReport, Finding
from payrouter.bootstrap import installation, processor_books
from payrouter.domain.money import format_minor
from payrouter.domain.window import Window, format_instant
from payrouter.entrypoints.cli.common import (
    FromOption,
    JsonOption,
    ToOption,
    print_json,
    terminal,
    window_between,
    window_in_words,
    window_json,
)
from payrouter.entrypoints.cli.plain import settings_in_force
from payrouter.entrypoints.numbers import money
from payrouter.entrypoints.running import run_async

if TYPE_CHECKING:
    from rich.console import Console

    from payrouter.domain.ledger import Totals
    from payrouter.ports.books import BookEntry
    from payrouter.settings import Settings

CLOSED_AFTER_US = 2_000_000
"""A window counts as closed this long after its end: every intent of it has been written by then."""

SHOWN = 50


def audit(*, from_text: FromOption = None, to_text: ToOption = None, as_json: JsonOption = False) -> None:
    """Compare our books with every processor's own: totals, and each payment where one lists them.

    Works while a router runs and when none does. Without --to, or with a later one, all up to two seconds
    ago is compared. Exit code 0 when the books agree, 1 when they do not or a processor cannot be asked.

    Example: `payrouter audit --from 2026-01-31T00:00:00Z --json`
    """
    window = window_between(from_text, to_text)
    closed_us = SystemClock().now_us() - CLOSED_AFTER_US
    window = Window(window.first_us, min(window.last_us, closed_us))
    if window.first_us > window.last_us:
        raise typer.BadParameter(f"--from must lie at least 2 s in the past, got {from_text}")
    report = run_async(_audit(settings_in_force(), window))
    if as_json:
        print_json(_json(report))
    else:
        _show(report, terminal())
    raise typer.Exit(0 if report.agree else 1)


async def _audit(settings: Settings, window: Window) -> AuditReport:
    names = [one.name for one in settings.processors]
    async with installation(settings).books() as ours, processor_books(settings) as theirs:
        return await Auditor(ours, theirs, names).audit(window)


def _show(report: AuditReport, console: Console) -> None:
    console.print(_totals_table(report))
    if report.unresolved_count:
        console.print(_unresolved_table(report))
    if report.findings:
        console.print(_findings_table(report))
    for name, total in report.unaudited.items():
        console.print(
            f"Not compared: {total.count} payments, {format_minor(total.amount_minor)}, at {name}, "
            "which is no longer in PAYROUTER_PROCESSORS."
        )
    for name, one in report.processors.items():
        if not one.listed:
            console.print(f"{name} does not list its payments: only its totals were compared.")
    if report.lookups_left <= 0:
        console.print("Too many differences to look each one up; some kinds are taken from the lists alone.")
    whole = sum(one.ours.count for one in report.processors.values())
    if report.agree:
        amount = format_minor(sum(one.ours.amount_minor for one in report.processors.values()))
        console.print(f"books agree: {whole} payments, {amount}, at {len(report.processors)} processors")
    else:
        counts = ", ".join(f"{count} {difference}" for difference, count in report.counts.items())
        console.print(f"books differ: {counts}", style="bold red")


def _totals_table(report: AuditReport) -> Table:
    table = Table(title=f"Audit, {window_in_words(report.window)}", title_justify="left")
    table.add_column("Processor")
    for heading in ("Ours", "Amount", "Theirs", "Amount", "Unresolved"):
        table.add_column(heading, justify="right")
    table.add_column("Compared by")
    for name, one in report.processors.items():
        sides = [
            text for total in (one.ours, one.theirs) for text in (str(total.count), format_minor(total.amount_minor))
        ]
        table.add_row(name, *sides, str(one.unresolved.count), "payment" if one.listed else "totals")
    return table


def _unresolved_table(report: AuditReport) -> Table:
    shown = _of(min(SHOWN, len(report.unresolved)), report.unresolved_count)
    table = Table(title=f"Unresolved, which is no difference: {shown}", title_justify="left")
    for heading in ("correlationId", "Processor", "Amount", "requestedAt", "State"):
        table.add_column(heading, no_wrap=True)
    for one in report.unresolved[:SHOWN]:
        table.add_row(one.entry.correlation_id, one.processor, *_entry_texts(one.entry), one.state)
    return table


def _findings_table(report: AuditReport) -> Table:
    count = sum(report.counts.values())
    table = Table(title=f"Differences: {_of(min(SHOWN, len(report.findings)), count)}", title_justify="left")
    table.add_column("Difference", no_wrap=True)
    table.add_column("Processor")
    table.add_column("correlationId", no_wrap=True)
    table.add_column("Ours")
    table.add_column("Theirs")
    table.add_column("Note")
    for one in report.findings[:SHOWN]:
        sides = ["\n".join(_entry_texts(entry)) if entry else "" for entry in (one.ours, one.theirs)]
        table.add_row(one.difference.value, one.processor, one.correlation_id, *sides, one.note)
    return table


def _of(shown: int, count: int) -> str:
    return f"the first {shown} of {count}" if shown < count else str(count)


def _entry_texts(entry: BookEntry) -> tuple[str, str]:
    return format_minor(entry.amount_minor), format_instant(entry.requested_us)


# -- for machines


def _json(report: AuditReport) -> dict[str, Any]:
    return {
        "agree": report.agree,
        **window_json(report.window),
        "processors": {
            name: {
                "ours": _totals_json(one.ours),
                "theirs": _totals_json(one.theirs),
                "unresolved": _totals_json(one.unresolved),
                "comparedBy": "payment" if one.listed else "totals",
            }
            for name, one in report.processors.items()
        },
        "counts": {difference.value: count for difference, count in report.counts.items()},
        "differences": [_finding_json(one) for one in report.findings],
        "unresolvedCount": report.unresolved_count,
        "unresolved": [
            {"processor": one.processor, "state": one.state, **_entry_json(one.entry)} for one in report.unresolved
        ],
        "notCompared": {name: _totals_json(total) for name, total in report.unaudited.items()},
        "listedAtMost": KEPT,
    }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {
        "difference": finding.difference.value,
        "processor": finding.processor,
        "correlationId": finding.correlation_id or None,
        "ours": _entry_json(finding.ours) if finding.ours else None,
        "theirs": _entry_json(finding.theirs) if finding.theirs else None,
        "note": finding.note,
    }


def _entry_json(entry: BookEntry) -> dict[str, Any]:
    return {
        "correlationId": entry.correlation_id,
        "amount": money(entry.amount_minor),
        "requestedAt": format_instant(entry.requested_us),
    }


def _totals_json(total: Totals) -> dict[str, Any]:
    return {"totalRequests": total.count, "totalAmount": money(total.amount_minor)}
