"""Settled payments in PostgreSQL, their roll-ups and their summary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from payrouter.adapters.postgres.statements import FIND, KNOWN, NAME, PURGE, SETTLE, SUMMARY
from payrouter.adapters.rows import read_failures, write_failures
from payrouter.domain.ledger import PaymentRecord, Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import ROLLUP_SHIFTS, Cover, Window, cover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.postgres.store import PostgresStore
    from payrouter.domain.ledger import AttemptRecord, Settlement


@dataclass(frozen=True, slots=True)
class SettledRow:
    """A charge with what happened before it: the number of attempts, itself included, and those that failed."""

    settlement: Settlement
    attempts: int
    failures: tuple[AttemptRecord, ...]


class PostgresLedger:
    """Settled payments.

    `lane`: a small number, best each dispatcher's own, so that they do not wait for the same roll-up rows.
    """

    def __init__(self, store: PostgresStore, *, lane: int = 0) -> None:
        self._store = store
        self.lane = lane

    async def name(self, processors: Sequence[str]) -> None:
        """Make processors known before they are settled at. Settling does it too, after a refusal in the server's log.

        Raises:
            StoreUnavailable: it cannot be done now.
        """
        await self._store.fetch(NAME, sorted(processors))

    async def settle(self, rows: Sequence[SettledRow]) -> list[bool]:
        """Write charges in one transaction; False where the payment had been settled before.

        Raises:
            StoreUnavailable: nothing was written; repeat it.
            StoreUncertain: all or nothing was written. Repeated, it says False of what was.
        """
        first: dict[str, SettledRow] = {}
        for row in rows:
            first.setdefault(row.settlement.intent.delivery.correlation_id, row)
        if not first:
            return []
        names = sorted({row.settlement.intent.processor for row in rows})
        values = (*_columns(first, names), self.lane, ROLLUP_SHIFTS, names)
        try:
            found = await self._store.fetch(SETTLE, *values)
        except asyncpg.NotNullViolationError:
            # A processor's first settlement, ever or in this database.
            await self._store.fetch(NAME, names)
            found = await self._store.fetch(SETTLE, *values)
        if len(found) == len(rows):
            return [True] * len(rows)
        new = {str(record["id"]) for record in found}
        written = []
        for row in rows:
            correlation_id = row.settlement.intent.delivery.correlation_id
            written.append(correlation_id in new)
            new.discard(correlation_id)
        return written

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name, from one snapshot; those without a payment in the window are left out."""
        found = await self._store.fetch(SUMMARY, *_pieces(cover(window)))
        return {name: Totals(count, amount) for name, count, amount in found}

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return a settled payment; None for any other."""
        found = await self._store.fetch(FIND, correlation_id)
        if not found:
            return None
        row = found[0]
        return PaymentRecord(
            correlation_id=str(row["id"]),
            amount_minor=row["amount"],
            accepted_us=row["accepted_us"],
            state=PaymentState.SETTLED,
            attempts=row["attempts"],
            processor=row["name"],
            requested_us=row["requested_us"],
            settled_us=row["settled_us"],
            latency_ms=row["latency_us"] / 1000,
            reason=row["reason"],
            failures=read_failures(row["failures"]),
        )

    async def known(self, correlation_ids: Sequence[str]) -> dict[str, int]:
        """Return the amounts, in minor units, of those that are settled."""
        found = await self._store.fetch(KNOWN, correlation_ids)
        return {str(number): amount for number, amount in found}

    async def purge(self) -> None:
        """Forget every settled payment; names of processors stay."""
        await self._store.fetch(PURGE)


def _columns(rows: dict[str, SettledRow], names: list[str]) -> list[list[object]]:
    """Return the first parameters of `SETTLE`: a list per column."""
    places = {name: place for place, name in enumerate(names, start=1)}
    settlements = [row.settlement for row in rows.values()]
    intents = [one.intent for one in settlements]
    deliveries = [one.delivery for one in intents]
    return [
        list(rows),
        [one.amount_minor for one in deliveries],
        [one.accepted_us for one in deliveries],
        [one.requested_us for one in intents],
        [one.settled_us for one in settlements],
        [int(one.latency_ms * 1000) for one in settlements],
        [places[one.processor] for one in intents],
        [row.attempts for row in rows.values()],
        [one.reason for one in intents],
        [write_failures(row.failures) for row in rows.values()],
    ]


def _pieces(covering: Cover) -> tuple[list[int], ...]:
    """Return the parameters of `SUMMARY`: a list per column, of edges and then of buckets."""
    edges, buckets = covering.edges, covering.buckets
    return (
        [one.first_us for one in edges],
        [one.last_us for one in edges],
        [one.shift for one in buckets],
        [one.first for one in buckets],
        [one.last for one in buckets],
    )
