"""Repairs: settling what a processor's own record proves, and nothing else.

Nothing here sends a payment. What an audit saw is only where to look: both sides are asked again before anything is
written, and the write itself has its conditions (`ports/ledger.py: ChargeWriter`). Whatever is not proven is left.

Proven is a charge with our correlationId and amount at that processor, and
- the instant of our standing attempt there: that attempt was charged; or
- no attempt standing while the payment waits, nor a charge at any other processor, and an instant after we accepted
  it: the intent was lost and the charge was not. Left alone, the payment would be sent again, perhaps elsewhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from payrouter.application.audit import Difference, differences
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.ledger import Settlement
from payrouter.domain.payment import PaymentState
from payrouter.domain.routing import Reason, ReasonCode
from payrouter.ports.books import BookEntry, BooksUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from payrouter.application.audit import Books, Finding
    from payrouter.domain.ledger import PaymentRecord
    from payrouter.ports.books import UnresolvedAttempt
    from payrouter.ports.clock import Clock
    from payrouter.ports.ledger import ChargeWriter


class Verdict(StrEnum):
    """What became of a payment that was looked at."""

    SETTLED = "settled"
    WOULD_SETTLE = "would settle"
    LEFT = "left as it is"


@dataclass(frozen=True, slots=True)
class Repair:
    """One payment that a processor has charged: what was done, and why that or nothing. `theirs` is the proof."""

    verdict: Verdict
    processor: str
    theirs: BookEntry
    why: str


@dataclass(slots=True)
class RepairReport:
    """What a round of repairs came to.

    `unproven` attempts are not in their processor's books, or not yet; `unread` processors could not be asked, and why.
    """

    settled: int = 0
    unproven: int = 0
    unread: dict[str, str] = field(default_factory=dict)


class Repairer:
    """Repairs books. `charges` is None for a dry run; `tell` hears of each payment at once."""

    def __init__(
        self,
        books: Books,
        charges: ChargeWriter | None,
        clock: Clock,
        tell: Callable[[Repair], None],
    ) -> None:
        self._ours = books.ours
        self._theirs = books.theirs
        self._processors = books.processors
        self._charges = charges
        self._clock = clock
        self._tell = tell

    async def repair(self, attempts: Sequence[UnresolvedAttempt], findings: Sequence[Finding]) -> RepairReport:
        """Settle what is proven of unresolved attempts and of what is missing here.

        Raises:
            StoreUnavailable: if our own books cannot be read or written; some may be settled. It may be repeated.
        """
        report = RepairReport()
        places = {(one.processor, one.entry.correlation_id): None for one in attempts}
        places |= {
            (one.processor, one.correlation_id): None for one in findings if one.difference is Difference.MISSING_HERE
        }
        for processor, correlation_id in places:
            if processor not in self._processors:
                report.unread[processor] = f"processor {processor} is no longer in PAYROUTER_PROCESSORS"
            elif processor not in report.unread:
                try:
                    await self._look(report, processor, correlation_id)
                except BooksUnavailable as error:
                    report.unread[processor] = str(error)
        return report

    async def _look(self, report: RepairReport, processor: str, correlation_id: str) -> None:
        theirs = await self._theirs.find(processor, correlation_id)
        if theirs is None:
            report.unproven += 1
            return
        # Ours second: what is settled meanwhile is seen.
        record = await self._ours.find(correlation_id)
        if record is not None and (record.state, record.processor) == (PaymentState.SETTLED, processor):
            return
        why_not = await self._why_not(record, processor, theirs)
        if record is None or why_not:
            self._tell(Repair(Verdict.LEFT, processor, theirs, why_not))
        elif self._charges is None:
            self._tell(Repair(Verdict.WOULD_SETTLE, processor, theirs, _why(record)))
        else:
            writing = asyncio.ensure_future(self._settle(report, self._charges, record, processor, theirs))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                # What is begun is brought to its end, and told.
                await asyncio.wait([writing])
                raise

    async def _why_not(self, record: PaymentRecord | None, processor: str, theirs: BookEntry) -> str:
        """Return why a payment is left as it is; empty when it is proven that it was charged."""
        if record is None:
            return "there is no such payment here"
        if record.processor is not None and record.processor != processor:
            return f"{record.state.label} at {record.processor} here"
        if record.processor is not None and record.requested_us is not None:
            mine = BookEntry(record.correlation_id, record.amount_minor, record.requested_us)
            return " and ".join(differences(mine, theirs))
        if record.state is not PaymentState.QUEUED:
            return "a dead letter here, and of no attempt the outcome is unknown"
        if record.amount_minor != theirs.amount_minor:
            return Difference.AMOUNT
        if theirs.requested_us < record.accepted_us:
            return "charged before it was accepted here"
        return await self._charged_elsewhere(processor, theirs.correlation_id)

    async def _charged_elsewhere(self, processor: str, correlation_id: str) -> str:
        for other in self._processors:
            try:
                if other != processor and await self._theirs.find(other, correlation_id) is not None:
                    return f"also charged by {other}"
            except BooksUnavailable:
                return f"{other} cannot be asked whether it charged it too"
        return ""

    async def _settle(
        self, report: RepairReport, charges: ChargeWriter, record: PaymentRecord, processor: str, theirs: BookEntry
    ) -> None:
        now_us = self._clock.now_us()
        waits = record.processor is None
        reason = _proven(record, now_us) if waits else record.reason or ""
        # Nobody's receipt: a charge is a fact, whoever reports it.
        delivery = Delivery(record.correlation_id, record.amount_minor, record.accepted_us, 0, record.attempts)
        intent = Intent(delivery, processor, theirs.requested_us, reason)
        settlement = Settlement(intent, now_us, (now_us - theirs.requested_us) / 1000)
        [done] = await (charges.settle_waiting if waits else charges.settle)([settlement])
        if done:
            report.settled += 1
            self._tell(Repair(Verdict.SETTLED, processor, theirs, _why(record)))
            return
        after = await self._ours.find(record.correlation_id)
        if after is None or (after.state, after.processor) != (PaymentState.SETTLED, processor):
            now = "gone" if after is None else after.state.label
            self._tell(Repair(Verdict.LEFT, processor, theirs, f"it was {record.state.label} and is {now} now"))


def _why(record: PaymentRecord) -> str:
    if record.processor is None:
        return f"{record.state.label} here without an attempt, and charged there with this amount"
    return f"{record.state.label} here, and charged there with this amount and instant"


def _proven(record: PaymentRecord, now_us: int) -> str:
    return Reason(ReasonCode.PROVEN, 0.0, 0, 0, (now_us - record.accepted_us) / 1_000_000).encode()
