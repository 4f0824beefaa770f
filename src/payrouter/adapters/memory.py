"""Queue, intents and ledger in memory: for unit tests and simulations. Nothing here is durable."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter.domain.attempt import Delivery, FailedAttempt, Intent
from payrouter.domain.ledger import KEPT_FAILURES, AttemptRecord, PaymentRecord, Totals
from payrouter.domain.payment import Payment, PaymentEvent, PaymentState, next_state
from payrouter.ports.queue import Acceptance, Backlog, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.memory_notices import MemoryNotices
    from payrouter.domain.ledger import Settlement
    from payrouter.domain.window import Window


@dataclass(slots=True)
class _Row:
    payment: Payment
    state: PaymentState = PaymentState.QUEUED
    attempts: int = 0
    intent: Intent | None = None
    settlement: Settlement | None = None
    receipt: int = 0
    adopted: bool = False
    failures: list[AttemptRecord] = field(default_factory=list)


class MemoryStore:
    """Every port of the embedded engine over one dict. `notices` takes what webhooks are to tell."""

    def __init__(self, *, limit: int = 1_000_000, notices: MemoryNotices | None = None) -> None:
        self._limit = limit
        self._notices = notices
        self._rows: dict[str, _Row] = {}
        self._receipts = 0

    def _waiting(self) -> list[_Row]:
        return [row for row in self._rows.values() if row.state is PaymentState.QUEUED]

    async def accept(self, payments: Sequence[Payment]) -> list[Acceptance]:
        """Take payments; one answer per payment, in order."""
        return [self._accept(payment) for payment in payments]

    def _accept(self, payment: Payment) -> Acceptance:
        known = self._rows.get(payment.correlation_id)
        if known is not None:
            same = known.payment.amount_minor == payment.amount_minor
            return Acceptance.DUPLICATE if same else Acceptance.CONFLICT
        if len(self._waiting()) >= self._limit:
            return Acceptance.FULL
        self._rows[payment.correlation_id] = _Row(payment)
        return Acceptance.ACCEPTED

    async def claim(self, limit: int) -> list[Delivery]:
        """Take up to `limit` waiting payments, oldest first; empty when none waits."""
        waiting = [row for row in self._waiting() if not row.receipt]
        return [self._claim(row) for row in waiting[: max(limit, 0)]]

    def _claim(self, row: _Row) -> Delivery:
        self._receipts += 1
        row.receipt = self._receipts
        payment = row.payment
        return Delivery(
            payment.correlation_id,
            payment.amount_minor,
            payment.accepted_us,
            row.receipt,
            row.attempts,
            payment.trace,
        )

    def _held(self, delivery: Delivery) -> _Row | None:
        row = self._rows.get(delivery.correlation_id)
        return row if row is not None and row.receipt == delivery.receipt else None

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give claimed payments back unsent; they keep their place in the queue."""
        for delivery in deliveries:
            row = self._held(delivery)
            if row is not None:
                row.receipt = 0

    async def begin(self, intents: Sequence[Intent]) -> list[bool]:
        """Write intents before they are sent. False where the receipt is stale or an intent already stands."""
        return [self._begin(intent) for intent in intents]

    def _begin(self, intent: Intent) -> bool:
        row = self._held(intent.delivery)
        if row is None or row.state is not PaymentState.QUEUED:
            return False
        row.state = next_state(row.state, PaymentEvent.INTENT_WRITTEN)
        row.intent = intent
        row.attempts += 1
        return True

    async def conclude(self, failures: Sequence[FailedAttempt]) -> None:
        """Write down attempts that did not charge and move their payments as `payment.TRANSITIONS` says."""
        for failure in failures:
            row = self._held(failure.intent.delivery)
            if row is None or row.state not in (PaymentState.ATTEMPTING, PaymentState.PINNED):
                continue
            # The attempt a dead process left is of unknown outcome, whatever its repeats say (I6).
            before = PaymentState.PINNED if row.adopted else row.state
            row.state = next_state(before, failure.event)
            row.failures.append(AttemptRecord.of(failure))
            if row.state is not PaymentState.PINNED:
                row.receipt = 0
                if before is PaymentState.ATTEMPTING:
                    row.intent = None
            if row.state is PaymentState.DEAD_LETTER and self._notices is not None:
                self._notices.note(row.state, row.payment.correlation_id, failure.at_us)

    async def orphans(self) -> list[Intent]:
        """Claim every unresolved attempt that nobody holds, oldest first, with fresh receipts."""
        intents: list[Intent] = []
        for row in self._rows.values():
            if row.state in (PaymentState.ATTEMPTING, PaymentState.PINNED) and not row.receipt and row.intent:
                kept = row.intent
                row.adopted = True
                intents.append(Intent(self._claim(row), kept.processor, kept.requested_us, kept.reason))
        return intents

    def crash(self) -> None:
        """Forget who holds what, as a killed process does."""
        for row in self._rows.values():
            row.receipt = 0

    async def backlog(self) -> Backlog:
        """Return what waits at this moment."""
        waiting = self._waiting()
        oldest_us = next((row.payment.accepted_us for row in waiting if not row.receipt), None)
        return Backlog(len(waiting), oldest_us)

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first."""
        dead = [row for row in self._rows.values() if row.state is PaymentState.DEAD_LETTER]
        return [
            DeadLetter(
                row.payment.correlation_id,
                row.payment.amount_minor,
                row.payment.accepted_us,
                row.failures[-1].detail,
                row.intent.processor if row.intent else None,
            )
            for row in dead[:limit]
        ]

    async def dead_letter_counts(self) -> tuple[int, int]:
        """Return how many dead letters there are; nothing is ever put aside here."""
        return sum(row.state is PaymentState.DEAD_LETTER for row in self._rows.values()), 0

    async def poison(self, limit: int) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: no record can be spoilt."""
        return {}

    async def retry_dead_letters(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many; a pinned one repeats its attempt."""
        retried = 0
        for correlation_id, row in self._rows.items():
            if row.state is PaymentState.DEAD_LETTER and (correlation_ids is None or correlation_id in correlation_ids):
                event = PaymentEvent.RETRIED if row.intent is None else PaymentEvent.RETRIED_WHILE_PINNED
                row.state = next_state(row.state, event)
                retried += 1
        return retried

    async def purge(self) -> None:
        """Forget every payment, intent, ledger row and claim."""
        self._rows.clear()
        if self._notices is not None:
            self._notices.clear()

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges; False where the payment was settled before or is no longer known."""
        return [self._settle(settlement) for settlement in settlements]

    def _settle(self, settlement: Settlement) -> bool:
        intent = settlement.intent
        row = self._rows.get(intent.delivery.correlation_id)
        if row is None or row.state is PaymentState.SETTLED or row.intent is None:
            return False
        if (row.intent.processor, row.intent.requested_us) != (intent.processor, intent.requested_us):
            return False
        row.state = next_state(row.state, PaymentEvent.CHARGED)
        row.settlement = settlement
        row.receipt = 0
        self._note_settled(settlement)
        return True

    def _note_settled(self, settlement: Settlement) -> None:
        if self._notices is not None:
            correlation_id = settlement.intent.delivery.correlation_id
            self._notices.note(PaymentState.SETTLED, correlation_id, settlement.settled_us)

    async def settle_waiting(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges of payments that wait and of which no attempt stands."""
        return [self._settle_waiting(settlement) for settlement in settlements]

    def _settle_waiting(self, settlement: Settlement) -> bool:
        delivery = settlement.intent.delivery
        row = self._rows.get(delivery.correlation_id)
        if row is None or row.state is not PaymentState.QUEUED or row.payment.amount_minor != delivery.amount_minor:
            return False
        row.state = next_state(row.state, PaymentEvent.PROVEN)
        row.intent, row.settlement = settlement.intent, settlement
        row.attempts += 1
        row.receipt = 0
        self._note_settled(settlement)
        return True

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name; every processor with a settled payment in the window is in it."""
        totals: defaultdict[str, Totals] = defaultdict(Totals)
        for row in self._rows.values():
            if row.settlement is not None and row.settlement.intent.requested_us in window:
                name = row.settlement.intent.processor
                before = totals[name]
                totals[name] = Totals(before.count + 1, before.amount_minor + row.payment.amount_minor)
        return dict(totals)

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment, settled or not."""
        row = self._rows.get(correlation_id)
        if row is None:
            return None
        intent, settlement = row.intent, row.settlement
        return PaymentRecord(
            correlation_id=correlation_id,
            amount_minor=row.payment.amount_minor,
            accepted_us=row.payment.accepted_us,
            state=row.state,
            attempts=row.attempts,
            processor=intent.processor if intent else None,
            requested_us=intent.requested_us if intent else None,
            settled_us=settlement.settled_us if settlement else None,
            latency_ms=settlement.latency_ms if settlement else None,
            reason=intent.reason if intent else None,
            failures=tuple(row.failures[-KEPT_FAILURES:]),
        )
