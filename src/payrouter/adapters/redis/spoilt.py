"""Payments whose records somebody spoilt: read past, and put aside where an operator sees them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.scripts import load_script
from payrouter.adapters.redis.views import pairs
from payrouter.domain.trace import parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from payrouter.adapters.redis.keys import Keys
    from payrouter.adapters.redis.membership import Membership

Taken = TypeVar("Taken")

_log = logging.getLogger("payrouter")
_SET_ASIDE = load_script("common", "set_aside")


def read(flat: Sequence[bytes], take: Callable[[bytes, bytes], Taken]) -> tuple[list[Taken], list[bytes]]:
    """Take id after id with its record, and return what was taken; then id and record of those that are spoilt.

    `take` raises ValueError for a spoilt one.
    """
    taken: list[Taken] = []
    spoilt: list[bytes] = []
    for blob, stored in pairs(flat):
        try:
            taken.append(take(blob, stored))
        except ValueError:
            spoilt += (blob, stored)
    return taken, spoilt


def traced(take: Callable[[bytes, bytes, str], Taken], flat: Sequence[bytes]) -> Callable[[bytes, bytes], Taken]:
    """Return `take` with the trace of each payment; `flat` are ids and traces in turn, empty for most claims."""
    traces = dict(pairs(flat))
    # It goes into a header of a request: what somebody spoilt is none.
    return lambda blob, stored: take(blob, stored, parse_traceparent(traces[blob]) if blob in traces else "")


async def set_aside(membership: Membership, keys: Keys, spoilt: list[bytes], *, waiting: bool) -> None:
    """Put payments aside that were delivered to this dispatcher: id and record of each; nothing for none.

    `waiting`: they count as such.

    Raises:
        StoreUnavailable: if Redis is away; then they are delivered to somebody once more.
    """
    if not spoilt:
        return
    _log.error(
        "%d payments cannot be read and are put aside; see payrouter dead-letters list",
        len(spoilt) // 2,
        extra=fact("payments_spoilt"),
    )
    # Until that is done nobody holds them.
    membership.unsure = True
    names = [keys.dispatchers, keys.queue, keys.payments, keys.poison, keys.meta]
    await membership.run(_SET_ASIDE, names, [int(waiting), *spoilt])
