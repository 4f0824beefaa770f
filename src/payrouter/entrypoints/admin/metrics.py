"""What an overview is to Prometheus: every process' own figures, and the installation's."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from payrouter.adapters.prometheus import CONTENT_TYPE, exposition
from payrouter.application.books_watch import BooksState
from payrouter.domain.snapshot import Count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from payrouter.application.books_watch import BooksReport
    from payrouter.application.desk import Overview, Waiting

__all__ = ["CONTENT_TYPE", "scrape"]

ROLES = ("router", "api", "dispatcher")


def scrape(seen: Overview) -> bytes:
    """Return the text for `GET /metrics`.

    What a store did not tell is left out: a 0 in its place would say that all is well.
    """
    return exposition(seen.nodes, _installation(seen))


def _installation(seen: Overview) -> Iterator[Count]:
    if "backlog" not in seen.unread:
        yield from _waiting("backlog_payments", "backlog_oldest_seconds", seen.backlog, seen.at_us)
    if "nodes" not in seen.unread:
        yield from _waiting("unknown_outcomes", "unknown_oldest_seconds", seen.unknown, seen.at_us)
        living = Counter(node.role for node in seen.nodes)
        for role in ROLES:
            yield Count("processes", (role,), living[role])
        yield Count("leaders", (), sum(node.leads for node in seen.nodes))
    if "dead_letters" not in seen.unread:
        yield Count("dead_letters", (), seen.dead_letters)
        yield Count("poison_entries", (), seen.poison)
    if seen.webhooks is not None and "webhooks" not in seen.unread:
        yield from _waiting("webhooks_waiting", "webhooks_oldest_seconds", seen.webhooks, seen.at_us)
    yield from _books(seen.books)


def _waiting(count: str, age: str, waiting: Waiting, at_us: int) -> Iterator[Count]:
    since_us = at_us if waiting.since_us is None else waiting.since_us
    yield Count(count, (), waiting.count)
    yield Count(age, (), max(0, at_us - since_us) / 1_000_000)


def _books(report: BooksReport) -> Iterator[Count]:
    if report.state is BooksState.OFF:
        return
    yield Count("books_compared_timestamp_seconds", (), report.compared_us / 1_000_000)
    differing = {one.processor for one in report.findings}
    for one in report.processors:
        differs = one.state is BooksState.DIFFER or one.name in differing
        # A difference stands until it is resolved, even while a processor cannot be read.
        if differs or one.state is BooksState.AGREE:
            yield Count("books_differ", (one.name,), int(differs))
