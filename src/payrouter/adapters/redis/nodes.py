"""The node board in Redis: a snapshot per process, by Redis' own clock."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.scripts import load_script
from payrouter.domain.snapshot import NodeSnapshot
from payrouter.ports.observation import GONE_AFTER_S

if TYPE_CHECKING:
    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys

_SHOW = load_script("common", "show_node")
_READ = load_script("common", "read_nodes")
_log = logging.getLogger("payrouter")


class RedisNodes:
    """`NodeBoard` of a whole cluster."""

    def __init__(self, link: RedisLink, keys: Keys) -> None:
        self._link = link
        self._keys = [keys.nodes, keys.slots]
        self._unread: set[str] = set()

    async def show(self, snapshot: NodeSnapshot) -> None:
        """Tell of this process, in place of what it told before."""
        gone_ms = round(GONE_AFTER_S * 1000)
        told = msgspec.json.encode(snapshot)
        await self._link.eval(_SHOW, self._keys, [snapshot.node, snapshot.role, gone_ms, told])

    async def leave(self, node: str) -> None:
        """This process ends: take its snapshot away."""
        for key in self._keys:
            await self._link.call("HDEL", key, node)

    async def nodes(self) -> list[NodeSnapshot]:
        """Return the newest snapshot of each living process, by role and slot, with how old it is."""
        now_ms, *flat = await self._link.eval(_READ, self._keys, [])
        found = []
        for node, slot, told in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            at_ms, number, _ = slot.split(b" ", 2)
            age_s = max(0, int(now_ms) - int(at_ms)) / 1000
            if age_s <= GONE_AFTER_S:
                snapshot = self._read(node.decode(), told)
                if snapshot is not None:
                    found.append(replace(snapshot, slot=int(number), seen_s_ago=age_s))
        return sorted(found, key=lambda one: (one.role, one.slot))

    def _read(self, node: str, told: bytes) -> NodeSnapshot | None:
        try:
            return msgspec.json.decode(told, type=NodeSnapshot)
        except msgspec.MsgspecError as error:
            # A process of another version, in the middle of an update: said once.
            if node not in self._unread:
                self._unread = {*list(self._unread)[-99:], node}
                _log.warning(
                    "what %s tells of itself cannot be read (%s); is it of another version?",
                    node,
                    error,
                    extra=fact("node_unreadable"),
                )
            return None
