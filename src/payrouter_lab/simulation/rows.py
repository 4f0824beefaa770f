"""PostgreSQL's part in made-up time: settled payments and their roll-ups, one transaction per batch."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from payrouter.domain.ledger import PaymentRecord, Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import ROLLUP_SHIFTS, Window, cover

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.postgres.ledger import SettledRow


class SimulatedRows:
    """Settled payments by id. Every method is one transaction."""

    def __init__(self) -> None:
        self.rows: dict[str, SettledRow] = {}
        self._rollups: defaultdict[tuple[int, int, str], Totals] = defaultdict(Totals)

    def settle(self, rows: Sequence[SettledRow]) -> list[bool]:
        """Write charges; False where the payment had been settled before."""
        written = [self.insert(row) for row in rows]
        for row, new in zip(rows, written, strict=True):
            if new:
                self.roll_up(row)
        return written

    def insert(self, row: SettledRow) -> bool:
        """Write one row; False where there is one."""
        correlation_id = row.settlement.intent.delivery.correlation_id
        if correlation_id in self.rows:
            return False
        self.rows[correlation_id] = row
        return True

    def roll_up(self, row: SettledRow) -> None:
        """Count one row in every bucket it belongs to."""
        intent = row.settlement.intent
        for shift in ROLLUP_SHIFTS:
            key = (shift, intent.requested_us >> shift, intent.processor)
            before = self._rollups[key]
            self._rollups[key] = Totals(before.count + 1, before.amount_minor + intent.delivery.amount_minor)

    def known(self, correlation_ids: Sequence[str]) -> dict[str, int]:
        """Return the amounts of those that are settled."""
        found = {one: self.rows.get(one) for one in correlation_ids}
        return {one: row.settlement.intent.delivery.amount_minor for one, row in found.items() if row is not None}

    def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a settled payment."""
        row = self.rows.get(correlation_id)
        if row is None:
            return None
        settlement, intent = row.settlement, row.settlement.intent
        return PaymentRecord(
            correlation_id=correlation_id,
            amount_minor=intent.delivery.amount_minor,
            accepted_us=intent.delivery.accepted_us,
            state=PaymentState.SETTLED,
            attempts=row.attempts,
            processor=intent.processor,
            requested_us=intent.requested_us,
            settled_us=settlement.settled_us,
            latency_ms=settlement.latency_ms,
            reason=intent.reason,
            failures=row.failures,
        )

    def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor: whole buckets from the roll-ups, rows at the edges, as the SQL does."""
        totals: defaultdict[str, Totals] = defaultdict(Totals)

        def add(name: str, count: int, amount_minor: int) -> None:
            before = totals[name]
            totals[name] = Totals(before.count + count, before.amount_minor + amount_minor)

        covering = cover(window)
        for bucket in covering.buckets:
            for (shift, number, name), found in self._rollups.items():
                if shift == bucket.shift and bucket.first <= number <= bucket.last:
                    add(name, found.count, found.amount_minor)
        for edge in covering.edges:
            for row in self.rows.values():
                intent = row.settlement.intent
                if edge.first_us <= intent.requested_us <= edge.last_us:
                    add(intent.processor, 1, intent.delivery.amount_minor)
        return dict(totals)

    def purge(self) -> None:
        """Forget every row."""
        self.rows.clear()
        self._rollups.clear()
