"""The ledger of the cluster engine: rows in PostgreSQL, what is not settled yet in Redis.

A charge is written into PostgreSQL first and then leaves Redis. A crash in between leaves its intent standing in
Redis: whoever adopts it finds the row, or repeats the attempt and is answered `422`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.postgres.ledger import SettledRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.postgres.ledger import PostgresLedger
    from payrouter.adapters.redis.departures import Standing
    from payrouter.adapters.redis.queue import RedisQueue
    from payrouter.domain.ledger import PaymentRecord, Settlement, Totals
    from payrouter.domain.window import Window


class ClusterLedger:
    """`Ledger` over both stores."""

    def __init__(self, queue: RedisQueue, rows: PostgresLedger) -> None:
        self._queue = queue
        self._rows = rows

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges whose attempts stand; False where there is no such attempt, or it was settled before."""
        return await self._write(settlements, await self._queue.departures.standing(settlements))

    async def settle_waiting(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges of payments that wait and of which no attempt stands."""
        return await self._write(settlements, await self._queue.departures.take_waiting(settlements))

    async def _write(self, settlements: Sequence[Settlement], standing: list[Standing | None]) -> list[bool]:
        chosen = [index for index, found in enumerate(standing) if found is not None]
        rows = [SettledRow(settlements[index], *found) for index, found in enumerate(standing) if found is not None]
        written = [False] * len(settlements)
        if rows:
            for index, new in zip(chosen, await self._rows.settle(rows), strict=True):
                written[index] = new
            await self._queue.departures.let_go(one.settlement.intent.delivery.correlation_id for one in rows)
        return written

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name; every processor with a settled payment in the window is in it."""
        return await self._rows.summary(window)

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, settled or not."""
        spoilt: ValueError | None = None
        unsettled: PaymentRecord | None = None
        try:
            unsettled = await self._queue.find(correlation_id)
        except ValueError as error:
            # A spoilt record stays, and its payment may be settled all the same.
            spoilt = error
        # Asked second: what leaves Redis is in PostgreSQL already, so it is found in one of them.
        settled = await self._rows.find(correlation_id)
        if settled is None and spoilt is not None:
            raise spoilt
        return settled or unsettled
