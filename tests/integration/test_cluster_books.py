"""What only the books of a cluster have to cope with: a scan of Redis that comes across a payment twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from payrouter.adapters import cluster_books
from payrouter.adapters.redis.records import Record
from payrouter.domain.ledger import Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


def id_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def test_a_payment_seen_twice_counts_once_and_order_is_that_of_acceptance(monkeypatch: pytest.MonkeyPatch) -> None:
    # As text "9-0" comes after "10-0"; as places in a stream before.
    places = {1: "10-0", 2: "9-1", 3: "9-0", 4: "11-0"}

    async def scan(*_: Any) -> AsyncIterator[tuple[str, Record]]:
        for number in (1, 2, 3, 4, 2, 1):
            attempt = ("default", 1000 + number, "cheapest")
            yield id_of(number), Record(PaymentState.PINNED, 100, 1, places[number], 1, attempt)

    monkeypatch.setattr(cluster_books, "scan_records", scan)
    nothing: Any = None
    books = cluster_books.ClusterBooks(nothing, nothing, nothing)
    totals, attempts = asyncio.run(books.unresolved(Window(1000, 1003), 2))
    assert totals == {"default": Totals(3, 300)}
    assert [one.entry.correlation_id for one in attempts] == [id_of(3), id_of(2)]
