"""Whose turn it is to ask a processor for its health, in Redis, by Redis' own clock.

`health` is a hash: `called:<processor>` is the latest instant, in us, at which the newest call may have left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.redis.scripts import load_script
from payrouter.domain.health import CALL_PAUSE_S, LEAVES_WITHIN_S
from payrouter.domain.lease import RENEW_EVERY_S

if TYPE_CHECKING:
    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys
    from payrouter.adapters.redis.lease import RedisLease

_RESERVE = load_script("leader", "reserve_health_call")
_END = load_script("leader", "end_health_call")


class RedisHealthCalls:
    """`HealthCalls` of the whole cluster: only the current leader is given a turn."""

    def __init__(self, link: RedisLink, keys: Keys, lease: RedisLease, *, pause_s: float = CALL_PAUSE_S) -> None:
        self._link = link
        self._keys = [keys.leader, keys.health]
        self._lease = lease
        self._pause_us = round(pause_s * 1_000_000)

    async def reserve(self, processor: str) -> float:
        """Ask for a turn: 0.0, or seconds until it is worth asking again."""
        lease, leaves_us = self._lease, round(LEAVES_WITHIN_S * 1_000_000)
        rest_s = lease.rest_s()
        if rest_s:
            return rest_s
        doubt_us = round(lease.doubt_s() * 1_000_000)
        wait_us = await self._link.eval(
            _RESERVE, self._keys, [lease.node, lease.token, processor, self._pause_us, leaves_us, doubt_us]
        )
        return RENEW_EVERY_S if wait_us < 0 else wait_us / 1_000_000

    async def answered(self, processor: str) -> None:
        """Our call ended just now: the pause counts from here."""
        await self._link.eval(_END, self._keys, [self._lease.node, self._lease.token, processor])
