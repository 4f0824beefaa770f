"""What goes on in an installation's Redis, in figures. Changes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.adapters.redis.answers import RedisAnswered
from payrouter.adapters.redis.keys import GROUP

if TYPE_CHECKING:
    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys


@dataclass(frozen=True, slots=True)
class RedisReport:
    """`waiting` for an attempt; `held` by dispatchers, the oldest accepted at `oldest_held_us`; `orphans`: unresolved
    attempts that nobody holds; `dispatchers` that live; `lost`: their heartbeat stopped and nobody took over yet.

    `leader` is None while nobody leads, `memory_limit` 0 for none. Instants are microseconds of Redis' clock, `now_us`.
    """

    now_us: int
    memory_used: int
    memory_limit: int
    waiting: int
    held: int
    oldest_held_us: int | None
    orphans: int
    dead_letters: int
    poison: int
    dispatchers: tuple[str, ...]
    lost: int
    leader: str | None


async def report_on(link: RedisLink, keys: Keys) -> RedisReport:
    """Return what goes on.

    Raises:
        StoreError: if Redis cannot be asked.
    """
    now_us = await _now_us(link)
    memory = await _memory(link)
    held, oldest_held_us = await _held(link, keys)
    living = await living_dispatchers(link, keys)
    waiting, orphans, dead, poison, registered, leader = await asyncio.gather(
        link.call("HGET", keys.meta, "waiting"),
        link.call("ZCARD", keys.orphans),
        link.call("ZCARD", keys.dead),
        link.call("HGET", keys.meta, "poison"),
        link.call("ZCARD", keys.dispatchers),
        link.call("HMGET", keys.leader, "node", "until_us"),
    )
    leads = leader[0] is not None and int(leader[1] or 0) > now_us
    return RedisReport(
        now_us=now_us,
        memory_used=memory.get("used_memory", 0),
        memory_limit=memory.get("maxmemory", 0),
        waiting=int(waiting or 0),
        held=held,
        oldest_held_us=oldest_held_us,
        orphans=orphans,
        dead_letters=dead,
        poison=int(poison or 0),
        dispatchers=tuple(living),
        lost=max(0, registered - len(living)),
        leader=leader[0].decode() if leads else None,
    )


async def living_dispatchers(link: RedisLink, keys: Keys) -> list[str]:
    """Return the instances of dispatchers whose heartbeat counts."""
    now_ms = await _now_us(link) // 1000
    return [one.decode() for one in await link.call("ZRANGEBYSCORE", keys.dispatchers, now_ms, "+inf")]


async def _now_us(link: RedisLink) -> int:
    seconds, micros = await link.call("TIME")
    return int(seconds) * 1_000_000 + int(micros)


async def _memory(link: RedisLink) -> dict[str, int]:
    lines = (await link.call("INFO", "memory")).decode("utf-8", "replace").splitlines()
    figures = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(figures[name]) for name in ("used_memory", "maxmemory") if name in figures}


async def _held(link: RedisLink, keys: Keys) -> tuple[int, int | None]:
    """Return how many payments dispatchers hold, and when the oldest of them was accepted."""
    try:
        count, first, *_ = await link.call("XPENDING", keys.queue, GROUP)
    except RedisAnswered as error:
        if error.code != "NOGROUP":
            raise
        return 0, None  # no payment and no dispatcher was ever here
    # The entry's number begins with the millisecond it was added in.
    return count, int(first.partition(b"-")[0]) * 1000 if first else None
