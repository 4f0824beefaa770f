"""How log lines look: text for people, or one JSON object per line for machines.

A line has an event, a message for people, and fields. Whoever logs gives the event and its fields with `fact`; what has
none is a `note`. One record may stand for many lines (`batch`): a group of payments costs the loop one call.
"""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

import msgspec

from payrouter.domain.window import format_instant

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    Line = tuple[int, str, str, dict[str, Any]]
    """Instant (UTC us), event, message, fields."""

_encode = msgspec.json.encode
_NOTE = "note"
_LEVELS = {name: name.lower() for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_RESET = "\x1b[0m"


def fact(event: str, **fields: object) -> dict[str, Any]:
    """Return what goes into `extra` of a call of `logging`, so that its line has an event (snake case) and fields."""
    return {"event": event, "fields": fields}


def batch(logger: logging.Logger, level: int, count: int, lines: Callable[[], Iterable[Line]]) -> None:
    """Log `count` lines as one record. `lines` is called when they are written: later, perhaps by another thread."""
    record = logger.makeRecord(logger.name, level, __file__, 0, "%d lines", (count,), None)
    record.lines, record.count = lines, count
    logger.handle(record)


def count_of(record: logging.LogRecord) -> int:
    """Return how many lines a record stands for."""
    count: int = getattr(record, "count", 1)
    return count


def _lines(record: logging.LogRecord) -> Iterable[Line]:
    known = record.__dict__
    if "lines" in known:
        lines: Iterable[Line] = known["lines"]()
        return lines
    fields = known.get("fields", {})
    if record.exc_info and record.exc_info[1] is not None:
        fields = fields | {"exception": "".join(traceback.format_exception(record.exc_info[1]))}
    return ((int(record.created * 1_000_000), known.get("event", _NOTE), record.getMessage(), fields),)


class JsonLines:
    """One object per line: `ts` (RFC 3339), `level`, `event`, `message`, then the fields."""

    def __call__(self, record: logging.LogRecord) -> bytes:
        """Return a record's lines, each ended."""
        level = _LEVELS.get(record.levelname, record.levelname)
        made: list[bytes] = []
        for at_us, event, message, fields in _lines(record):
            line = {"ts": format_instant(at_us), "level": level, "event": event, "message": message, **fields}
            try:
                made.append(_encode(line))
            except (TypeError, UnicodeEncodeError):
                # A path or a processor's words that are no text: shown as far as they are.
                made.append(_encode({key: _as_text(value) for key, value in line.items()}))
        made.append(b"")
        return b"\n".join(made)


class TextLines:
    """Lines for people. On a terminal: local time, and colour; elsewhere the whole instant in UTC.

    What others said (a processor's answer) cannot end a line or colour it.
    """

    def __init__(self, *, terminal: bool, colour: bool = False) -> None:
        self._terminal = terminal
        self._colour = colour

    def __call__(self, record: logging.LogRecord) -> bytes:
        """Return a record's lines, each ended."""
        name = record.levelname
        level = f"{name:<7}"
        if self._colour and name in _COLOURS:
            level = f"{_COLOURS[name]}{level}{_RESET}"
        made: list[str] = []
        for at_us, _, message, fields in _lines(record):
            shown = message if message.isprintable() else _printable(message)
            made.append(f"{self._time(at_us)} {level} {shown}\n")
            if "exception" in fields:
                made.append(str(fields["exception"]))
        return "".join(made).encode("utf-8", "backslashreplace")

    def _time(self, at_us: int) -> str:
        if not self._terminal:
            return format_instant(at_us)
        seconds, micros = divmod(at_us, 1_000_000)
        return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{micros // 1000:03d}"


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _as_text(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()
