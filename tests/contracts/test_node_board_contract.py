"""Where processes tell of themselves, over every engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.local_nodes import LocalNodes
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.nodes import RedisNodes
from payrouter.domain.snapshot import Count, Distribution, NodeSnapshot, ProcessorSnapshot
from payrouter.ports.observation import GONE_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from payrouter_lab.cluster.servers import RedisServer

_numbers = count(1)


def told_by(node: str, role: str = "dispatcher") -> NodeSnapshot:
    seen = ProcessorSnapshot("default", "usable", "closed", False, 7.0, 6.5, None, False, 3, 32, 0)
    return NodeSnapshot(
        node=node,
        role=role,
        host="here",
        pid=7,
        version="1",
        started_us=5,
        at_us=SystemClock().now_us(),
        waits="default is worth waiting for",
        unresolved=2,
        unresolved_since_us=9,
        processors=(seen,),
        counts=(Count("attempts_total", ("default", "charged"), 4.0),),
        distributions=(Distribution("settle_seconds", (), (0, 1, 2), 0.5),),
    )


async def over_redis(url: str, test: Callable[[RedisNodes], Awaitable[None]]) -> None:
    link = RedisLink(url)
    await link.open(5.0)
    try:
        await test(RedisNodes(link, Keys(f"board{next(_numbers)}")))
    finally:
        await link.close()


@pytest.fixture(params=["local", "redis"])
def over(request: pytest.FixtureRequest) -> Callable[[Callable[..., Awaitable[None]]], None]:
    """Run a test over one engine after the other."""
    if request.param == "local":
        return lambda test: asyncio.run(test(LocalNodes(SystemClock())))
    server: RedisServer = request.getfixturevalue("redis_server")
    return lambda test: asyncio.run(over_redis(server.url, test))


def test_what_a_process_tells_is_read_as_it_was_told(over) -> None:
    async def test(nodes) -> None:
        assert await nodes.nodes() == []
        one = told_by("one")
        await nodes.show(replace(one, unresolved=0))
        await nodes.show(one)
        [found] = await nodes.nodes()
        assert replace(found, seen_s_ago=0.0) == one
        assert 0 <= found.seen_s_ago < 1.0
        assert found.name == "dispatcher-1"
        assert found.total("attempts_total", "default") == 4.0

    over(test)


def test_one_that_leaves_is_gone(over) -> None:
    async def test(nodes) -> None:
        await nodes.show(told_by("one"))
        await nodes.leave("one")
        await nodes.leave("never there")
        assert await nodes.nodes() == []

    over(test)


@pytest.fixture
def on_redis(redis_server: RedisServer) -> Callable[[Callable[[RedisNodes], Awaitable[None]]], None]:
    """Run a test over a real Redis."""
    return lambda test: asyncio.run(over_redis(redis_server.url, test))


def test_each_process_has_the_lowest_number_that_is_free_in_its_role(on_redis) -> None:
    async def test(nodes: RedisNodes) -> None:
        for node in ("one", "two", "three"):
            await nodes.show(told_by(node))
        await nodes.show(told_by("api", "api"))
        assert [one.name for one in await nodes.nodes()] == ["api-1", "dispatcher-1", "dispatcher-2", "dispatcher-3"]
        await nodes.leave("two")
        await nodes.show(told_by("three"))
        await nodes.show(told_by("four"))
        assert {one.node: one.slot for one in await nodes.nodes()} == {"api": 1, "one": 1, "three": 3, "four": 2}

    on_redis(test)


def test_one_that_tells_nothing_any_more_is_gone_and_its_number_free(on_redis) -> None:
    async def test(nodes: RedisNodes) -> None:
        await nodes.show(told_by("dead"))
        link, slots = nodes._link, nodes._keys[1]
        at_ms, rest = (await link.call("HGET", slots, "dead")).split(b" ", 1)
        long_ago_ms = int(at_ms) - round(GONE_AFTER_S * 1000) - 1
        await link.call("HSET", slots, "dead", b"%d %b" % (long_ago_ms, rest))
        assert await nodes.nodes() == []
        await nodes.show(told_by("new"))
        assert [(one.node, one.slot) for one in await nodes.nodes()] == [("new", 1)]
        assert await link.call("HLEN", slots) == await link.call("HLEN", nodes._keys[0]) == 1

    on_redis(test)


def test_what_another_version_tells_is_left_out_and_said_once(on_redis, caplog: pytest.LogCaptureFixture) -> None:
    async def test(nodes: RedisNodes) -> None:
        await nodes.show(told_by("one"))
        await nodes.show(told_by("newer"))
        await nodes._link.call("HSET", nodes._keys[0], "newer", '{"another": "shape"}')
        for _ in range(2):
            assert [one.node for one in await nodes.nodes()] == ["one"]

    on_redis(test)
    assert caplog.text.count("what newer tells of itself cannot be read") == 1
