"""What the ports of the queue and the ledger promise, in one dict: the specification every engine is held to.

Nothing here comes from an adapter or from the domain's table of transitions: who may do what is said once more. A
`holder` is whoever claimed: a router's life, a dispatcher's registration. One whose heartbeat ran out, who left or
died is set `free`, and from then on none of its receipts counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter.domain.ledger import AttemptRecord, PaymentRecord, Totals
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.ports.queue import Acceptance, Backlog, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.attempt import Delivery, FailedAttempt, Intent
    from payrouter.domain.ledger import Settlement
    from payrouter.domain.payment import Payment
    from payrouter.domain.window import Window

Q, A, P, S, D = PaymentState
KEPT_FAILURES = 20


@dataclass
class Known:
    """One payment. `standing`: processor, instant and reason of the attempt that is not resolved, or was charged.

    `inherited`: whoever made that attempt holds it no more, so nobody can know any more what became of it.
    `receipt` is None while its holder has not been told that it holds it.
    """

    payment: Payment
    state: PaymentState = Q
    attempts: int = 0
    standing: tuple[str, int, str] | None = None
    inherited: bool = False
    holder: str | None = None
    receipt: int | None = None
    settled: Settlement | None = None
    failures: list[AttemptRecord] = field(default_factory=list)

    def moves(self, state: PaymentState) -> None:
        """Go to another state; only an attempt under way or pinned has a holder afterwards."""
        self.state = state
        if state not in (A, P):
            self.holder = self.receipt = None

    def ends(self, event: PaymentEvent) -> None:
        """End an attempt that did not charge. An unresolved one stays where it is, with its instant (I5, I6)."""
        unresolved = self.inherited or self.state is P
        if event is PaymentEvent.INVALID:
            self.moves(D)
        elif event is PaymentEvent.UNKNOWN or unresolved:
            self.moves(P)
        else:
            self.moves(Q)
        if self.state is not P and not unresolved:
            self.standing = None

    @property
    def at(self) -> tuple[str, int] | None:
        """Processor and instant of the standing attempt."""
        return self.standing[:2] if self.standing else None


class Oracle:
    """Every payment accepted since the last purge, in order of acceptance. At most `limit` may wait."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: dict[str, Known] = {}

    def of(self, *states: PaymentState) -> list[Known]:
        """The payments in these states, oldest first."""
        return [one for one in self.known.values() if one.state in states]

    def counts(self, holder: str, delivery: Delivery) -> Known | None:
        """The payment behind a receipt; None where the receipt does not count."""
        one = self.known.get(delivery.correlation_id)
        return one if one and (one.holder, one.receipt) == (holder, delivery.receipt) else None

    # -- the queue

    def accept(self, payments: Sequence[Payment]) -> list[Acceptance]:
        return [self._accept(one) for one in payments]

    def _accept(self, payment: Payment) -> Acceptance:
        known = self.known.get(payment.correlation_id)
        if known:
            same = known.payment.amount_minor == payment.amount_minor
            return Acceptance.DUPLICATE if same else Acceptance.CONFLICT
        if len(self.of(Q)) >= self.limit:
            return Acceptance.FULL
        self.known[payment.correlation_id] = Known(payment)
        return Acceptance.ACCEPTED

    def claim(self, holder: str, limit: int) -> list[Known]:
        return self._give([one for one in self.of(Q) if not one.holder][:limit], holder)

    def orphans(self, holder: str) -> list[Known]:
        found = self._give([one for one in self.of(A, P) if not one.holder], holder)
        for one in found:
            one.inherited = True
        return found

    def _give(self, found: list[Known], holder: str) -> list[Known]:
        for one in found:
            one.holder, one.receipt = holder, None
        return found

    def release(self, one: Known, unsent: Intent | None) -> None:
        """Give back what was claimed. `unsent`: its attempt, if it may have been written and was certainly not sent."""
        if one.state is A and unsent and one.at == (unsent.processor, unsent.requested_us):
            one.state, one.attempts, one.standing = Q, one.attempts - 1, None
        if one.state is Q:
            one.holder = one.receipt = None

    def free(self, holder: str) -> None:
        for one in self.known.values():
            if one.holder == holder:
                one.holder = one.receipt = None

    def begin(self, holder: str, intent: Intent) -> bool:
        one = self.counts(holder, intent.delivery)
        if one is None or one.state is not Q:
            return False
        one.state, one.attempts = A, one.attempts + 1
        one.standing = (intent.processor, intent.requested_us, intent.reason)
        return True

    def conclude(self, holder: str, failure: FailedAttempt) -> None:
        one = self.counts(holder, failure.intent.delivery)
        if one is None or one.state not in (A, P):
            return
        one.failures.append(AttemptRecord.of(failure))
        one.ends(failure.event)

    def retry(self, correlation_ids: Sequence[str] | None) -> int:
        chosen = [one for one in self.of(D) if correlation_ids is None or one.payment.correlation_id in correlation_ids]
        for one in chosen:
            one.moves(P if one.standing else Q)
        return len(chosen)

    def purge(self) -> None:
        self.known.clear()

    def backlog(self) -> Backlog:
        free = [one.payment.accepted_us for one in self.of(Q) if not one.holder]
        return Backlog(len(self.of(Q)), free[0] if free else None)

    def dead_letters(self) -> list[DeadLetter]:
        return [
            DeadLetter(
                one.payment.correlation_id,
                one.payment.amount_minor,
                one.payment.accepted_us,
                one.failures[-1].detail,
                one.standing[0] if one.standing else None,
            )
            for one in self.of(D)
        ]

    # -- the ledger

    def settle(self, settlement: Settlement) -> bool:
        """A charge of the standing attempt is a fact, whoever reports it and however late (I4)."""
        intent = settlement.intent
        one = self.known.get(intent.delivery.correlation_id)
        if one is None or one.settled or one.at != (intent.processor, intent.requested_us):
            return False
        one.moves(S)
        one.settled = settlement
        return True

    def summary(self, window: Window) -> dict[str, Totals]:
        totals: dict[str, Totals] = {}
        for one in self.of(S):
            processor, requested_us, _ = one.standing
            if window.first_us <= requested_us <= window.last_us:
                before = totals.get(processor, Totals())
                totals[processor] = Totals(before.count + 1, before.amount_minor + one.payment.amount_minor)
        return totals

    def find(self, correlation_id: str) -> PaymentRecord | None:
        one = self.known.get(correlation_id)
        if one is None:
            return None
        processor, requested_us, reason = one.standing or (None, None, None)
        return PaymentRecord(
            correlation_id=correlation_id,
            amount_minor=one.payment.amount_minor,
            accepted_us=one.payment.accepted_us,
            state=one.state,
            attempts=one.attempts,
            processor=processor,
            requested_us=requested_us,
            settled_us=one.settled.settled_us if one.settled else None,
            latency_ms=one.settled.latency_ms if one.settled else None,
            reason=reason,
            failures=tuple(one.failures[-KEPT_FAILURES:]),
        )
