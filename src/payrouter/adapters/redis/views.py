"""Reading what Redis holds: one payment, dead letters, unresolved attempts. Changes nothing, needs no registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.redis.records import Record, decode
from payrouter.adapters.redis.scripts import load_script
from payrouter.adapters.rows import from_blob, read_failure_lines, to_blob
from payrouter.domain.ledger import PaymentRecord
from payrouter.ports.queue import DeadLetter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys

_STANDING = load_script("standing")
_SCAN_AT_ONCE = 500


async def read_stored(link: RedisLink, keys: Keys, blobs: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return record and kept failures of each payment, empty for what is not there."""
    return pairs(await link.eval(_STANDING, [keys.payments, keys.failures], list(blobs))) if blobs else []


async def read_payment(link: RedisLink, keys: Keys, correlation_id: str) -> PaymentRecord | None:
    """Return what is known of a payment that is not settled."""
    [(stored, failures)] = await read_stored(link, keys, [to_blob(correlation_id)])
    if not stored:
        return None
    record = decode(stored)
    processor, requested_us, reason = record.attempt or (None, None, None)
    return PaymentRecord(
        correlation_id=correlation_id,
        amount_minor=record.amount_minor,
        accepted_us=record.accepted_us,
        state=record.state,
        attempts=record.attempts,
        processor=processor,
        requested_us=requested_us,
        settled_us=None,
        latency_ms=None,
        reason=reason,
        failures=read_failure_lines(failures),
    )


async def read_dead_letters(link: RedisLink, keys: Keys, limit: int) -> list[DeadLetter]:
    """Return dead letters, oldest first; entries in the stream that were no payments come after them."""
    if limit <= 0:
        return []
    blobs = [member[-16:] for member in await link.call("ZRANGE", keys.dead, 0, limit - 1)]
    stored = await read_stored(link, keys, blobs)
    letters = [
        _letter(blob, decode(record), failures)
        for blob, (record, failures) in zip(blobs, stored, strict=True)
        if record
    ]
    if len(letters) < limit:
        for entry, text in pairs(await link.call("HGETALL", keys.poison)):
            reason = f"an entry in the queue that is no payment: {text[:120]!r}"
            letters.append(DeadLetter(entry.decode("ascii", "replace"), 0, 0, reason, None))
    return letters[:limit]


def _letter(blob: bytes, record: Record, failures: bytes) -> DeadLetter:
    kept = read_failure_lines(failures)
    reason = kept[-1].detail if kept else "no reason was kept"
    return DeadLetter(from_blob(blob), record.amount_minor, record.accepted_us, reason, record.pinned_to)


async def scan_records(link: RedisLink, keys: Keys) -> AsyncIterator[tuple[str, Record]]:
    """Give every unsettled payment with its record, in no order, a few at a time."""
    cursor = b"0"
    while True:
        cursor, flat = await link.call("HSCAN", keys.payments, cursor, "COUNT", _SCAN_AT_ONCE)
        for blob, stored in pairs(flat):
            yield from_blob(blob), decode(stored)
        if cursor == b"0":
            return


def pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return `[a, b, c, d]` as `[(a, b), (c, d)]`, as Redis gives fields and values."""
    return list(zip(flat[::2], flat[1::2], strict=True))
