"""How the desk looks as JSON. Money is text with two decimals: a browser's numbers would lose cents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payrouter import __version__
from payrouter.application.story import story
from payrouter.domain.money import format_minor
from payrouter.domain.window import format_instant
from payrouter.entrypoints.api.views import payment_view

if TYPE_CHECKING:
    from collections.abc import Iterable

    from payrouter.application.audit import Finding
    from payrouter.application.books_watch import BooksReport
    from payrouter.application.desk import Overview, Point, ProcessorOverview, Waiting
    from payrouter.bootstrap.operating import Operations
    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.processor import Processor
    from payrouter.domain.snapshot import NodeSnapshot
    from payrouter.ports.queue import DeadLetter

SHOWN_DIFFERENCES = 200


def overview_view(seen: Overview, operations: Operations) -> dict[str, Any]:
    """Return an overview."""
    money, rates = seen.money, seen.rates
    return {
        "at": format_instant(seen.at_us),
        "version": __version__,
        "engine": operations.where,
        "clustered": operations.clustered,
        "rates": {
            "accepted": round(rates.accepted, 1),
            "settled": round(rates.settled, 1),
            "failed": round(rates.failed, 1),
        },
        "backlog": {
            "waiting": seen.backlog.count,
            "oldestAgeSeconds": _age_s(seen.backlog, seen.at_us),
            "reason": seen.reason,
        },
        "processors": [_processor(one, seen) for one in seen.processors],
        "money": {
            "settled": money.settled.count,
            "amount": format_minor(money.settled.amount_minor),
            "fees": format_minor(money.fees_minor),
            "savedAgainstDearest": format_minor(money.saved_minor),
            "lostAgainstCheapest": format_minor(money.lost_minor),
        },
        "nodes": [_node(one, seen.at_us) for one in seen.nodes],
        "unknown": {"count": seen.unknown.count, "oldestAgeSeconds": _age_s(seen.unknown, seen.at_us)},
        "deadLetters": {"count": seen.dead_letters},
        "webhooks": None
        if seen.webhooks is None
        else {"waiting": seen.webhooks.count, "oldestAgeSeconds": _age_s(seen.webhooks, seen.at_us)},
        "audit": _audit_in_short(seen.books),
        "problems": list(seen.problems),
    }


def _age_s(waiting: Waiting, at_us: int) -> float | None:
    return None if waiting.since_us is None else round(max(0, at_us - waiting.since_us) / 1_000_000, 1)


def _processor(one: ProcessorOverview, overview: Overview) -> dict[str, Any]:
    seen, name, whole = one.seen, one.processor.name, overview.money.settled.count
    return {
        "name": name,
        "feePercent": one.processor.fee_percent,
        "standing": seen.standing if seen else "unknown",
        "breaker": seen.breaker if seen else None,
        "paused": seen.paused if seen else False,
        "reportedMs": _rounded(seen.reported_ms if seen else None),
        "reportedFailing": seen.reported_failing if seen else False,
        "observedMs": _rounded(seen.observed_ms if seen else None),
        "inFlight": seen.in_flight if seen else 0,
        "limit": seen.limit if seen else 0,
        "pinned": seen.pinned if seen else 0,
        "settledPerSecond": round(overview.rates.settled_by.get(name, 0.0), 1),
        "failedPerSecond": round(overview.rates.failed_by.get(name, 0.0), 1),
        "share": round(one.settled.count / whole, 4) if whole else 0.0,
        "settled": one.settled.count,
        "amount": format_minor(one.settled.amount_minor),
        "fees": format_minor(one.fees_minor),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _node(one: NodeSnapshot, at_us: int) -> dict[str, Any]:
    life_s = max((one.at_us - one.started_us) / 1_000_000, 0.001)
    return {
        "name": one.name,
        "role": one.role,
        "host": one.host,
        "pid": one.pid,
        "version": one.version,
        "leads": one.leads,
        "seenSecondsAgo": round(one.seen_s_ago, 1),
        "uptimeSeconds": round(max(0, at_us - one.started_us) / 1_000_000, 1),
        "memoryMb": round(one.total("process_resident_memory_bytes") / 1e6, 1),
        "cpu": round(one.total("process_cpu_seconds_total") / life_s, 3),
    }


def history_view(points: Iterable[Point], names: tuple[str, ...]) -> dict[str, Any]:
    """Return history, a list per figure."""
    kept = list(points)
    return {
        "stepSeconds": 1,
        "at": [round(one.at_us / 1_000_000, 3) for one in kept],
        "accepted": [round(one.rates.accepted, 1) for one in kept],
        "settled": [round(one.rates.settled, 1) for one in kept],
        "waiting": [one.backlog.count for one in kept],
        "oldestAgeSeconds": [_age_s(one.backlog, one.at_us) for one in kept],
        "processors": {
            name: {
                "settled": [round(one.rates.settled_by.get(name, 0.0), 1) for one in kept],
                "observedMs": [_rounded(one.observed_ms.get(name)) for one in kept],
            }
            for name in names
        },
    }


def story_view(record: PaymentRecord, processors: tuple[Processor, ...]) -> dict[str, Any]:
    """Return a payment as clients see it, and everything that happened to it."""
    steps = [
        {"at": format_instant(step.at_us), "kind": step.kind.value, "text": step.text}
        for step in story(record, processors)
    ]
    return {**payment_view(record, processors), "story": steps}


def dead_letter_view(one: DeadLetter) -> dict[str, Any]:
    """Return a dead letter."""
    return {
        "correlationId": one.correlation_id,
        "amount": format_minor(one.amount_minor),
        "acceptedAt": format_instant(one.accepted_us) if one.accepted_us else None,
        "reason": one.reason,
        "pinnedTo": one.pinned_to,
    }


# -- audit

_STATES = {
    "off": "the books are not compared: PAYROUTER_AUDIT_EVERY_S is 0",
    "never": "not compared yet",
    "agree": "the books agree",
    "differ": "the books differ",
}


def _audit_in_short(report: BooksReport) -> dict[str, Any]:
    return {
        "state": report.state.value,
        "at": format_instant(report.at_us) if report.at_us else None,
        "text": _text(report),
        "differences": len(report.findings),
    }


def _text(report: BooksReport) -> str:
    unread = "; ".join(one.why for one in report.processors if one.why)
    return report.why or unread or _STATES.get(report.state.value, "")


def books_view(report: BooksReport) -> dict[str, Any]:
    """Return the last comparison of the books."""
    return {
        "state": report.state.value,
        "text": _text(report),
        "at": format_instant(report.at_us) if report.at_us else None,
        "from": format_instant(report.first_us) if report.first_us else None,
        "to": format_instant(report.last_us) if report.last_us else None,
        "processors": [
            {
                "name": one.name,
                "state": one.state.value,
                "ours": _totals(one.ours),
                "theirs": None if one.theirs is None else _totals(one.theirs),
                "text": one.why,
            }
            for one in report.processors
        ],
        "differences": [_difference(one) for one in report.findings[:SHOWN_DIFFERENCES]],
        "differencesInAll": len(report.findings),
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return {"count": totals.count, "amount": format_minor(totals.amount_minor)}


def _difference(one: Finding) -> dict[str, Any]:
    entry = one.theirs or one.ours
    sides = [
        f"{side} {format_minor(entry.amount_minor)} at {format_instant(entry.requested_us)}"
        for side, entry in (("ours", one.ours), ("theirs", one.theirs))
        if entry is not None
    ]
    return {
        "correlationId": one.correlation_id or None,
        "processor": one.processor,
        "kind": one.difference.value,
        "text": "; ".join(text for text in (*sides, one.note) if text),
        "at": format_instant(entry.requested_us) if entry is not None else None,
    }
