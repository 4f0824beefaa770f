"""Money as JSON, the same in the API and on the command line."""

from __future__ import annotations

import msgspec

from payrouter.domain.money import format_minor


def money(minor: int) -> msgspec.Raw:
    """Return an amount as a JSON number with exactly two decimals."""
    return msgspec.Raw(format_minor(minor).encode())
