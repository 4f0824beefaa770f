"""Our books on the cluster engine, whether or not a router runs: PostgreSQL has what is settled, Redis the rest.

What is settled leaves Redis a moment after it came into PostgreSQL, so it may be seen in both, but never in neither.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.views import read_payment, scan_records
from payrouter.domain.ledger import Totals
from payrouter.ports.books import BookEntry, UnresolvedAttempt

if TYPE_CHECKING:
    from payrouter.adapters.postgres.books import PostgresBooks
    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys
    from payrouter.domain.ledger import PaymentRecord
    from payrouter.domain.window import Window

_log = logging.getLogger("payrouter")


class ClusterBooks:
    """`RouterBooks` over both stores."""

    def __init__(self, link: RedisLink, keys: Keys, settled: PostgresBooks) -> None:
        self._link = link
        self._keys = keys
        self._settled = settled

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals of settled payments by processor; those without any are left out."""
        return await self._settled.summary(window)

    async def slice_end_us(self, window: Window, most: int) -> int:
        """Return where to end a slice from the window's start on that holds about `most` settled payments."""
        return await self._settled.slice_end_us(window, most)

    async def settled(self, window: Window) -> dict[str, dict[str, BookEntry]]:
        """Return the settled payments of a window, by processor and correlationId."""
        return await self._settled.settled(window)

    async def unresolved(self, window: Window, limit: int) -> tuple[dict[str, Totals], list[UnresolvedAttempt]]:
        """Return unresolved attempts of a window: totals by processor, and the first `limit` by age.

        Reads every payment that is not settled, waiting ones too.
        """
        totals: dict[str, Totals] = {}
        oldest: list[tuple[tuple[int, ...], UnresolvedAttempt]] = []
        seen: set[str] = set()
        async for correlation_id, record in scan_records(self._link, self._keys):
            # A scan may come across the same one twice.
            if record.attempt is None or record.attempt[1] not in window or correlation_id in seen:
                continue
            seen.add(correlation_id)
            processor, requested_us, _ = record.attempt
            before = totals.get(processor, Totals())
            totals[processor] = Totals(before.count + 1, before.amount_minor + record.amount_minor)
            entry = BookEntry(correlation_id, record.amount_minor, requested_us)
            place = tuple(map(int, record.entry.split("-")))
            oldest.append((place, UnresolvedAttempt(processor, entry, record.state.label)))
            if len(oldest) > 2 * limit:
                oldest = _first(oldest, limit)
        return totals, [one for _, one in _first(oldest, limit)]

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return all we know of one payment; nothing of one whose record in Redis was spoilt."""
        try:
            unsettled = await read_payment(self._link, self._keys, correlation_id)
        except ValueError as error:
            _log.warning(
                "payment %s cannot be read in Redis: %s",
                correlation_id,
                error,
                extra=fact("payment_unreadable", correlationId=correlation_id),
            )
            unsettled = None
        # Asked second: what leaves Redis is in PostgreSQL already.
        return await self._settled.find(correlation_id) or unsettled


def _first(
    attempts: list[tuple[tuple[int, ...], UnresolvedAttempt]], limit: int
) -> list[tuple[tuple[int, ...], UnresolvedAttempt]]:
    """Return the first attempts by the payments' places in the queue."""
    return sorted(attempts, key=lambda one: one[0])[:limit]
