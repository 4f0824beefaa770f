"""The lease in Redis, by Redis' own clock. `leader` is a hash: who has it (`node`), its `token`, and `until_us`.

The token is never deleted, so it rises for ever. A token counts only together with its node: should Redis lose its
data and count from the beginning, a former leader's token still is not the new one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.redis.scripts import load_script
from payrouter.domain.lease import LEASE_S, KeeperWatch, Taken, Term, trusted_until

if TYPE_CHECKING:
    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys
    from payrouter.ports.clock import Clock

_LEASE = load_script("leader", "lease")
_RELEASE = load_script("leader", "release_lease")

VACANT = b"vacant"
"""Said on the news channel by a leader that steps down."""


class RedisLease:
    """`Lease` of one process. `node` names it and nobody else ever, so it holds no spaces and something random."""

    def __init__(self, link: RedisLink, keys: Keys, node: str, clock: Clock, *, ttl_s: float = LEASE_S) -> None:
        self._link = link
        self._keys = keys
        self._clock = clock
        self._ttl_s = ttl_s
        self.watch = KeeperWatch()
        self.node = node
        self.token = 0
        """Of our newest term; 0 before the first. Redis decides whether it still counts."""

    async def acquire(self) -> Term | Taken:
        """Win the lease if it is free, renew it if it is ours."""
        asked_s = self._clock.monotonic_s()
        won, token, their_us, *taken = await self._link.eval(
            _LEASE, [self._keys.leader], [self.node, round(self._ttl_s * 1_000_000)]
        )
        leader = self.node if won else taken[0].decode()
        self.watch.looked(their_us, (token, leader), asked_s=asked_s, answered_s=self._clock.monotonic_s())
        if not won:
            return Taken(leader, taken[1] / 1_000_000)
        self.token = token
        return Term(token, trusted_until(asked_s, ttl_s=self._ttl_s))

    def rest_s(self) -> float:
        """Return for how long Redis cannot be believed that a health call was long ago; 0.0 when it can."""
        return self.watch.rest_s(self._clock.monotonic_s())

    def doubt_s(self) -> float:
        """Return for how long Redis cannot be believed *when* a health call was made: we have not watched its clock."""
        return self.watch.doubt_s(self._clock.monotonic_s())

    async def release(self) -> None:
        """Give it up, so that another node can have it at once."""
        if self.token:
            keys = self._keys
            await self._link.eval(_RELEASE, [keys.leader], [self.node, self.token, keys.news, VACANT])
