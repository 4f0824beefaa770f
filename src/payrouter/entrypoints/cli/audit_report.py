"""How an audit's report looks: tables for people, JSON for machines, and what to do about each difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from payrouter.application.audit import KEPT, AuditReport, Difference, Finding
from payrouter.domain.money import format_minor
from payrouter.domain.window import format_instant
from payrouter.entrypoints.cli.common import window_in_words, window_json
from payrouter.entrypoints.numbers import money

if TYPE_CHECKING:
    from rich.console import Console

    from payrouter.application.repair import Repair, RepairReport
    from payrouter.domain.ledger import Totals
    from payrouter.ports.books import BookEntry

SHOWN = 50

_ADVICE = {
    Difference.MISSING_HERE: "find out who had it charged at {0}; --repair settles it if it waits here and is proven",
    Difference.MISSING_THERE: "ask {0} what became of it: it had said charged; it is never charged again by itself",
    Difference.AMOUNT: "ask {0} which amount was charged",
    Difference.INSTANT: "it is charged on both sides; sums of windows between the two instants differ",
    Difference.CHARGED_TWICE: "have one charge refunded",
    Difference.TOTALS: "ask {0} for its payments of this time",
}


def advice(finding: Finding) -> str:
    """Return what an operator can do about a difference."""
    return _ADVICE[finding.difference].format(finding.processor)


def in_words(finding: Finding) -> str:
    """Return a difference on one line."""
    what = f" {finding.correlation_id}" if finding.correlation_id else ""
    if finding.window is not None:
        what = f" {window_in_words(finding.window)}"
    sides = [
        f"{name} {' '.join(entry_texts(entry))}"
        for name, entry in (("ours", finding.ours), ("theirs", finding.theirs))
        if entry is not None
    ]
    details = "; ".join(text for text in (*sides, finding.note) if text)
    return f"{finding.difference} at {finding.processor}{what}: {details}"


def repair_in_words(repair: Repair) -> str:
    """Return what became of a payment on one line."""
    amount, instant = entry_texts(repair.theirs)
    at = f"{repair.theirs.correlation_id} at {repair.processor}, {amount} {instant}"
    return f"{repair.verdict} {at}: {repair.why}"


def repair_json(repair: Repair) -> dict[str, Any]:
    """Return what became of a payment, for machines."""
    return {
        "verdict": repair.verdict.value,
        "processor": repair.processor,
        **entry_json(repair.theirs),
        "why": repair.why,
    }


def show_repairs(report: RepairReport, console: Console) -> None:
    """Say what a round of repairs came to, after each payment was told."""
    if report.unproven:
        console.print(f"{report.unproven} are not in their processor's books (yet): left as they are")
    for why in report.unread.values():
        console.print(f"Not repaired: {why}")


def show(report: AuditReport, console: Console) -> None:
    """Print a report as tables."""
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
        for difference in report.counts:
            names = sorted({one.processor for one in report.findings if one.difference is difference})
            console.print(f"{difference}: {_ADVICE[difference].format(' or '.join(names))}")
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
        table.add_row(one.entry.correlation_id, one.processor, *entry_texts(one.entry), one.state)
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
        sides = ["\n".join(entry_texts(entry)) if entry else "" for entry in (one.ours, one.theirs)]
        table.add_row(one.difference.value, one.processor, one.correlation_id, *sides, one.note)
    return table


def _of(shown: int, count: int) -> str:
    return f"the first {shown} of {count}" if shown < count else str(count)


def entry_texts(entry: BookEntry) -> tuple[str, str]:
    """Return amount and instant for people."""
    return format_minor(entry.amount_minor), format_instant(entry.requested_us)


# -- for machines


def report_json(report: AuditReport) -> dict[str, Any]:
    """Return a report for machines."""
    return {
        "agree": report.agree,
        **window_json(report.window),
        "processors": {
            name: {
                "ours": totals_json(one.ours),
                "theirs": totals_json(one.theirs),
                "unresolved": totals_json(one.unresolved),
                "comparedBy": "payment" if one.listed else "totals",
            }
            for name, one in report.processors.items()
        },
        "counts": {difference.value: count for difference, count in report.counts.items()},
        "differences": [finding_json(one) for one in report.findings],
        "unresolvedCount": report.unresolved_count,
        "unresolved": [
            {"processor": one.processor, "state": one.state, **entry_json(one.entry)} for one in report.unresolved
        ],
        "notCompared": {name: totals_json(total) for name, total in report.unaudited.items()},
        "listedAtMost": KEPT,
    }


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return a difference for machines."""
    return {
        "difference": finding.difference.value,
        "processor": finding.processor,
        "correlationId": finding.correlation_id or None,
        "ours": entry_json(finding.ours) if finding.ours else None,
        "theirs": entry_json(finding.theirs) if finding.theirs else None,
        "note": finding.note,
        "advice": advice(finding),
    }


def entry_json(entry: BookEntry) -> dict[str, Any]:
    """Return one side's entry for machines."""
    return {
        "correlationId": entry.correlation_id,
        "amount": money(entry.amount_minor),
        "requestedAt": format_instant(entry.requested_us),
    }


def totals_json(total: Totals) -> dict[str, Any]:
    """Return number and sum for machines."""
    return {"totalRequests": total.count, "totalAmount": money(total.amount_minor)}
