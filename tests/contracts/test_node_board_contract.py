"""Where processes tell of themselves, over every engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.local_nodes import LocalNodes
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.nodes import RedisNodes
from payrouter.adapters.redis.subscription import Subscription
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


async def over_redis(url: str, test: Callable[..., Awaitable[None]]) -> None:
    link, keys = RedisLink(url), Keys(f"board{next(_numbers)}")
    await link.open(5.0)
    board = RedisNodes(link, keys, partial(Subscription, url, keys.nodes))
    listening = asyncio.ensure_future(board.listen())
    try:
        # Until it is heard, nothing is told.
        while not await link.call("PUBLISH", keys.nodes, "?"):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.005)
        await board.show(lambda: told_by("nobody"))
        await test(Heard(board, link, keys))
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        await link.close()


class Heard:
    """A board that is listened to: what was told is there once the call is over."""

    def __init__(self, board: RedisNodes, link: RedisLink, keys: Keys) -> None:
        self.board, self.link, self.keys = board, link, keys
        self.heard = 0
        keep = board._heard

        def noting(message: bytes) -> None:
            keep(message)
            self.heard += message != b"?"

        board._heard = noting  # type: ignore[method-assign]

    async def _until_heard(self, doing: Awaitable[object]) -> None:
        before = self.heard
        await doing
        async with asyncio.timeout(5):
            while self.heard == before:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.002)

    async def show(self, snapshot: Callable[[], NodeSnapshot]) -> None:
        await self._until_heard(self.board.show(snapshot))

    async def leave(self, node: str) -> None:
        await self._until_heard(self.board.leave(node))

    async def tell(self, message: bytes) -> None:
        await self._until_heard(self.link.call("PUBLISH", self.keys.nodes, message))

    async def nodes(self) -> list[NodeSnapshot]:
        return await self.board.nodes()


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
        await nodes.show(lambda: replace(one, unresolved=0))
        await nodes.show(lambda: one)
        [found] = await nodes.nodes()
        assert replace(found, seen_s_ago=0.0) == one
        assert 0 <= found.seen_s_ago < 1.0
        assert found.name == "dispatcher-1"
        assert found.total("attempts_total", "default") == 4.0

    over(test)


def test_one_that_leaves_is_gone(over) -> None:
    async def test(nodes) -> None:
        await nodes.show(lambda: told_by("one"))
        await nodes.leave("one")
        await nodes.leave("never there")
        assert await nodes.nodes() == []

    over(test)


@pytest.fixture
def on_redis(redis_server: RedisServer) -> Callable[[Callable[[Heard], Awaitable[None]]], None]:
    """Run a test over a real Redis."""
    return lambda test: asyncio.run(over_redis(redis_server.url, test))


def test_each_process_has_the_lowest_number_that_is_free_in_its_role(on_redis) -> None:
    async def test(nodes: Heard) -> None:
        for node in ("one", "two", "three"):
            await nodes.show(partial(told_by, node))
        await nodes.show(lambda: told_by("api", "api"))
        assert [one.name for one in await nodes.nodes()] == ["api-1", "dispatcher-1", "dispatcher-2", "dispatcher-3"]
        await nodes.leave("two")
        await nodes.show(lambda: told_by("three"))
        await nodes.show(lambda: told_by("four"))
        assert {one.node: one.slot for one in await nodes.nodes()} == {"api": 1, "one": 1, "three": 3, "four": 2}

    on_redis(test)


def test_one_that_tells_nothing_any_more_is_gone_and_its_number_free(on_redis) -> None:
    async def test(nodes: Heard) -> None:
        await nodes.show(lambda: told_by("dead"))
        nodes.board._seen["dead"].at_s -= GONE_AFTER_S
        assert await nodes.nodes() == []
        await nodes.show(lambda: told_by("new"))
        assert [(one.node, one.slot) for one in await nodes.nodes()] == [("new", 1)]

    on_redis(test)


def test_nothing_is_made_to_be_told_while_nobody_listens_and_nothing_is_stored(redis_server: RedisServer) -> None:
    async def test() -> None:
        link, keys, made = RedisLink(redis_server.url), Keys(f"board{next(_numbers)}"), list[str]()
        await link.open(5.0)
        board = RedisNodes(link, keys, partial(Subscription, redis_server.url, keys.nodes))

        def snapshot() -> NodeSnapshot:
            made.append("one")
            return told_by("one")

        before = await link.call("DBSIZE")
        for _ in range(3):
            await board.show(snapshot)
        assert made == []
        assert await link.call("DBSIZE") == before
        await link.close()

    asyncio.run(test())


def test_what_another_version_tells_is_left_out_and_said_once(on_redis, caplog: pytest.LogCaptureFixture) -> None:
    async def test(nodes: Heard) -> None:
        await nodes.show(lambda: told_by("one"))
        for _ in range(2):
            await nodes.tell(b'+{"another": "shape"}')
        await nodes.tell(b"!")
        assert [one.node for one in await nodes.nodes()] == ["one"]

    on_redis(test)
    assert caplog.text.count("what a process tells of itself cannot be read") == 1
