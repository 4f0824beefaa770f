"""How domain values look in rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from payrouter.domain.ledger import AttemptRecord

if TYPE_CHECKING:
    import sqlite3

KEPT_FAILURES = 20

_decode = msgspec.json.Decoder(list[tuple[int, str, str, str]]).decode
_encode = msgspec.json.encode


def to_blob(correlation_id: str) -> bytes:
    """Return a UUID as its 16 bytes."""
    return bytes.fromhex(correlation_id.replace("-", ""))


def from_blob(blob: bytes) -> str:
    """Return the canonical UUID of 16 bytes."""
    text = blob.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def read_failures(text: str | None) -> tuple[AttemptRecord, ...]:
    """Return the kept attempts that did not charge, oldest first."""
    return tuple(AttemptRecord(*row) for row in _decode(text)) if text else ()


def add_failure(text: str | None, record: AttemptRecord) -> str:
    """Return the kept attempts with one more, the last `KEPT_FAILURES` at most."""
    rows = _decode(text) if text else []
    rows.append((record.at_us, record.processor, record.outcome, record.detail))
    return _encode(rows[-KEPT_FAILURES:]).decode()


class ProcessorIds:
    """Small numbers for processor names, kept in the file. Names ever used stay."""

    def __init__(self, connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
        connection.executemany("INSERT INTO processor (name) VALUES (?) ON CONFLICT DO NOTHING", [(n,) for n in names])
        self.by_name: dict[str, int] = dict(connection.execute("SELECT name, id FROM processor"))
        self.by_id: dict[int, str] = {number: name for name, number in self.by_name.items()}
