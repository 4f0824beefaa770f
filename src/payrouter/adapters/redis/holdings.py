"""What this process holds: claimed payments, each behind the newest receipt given out for it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from payrouter.adapters.redis.records import Record, decode
from payrouter.adapters.rows import from_blob
from payrouter.domain.attempt import Delivery, Intent


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

    def take(self, blob: bytes, stored: bytes, *, adopted: bool = False) -> Delivery:
        """Hold a payment from now on, behind a new receipt."""
        self._receipts += 1
        correlation_id, record = from_blob(blob), decode(stored)
        self._claims[correlation_id] = Claim(record, stored, self._receipts, adopted)
        return Delivery(correlation_id, record.amount_minor, record.accepted_us, self._receipts, record.attempts)

    def adopt(self, blob: bytes, stored: bytes) -> Intent | None:
        """Hold an unresolved attempt from now on; None for a record without one."""
        delivery = self.take(blob, stored, adopted=True)
        attempt = self._claims[delivery.correlation_id].record.attempt
        return Intent(delivery, *attempt) if attempt is not None else None

    def behind(self, delivery: Delivery) -> Claim | None:
        """Return the claim behind a receipt; None when it is stale."""
        claim = self._claims.get(delivery.correlation_id)
        return claim if claim is not None and claim.receipt == delivery.receipt else None

    def drop(self, correlation_id: str) -> Claim | None:
        """Hold a payment no more."""
        return self._claims.pop(correlation_id, None)

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
