"""Sending dead letters again, from a router or from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.redis.records import decode_or_none
from payrouter.adapters.redis.scripts import load_script
from payrouter.adapters.redis.views import read_stored
from payrouter.adapters.rows import to_blob
from payrouter.domain.payment import PaymentState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys

_RETRY = load_script("common", "retry")


async def retry(link: RedisLink, keys: Keys, correlation_ids: Sequence[str] | None) -> int:
    """Send dead letters again (all when None) and return how many; a pinned one repeats its attempt."""
    if correlation_ids is not None and not correlation_ids:
        return 0
    names = [keys.payments, keys.again, keys.dead, keys.orphans, keys.meta]
    return int(await link.eval(_RETRY, names, [to_blob(one) for one in correlation_ids or ()]))


async def find_wrong(link: RedisLink, keys: Keys, correlation_ids: Sequence[str]) -> dict[str, str]:
    """Return those that are no dead letters, with their state in words; empty for what is not here at all."""
    stored = await read_stored(link, keys, [to_blob(one) for one in correlation_ids])
    wrong: dict[str, str] = {}
    for correlation_id, (record, _) in zip(correlation_ids, stored, strict=True):
        found = decode_or_none(record)
        if found is None:
            wrong[correlation_id] = "spoilt: its record in Redis cannot be read" if record else ""
        elif found.state is not PaymentState.DEAD_LETTER:
            wrong[correlation_id] = found.state.label
    return wrong
