"""The node board over Redis: snapshots are published, and kept by whoever watches.

Nothing of it is stored: a snapshot in the data would be one more write, and one more sync, for every look. And while
nobody listens, nothing is made to be told.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from payrouter.domain.snapshot import NodeSnapshot
from payrouter.ports.observation import GONE_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys
    from payrouter.adapters.redis.subscription import Subscription

_TELLS, _LEAVES, _ASKS = b"+", b"-", b"?"
_log = logging.getLogger("payrouter")


@dataclass(slots=True)
class _Seen:
    """What a process told last, and when by our loop's clock."""

    snapshot: NodeSnapshot
    at_s: float


class RedisNodes:
    """`NodeBoard` of a whole cluster. `subscribe` gives what listens to `keys.nodes`, once somebody watches."""

    def __init__(self, link: RedisLink, keys: Keys, subscribe: Callable[[], Subscription]) -> None:
        self._link = link
        self._keys = keys
        self._subscribe = subscribe
        self._heard_by = 0
        self._seen: dict[str, _Seen] = {}
        self._unread: set[str] = set()

    async def show(self, snapshot: Callable[[], NodeSnapshot]) -> None:
        """Tell of this process, if anybody listens."""
        told = _TELLS + msgspec.json.encode(snapshot()) if self._heard_by else _ASKS
        self._heard_by = await self._link.call("PUBLISH", self._keys.nodes, told)

    async def leave(self, node: str) -> None:
        """This process ends."""
        await self._link.call("PUBLISH", self._keys.nodes, _LEAVES + node.encode())

    async def listen(self) -> None:
        """Keep what the others tell, for ever; without it `nodes` knows nobody."""
        subscription = self._subscribe()
        try:
            async for message in subscription:
                if message is not None:
                    self._heard(message)
        finally:
            await subscription.close()

    async def nodes(self) -> list[NodeSnapshot]:
        """Return the newest snapshot of each living process, by role and slot, with how old it is."""
        # With Redis away nobody can tell anything: that is no sign of their death.
        await self._link.call("PING")
        self._forget_the_gone()
        now_s = asyncio.get_running_loop().time()
        found = [replace(one.snapshot, seen_s_ago=now_s - one.at_s) for one in self._seen.values()]
        return sorted(found, key=lambda one: (one.role, one.slot))

    def _heard(self, message: bytes) -> None:
        kind, rest = message[:1], message[1:]
        if kind == _LEAVES:
            self._seen.pop(rest.decode("utf-8", "replace"), None)
        elif kind == _TELLS:
            try:
                snapshot = msgspec.json.decode(rest, type=NodeSnapshot)
            except msgspec.MsgspecError as error:
                self._cannot_read(rest, error)
            else:
                self._keep(snapshot)

    def _keep(self, snapshot: NodeSnapshot) -> None:
        self._forget_the_gone()
        known = self._seen.get(snapshot.node)
        slot = known.snapshot.slot if known is not None else self._free_slot(snapshot.role)
        self._seen[snapshot.node] = _Seen(replace(snapshot, slot=slot), asyncio.get_running_loop().time())

    def _free_slot(self, role: str) -> int:
        """Return the lowest number that nobody in a role has."""
        taken = {one.snapshot.slot for one in self._seen.values() if one.snapshot.role == role}
        return next(number for number in range(1, len(taken) + 2) if number not in taken)

    def _forget_the_gone(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for node in [node for node, one in self._seen.items() if now_s - one.at_s > GONE_AFTER_S]:
            del self._seen[node]

    def _cannot_read(self, told: bytes, error: Exception) -> None:
        # A process of another version, in the middle of an update: each kind of trouble is said once.
        what = str(error)
        if what not in self._unread and len(self._unread) < 100:
            self._unread.add(what)
            shown = told[:80].decode("utf-8", "replace")
            _log.warning("what a process tells of itself cannot be read, is it of another version? %s: %s", what, shown)
