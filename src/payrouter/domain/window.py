"""Time windows over `requestedAt`, inclusive at both ends, in UTC microseconds; and how roll-ups cover one.

The processor keeps microseconds, so a bound given in nanoseconds is moved inward to the next microsecond: no
stored instant lies between the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from payrouter.domain.errors import InvalidInput

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d{2}):(\d{2}))", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LAST_US = (1 << 62) - 1
"""Later than any instant, and still a 64-bit integer when it is shifted into buckets."""

ROLLUP_SHIFTS = (20, 28, 36)
"""Bucket widths as powers of two microseconds: 1.05 s, 4.5 min, 19.1 h; each is 256 of the one before."""


@dataclass(frozen=True, slots=True)
class Window:
    """From `first_us` to `last_us`, both inclusive."""

    first_us: int = 0
    last_us: int = LAST_US

    def __contains__(self, instant_us: int) -> bool:
        return self.first_us <= instant_us <= self.last_us


def parse_instant(text: str, *, round_up: bool = False, name: str = "timestamp") -> int:
    """Return UTC microseconds of an RFC 3339 timestamp with up to nine decimals.

    Raises:
        InvalidInput: if it is anything else; a timestamp without a zone included.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{name} must be RFC 3339 with a zone, like 2026-01-31T12:00:00.000Z, got {text[:64]!r}")
    date, time, fraction, _, sign, hours, minutes = match.groups()
    try:
        instant = datetime.fromisoformat(f"{date}T{time}+00:00")
    except ValueError as error:
        raise InvalidInput(f"{name} is not a date that exists ({error}), got {text[:64]!r}") from None
    offset_s = 0
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise InvalidInput(f"{name} has no such zone, got {text[:64]!r}")
        offset_s = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
    nanos = int((fraction or "").ljust(9, "0"))
    microseconds, rest = divmod(nanos, 1000)
    whole_us = (instant - _EPOCH) // _MICROSECOND - offset_s * 1_000_000
    return whole_us + microseconds + (1 if round_up and rest else 0)


def parse_window(from_text: str | None, to_text: str | None) -> Window:
    """Return the window between two optional bounds.

    Raises:
        InvalidInput: if a bound cannot be read, or `from` is after `to`.
    """
    first_us = parse_instant(from_text, round_up=True, name="from") if from_text is not None else 0
    last_us = parse_instant(to_text, name="to") if to_text is not None else LAST_US
    if from_text is not None and to_text is not None and parse_instant(from_text) > last_us:
        raise InvalidInput(f"from must not be after to, got from={from_text} and to={to_text}")
    return Window(max(0, first_us), last_us)


def format_instant(instant_us: int) -> str:
    """Return UTC microseconds as RFC 3339 with six decimals and `Z`, the form every processor keeps whole."""
    seconds, micros = divmod(instant_us, 1_000_000)
    return f"{_second_text(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=64)
def _second_text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


@dataclass(frozen=True, slots=True)
class BucketRange:
    """Buckets `first` to `last`, inclusive, of the roll-up level `shift`."""

    shift: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cover:
    """A window as whole buckets plus raw edges: disjoint, and together exactly the window."""

    buckets: tuple[BucketRange, ...]
    edges: tuple[Window, ...]


def cover(window: Window) -> Cover:
    """Return the fewest pieces that make up a window: wide buckets inside, narrow ones around, rows at the edges.

    At most 255 buckets per side and level, so the cost follows the window's edges, not its contents.
    """
    buckets: list[BucketRange] = []
    edges: list[Window] = []
    first, last = window.first_us, window.last_us + 1  # half-open from here on
    for level, shift in enumerate(ROLLUP_SHIFTS):
        inner_first = -(-first >> shift) << shift
        inner_last = last >> shift << shift
        if inner_first >= inner_last:
            break
        _piece(buckets, edges, level, first, inner_first)
        _piece(buckets, edges, level, inner_last, last)
        first, last = inner_first, inner_last
    else:
        level = len(ROLLUP_SHIFTS)
    _piece(buckets, edges, level, first, last)
    return Cover(tuple(buckets), tuple(edges))


def _piece(buckets: list[BucketRange], edges: list[Window], level: int, first: int, end: int) -> None:
    """Add `[first, end)`, aligned to the level below `level`: raw rows below the narrowest buckets."""
    if first >= end:
        return
    if level == 0:
        edges.append(Window(first, end - 1))
    else:
        shift = ROLLUP_SHIFTS[level - 1]
        buckets.append(BucketRange(shift, first >> shift, (end >> shift) - 1))
