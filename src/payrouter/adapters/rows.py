"""How domain values look in what engines store: ids as bytes, failed attempts as JSON."""

from __future__ import annotations

import msgspec

from payrouter.domain.ledger import AttemptRecord

KEPT_FAILURES = 20

_decode = msgspec.json.Decoder(list[tuple[int, str, str, str]]).decode
_decode_row = msgspec.json.Decoder(tuple[int, str, str, str]).decode
_encode = msgspec.json.encode


def to_blob(correlation_id: str) -> bytes:
    """Return a UUID as its 16 bytes."""
    return bytes.fromhex(correlation_id.replace("-", ""))


def from_blob(blob: bytes) -> str:
    """Return the canonical UUID of 16 bytes."""
    text = blob.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _row(record: AttemptRecord) -> tuple[int, str, str, str]:
    return record.at_us, record.processor, record.outcome, record.detail


def read_failures(text: str | None) -> tuple[AttemptRecord, ...]:
    """Return the kept attempts that did not charge, oldest first."""
    return tuple(AttemptRecord(*row) for row in _decode(text)) if text else ()


def write_failures(records: tuple[AttemptRecord, ...]) -> str | None:
    """Return the last `KEPT_FAILURES` attempts as `read_failures` reads them; None when there are none."""
    return _encode([_row(record) for record in records[-KEPT_FAILURES:]]).decode() if records else None


def add_failure(text: str | None, record: AttemptRecord) -> str:
    """Return the kept attempts with one more, the last `KEPT_FAILURES` at most."""
    rows = _decode(text) if text else []
    rows.append(_row(record))
    return _encode(rows[-KEPT_FAILURES:]).decode()


def write_failure(record: AttemptRecord) -> bytes:
    """Return one failed attempt as one line of JSON."""
    return _encode(_row(record))


def read_failure_lines(text: bytes) -> tuple[AttemptRecord, ...]:
    """Return failed attempts from one line of JSON each, oldest first."""
    return tuple(AttemptRecord(*_decode_row(line)) for line in text.splitlines())
