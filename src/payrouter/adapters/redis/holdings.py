"""What this process holds: claimed payments, each behind the newest receipt given out for it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from payrouter.adapters.redis.records import Record, decode
from payrouter.adapters.rows import from_blob
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.payment import PaymentState


@dataclass(slots=True)
class Claim:
    """A payment held here, as Redis has it. `begun` is its record with an intent that may have been written.

    `adopted`: a dead dispatcher left the attempt.
    """

    record: Record
    stored: bytes
    receipt: int
    adopted: bool = False
    begun: bytes = b""


class Holdings:
    """Claims by correlationId."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        # Never a number that another process may have given out.
        self._receipts = self._valid_above = secrets.randbits(62)

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, correlation_id: str) -> bool:
        return correlation_id in self._claims

    def claim(self, blob: bytes, stored: bytes, trace: str = "") -> Delivery:
        """Hold a waiting payment from now on, behind a new receipt.

        Raises:
            ValueError: for a record that is none, or not of a waiting payment.
        """
        record = decode(stored)
        if record.state is not PaymentState.QUEUED:
            raise ValueError(f"claimed in a state that cannot wait: {stored[:80]!r}")
        return self._take(blob, stored, record, trace, adopted=False)

    def adopt(self, blob: bytes, stored: bytes, trace: str = "") -> Intent:
        """Hold an unresolved attempt from now on, behind a new receipt.

        Raises:
            ValueError: for a record that is none, or in which no attempt stands.
        """
        record = decode(stored)
        if record.attempt is None:
            raise ValueError(f"adopted without an attempt: {stored[:80]!r}")
        return Intent(self._take(blob, stored, record, trace, adopted=True), *record.attempt)

    def _take(self, blob: bytes, stored: bytes, record: Record, trace: str, *, adopted: bool) -> Delivery:
        if len(blob) != 16:
            raise ValueError(f"no correlationId has these bytes: {blob[:40]!r}")
        self._receipts += 1
        correlation_id = from_blob(blob)
        self._claims[correlation_id] = Claim(record, stored, self._receipts, adopted)
        return Delivery(correlation_id, record.amount_minor, record.accepted_us, self._receipts, record.attempts, trace)

    def behind(self, delivery: Delivery) -> Claim | None:
        """Return the claim behind a receipt; None when it is stale."""
        claim = self._claims.get(delivery.correlation_id)
        return claim if claim is not None and claim.receipt == delivery.receipt else None

    def drop(self, correlation_id: str, claim: Claim) -> None:
        """Hold a claim no more. Its payment may be claimed here anew by now: that one stays."""
        if self._claims.get(correlation_id) is claim:
            del self._claims[correlation_id]

    def settled(self, correlation_id: str) -> None:
        """Hold a payment no more, whichever claim it is."""
        self._claims.pop(correlation_id, None)

    def clear(self) -> None:
        """Hold nothing."""
        self._claims.clear()

    def purge(self) -> None:
        """Nothing held so far exists any more."""
        self._claims.clear()
        self._valid_above = self._receipts

    def gave(self, receipt: int) -> bool:
        """Return whether a receipt was given out here, since the last purge."""
        return self._valid_above < receipt <= self._receipts
