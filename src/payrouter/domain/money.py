"""Money as integer minor units (cents), exact from the request to the books.

Parsing starts from the JSON text itself: a detour over a binary float would turn 19.90 into 19.899999.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from payrouter.domain.errors import InvalidInput

MAX_MINOR = 100_000_000_000
"""The largest amount, 1 000 000 000.00: sums over 90 million such payments still fit 64 bits."""

_PLAIN = re.compile(rb"(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,2}))?")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 40


def parse_amount(text: bytes) -> int:
    """Return the minor units of an amount given as the text of a JSON number.

    Raises:
        InvalidInput: if it is not a number, not above 0, above `MAX_MINOR`, or has more than 2 decimals.
    """
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        units, decimals = plain.groups()
        minor = int(units) * 100 + (int(decimals.ljust(2, b"0")) if decimals else 0)
    else:
        minor = _parse_unusual(text)
    if minor <= 0:
        raise InvalidInput(f"amount must be above 0, got {_shown(text)}")
    if minor > MAX_MINOR:
        raise InvalidInput(f"amount must be at most {format_minor(MAX_MINOR)}, got {_shown(text)}")
    return minor


def _parse_unusual(text: bytes) -> int:
    """Exponents, signs, long numbers: rare, so exactness before speed. Bounded before any arithmetic."""
    if _NUMBER.fullmatch(text) is None:
        raise InvalidInput(f"amount must be a JSON number such as 19.90, got {_shown(text)}")
    if len(text) > _LONGEST_NUMBER:
        raise InvalidInput(f"amount has {len(text)} characters, which no amount needs; at most 2 decimals")
    try:
        value = Decimal(text.decode())
    except InvalidOperation:
        raise InvalidInput(f"amount has an exponent which no amount needs, got {_shown(text)}") from None
    if value.adjusted() > 12:
        raise InvalidInput(f"amount must be at most {format_minor(MAX_MINOR)}, got {_shown(text)}")
    if int(value.as_tuple().exponent) < -2:
        raise InvalidInput(f"amount must have at most 2 decimals, got {_shown(text)}")
    return int(value * 100)


def _shown(text: bytes) -> str:
    shown = text[:32].decode("utf-8", "replace")
    return shown + "…" if len(text) > 32 else shown


def format_minor(minor: int) -> str:
    """Return minor units as a decimal with two places, fit for a JSON number: 1990 is `19.90`."""
    sign = "-" if minor < 0 else ""
    units, cents = divmod(abs(minor), 100)
    return f"{sign}{units}.{cents:02d}"


def parse_minor(text: str) -> int:
    """Return the minor units of a decimal written by a processor, rounded half to even as processors do."""
    return int((Decimal(text) * 100).to_integral_value(ROUND_HALF_EVEN))


def fee_minor(amount_minor: int, fee: Decimal) -> int:
    """Return what a processor keeps of an amount, in minor units, rounded half to even."""
    return int((amount_minor * fee).to_integral_value(ROUND_HALF_EVEN))
