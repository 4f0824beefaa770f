"""How domain values look in what engines store: ids as bytes, failed attempts as JSON."""

from __future__ import annotations

import msgspec

from payrouter.domain.ledger import KEPT_FAILURES, AttemptRecord


class _Row(msgspec.Struct, array_like=True):
    """An `AttemptRecord` as an array: shorter where an earlier version wrote it, which knew less of an attempt."""

    at_us: int
    processor: str
    outcome: str
    detail: str
    requested_us: int | None = None
    latency_ms: float | None = None
    reason: str | None = None


_decode = msgspec.json.Decoder(list[_Row]).decode
_decode_row = msgspec.json.Decoder(_Row).decode
_encode = msgspec.json.encode


def to_blob(correlation_id: str) -> bytes:
    """Return a UUID as its 16 bytes."""
    return bytes.fromhex(correlation_id.replace("-", ""))


def from_blob(blob: bytes) -> str:
    """Return the canonical UUID of 16 bytes."""
    text = blob.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _row(record: AttemptRecord) -> _Row:
    return _Row(
        record.at_us,
        record.processor,
        record.outcome,
        record.detail,
        record.requested_us,
        record.latency_ms,
        record.reason,
    )


def _record(row: _Row) -> AttemptRecord:
    return AttemptRecord(
        row.at_us, row.processor, row.outcome, row.detail, row.requested_us, row.latency_ms, row.reason
    )


def read_failures(text: str | None) -> tuple[AttemptRecord, ...]:
    """Return the kept attempts that did not charge, oldest first."""
    return tuple(map(_record, _decode(text))) if text else ()


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
    return tuple(_record(_decode_row(line)) for line in text.splitlines())
