"""Reading what Redis holds: one payment, dead letters, unresolved attempts. Changes nothing, needs no registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.redis.records import Record, decode, decode_or_none
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
    """Return dead letters, oldest first; what was put aside comes after them."""
    letters = await read_letters(link, keys, limit)
    poison = await read_poison(link, keys, limit - len(letters))
    for entry, text in poison.items():
        letters.append(DeadLetter(entry, 0, 0, f"put aside, as it is no payment or was spoilt: {text!r}", None))
    return letters


async def read_letters(link: RedisLink, keys: Keys, limit: int) -> list[DeadLetter]:
    """Return dead letters, oldest first."""
    if limit <= 0:
        return []
    blobs = [member[-16:] for member in await link.call("ZRANGE", keys.dead, 0, limit - 1)]
    stored = await read_stored(link, keys, blobs)
    return [_letter(blob, record, failures) for blob, (record, failures) in zip(blobs, stored, strict=True) if record]


async def read_poison(link: RedisLink, keys: Keys, limit: int) -> dict[str, str]:
    """Return what was put aside, with how it begins, in no order.

    Entries in the stream that were no payments, by their place in it; spoilt records by the payment's id.
    """
    poison: dict[str, str] = {}
    cursor = b"0"
    while len(poison) < limit:
        cursor, flat = await link.call("HSCAN", keys.poison, cursor, "COUNT", _SCAN_AT_ONCE)
        for entry, text in pairs(flat):
            poison[entry.decode("ascii", "replace")] = text[:120].decode("utf-8", "backslashreplace")
        if cursor == b"0":
            break
    return dict(list(poison.items())[:limit])


async def count_dead_letters(link: RedisLink, keys: Keys) -> int:
    """Return how many dead letters there are."""
    return int(await link.call("ZCARD", keys.dead))


async def count_poison(link: RedisLink, keys: Keys) -> int:
    """Return how often something was put aside; not all of it is kept."""
    return int(await link.call("HGET", keys.meta, "poison") or 0)


def _letter(blob: bytes, stored: bytes, failures: bytes) -> DeadLetter:
    record = decode_or_none(stored)
    if record is None:
        return DeadLetter(from_blob(blob), 0, 0, f"a record that cannot be read: {stored[:120]!r}", None)
    kept = read_failure_lines(failures)
    reason = kept[-1].detail if kept else "no reason was kept"
    return DeadLetter(from_blob(blob), record.amount_minor, record.accepted_us, reason, record.pinned_to)


async def scan_records(link: RedisLink, keys: Keys) -> AsyncIterator[tuple[str, Record]]:
    """Give every unsettled payment with its record, in no order, a few at a time; not those that are spoilt."""
    cursor = b"0"
    while True:
        cursor, flat = await link.call("HSCAN", keys.payments, cursor, "COUNT", _SCAN_AT_ONCE)
        for blob, stored in pairs(flat):
            record = decode_or_none(stored)
            if record is not None:
                yield from_blob(blob), record
        if cursor == b"0":
            return


def pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return `[a, b, c, d]` as `[(a, b), (c, d)]`, as Redis gives fields and values."""
    return list(zip(flat[::2], flat[1::2], strict=True))
