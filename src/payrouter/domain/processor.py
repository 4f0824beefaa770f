"""A payment processor as the operator describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Processor:
    """Name, base URL and fee (the share of an amount it keeps: `Decimal("0.05")` is 5 %).

    `admin_token` opens the processor's own books to an audit. `headers` go with every request to it, such as its key.
    """

    name: str
    url: str
    fee: Decimal
    admin_token: str = field(default="123", repr=False)  # the processors' documented initial token
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def fee_percent(self) -> str:
        """The fee for people: `5 %`."""
        return f"{(self.fee * 100).normalize():f} %"


def by_fee(processors: tuple[Processor, ...]) -> tuple[Processor, ...]:
    """Return processors cheapest first; equal fees keep the operator's order."""
    return tuple(sorted(processors, key=lambda processor: processor.fee))
