"""What only Redis can do to leases, health calls and news: answer late, die, come back, drop a connection."""

from __future__ import annotations

import asyncio
import functools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.health_calls import RedisHealthCalls
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.lease import RedisLease
from payrouter.adapters.redis.news import RedisNewsBoard
from payrouter.adapters.redis.subscription import Subscription
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.health import HealthReport
from payrouter.domain.lease import LEASE_S, TRUST_MARGIN_S, Term

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from payrouter_lab.cluster.servers import RedisServer

FINE = HealthReport(failing=False, min_response_ms=5)


class Coordination:
    """One node's lease, health calls and news."""

    def __init__(self, url: str, link: Any, prefix: str, node: str) -> None:
        clock, self.keys = SystemClock(), Keys(prefix)
        self.lease = RedisLease(link, self.keys, node, clock)
        self.calls = RedisHealthCalls(link, self.keys, self.lease)
        self.news = RedisNewsBoard(link, Subscription(url, self.keys.news), self.keys, self.lease, clock)


@asynccontextmanager
async def coordination(
    server: RedisServer, prefix: str = "payrouter", node: str = "one"
) -> AsyncIterator[Coordination]:
    link = RedisLink(server.url, call_timeout_s=0.5)
    await link.open(5.0)
    try:
        yield Coordination(server.url, link, prefix, node)
    finally:
        await link.close()


def running(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 20))

    return run


class LateLink:
    """A link whose answers come `late_s` later."""

    def __init__(self, link: RedisLink, late_s: float) -> None:
        self._link = link
        self._late_s = late_s

    async def eval(self, *call: Any) -> Any:
        answer = await self._link.eval(*call)
        await asyncio.sleep(self._late_s)
        return answer


@running
async def test_a_late_answer_shortens_the_term(redis_server: RedisServer, redis_prefix: str) -> None:
    link = RedisLink(redis_server.url)
    await link.open(5.0)
    late = Coordination(redis_server.url, LateLink(link, 0.3), redis_prefix, "one")
    term = await late.lease.acquire()
    assert isinstance(term, Term)
    assert term.trusted_until_s - time.monotonic() <= LEASE_S - TRUST_MARGIN_S - 0.3
    await link.close()


@running
async def test_news_that_took_long_to_read_is_rather_too_old_than_too_young(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    async with coordination(redis_server, redis_prefix, "other") as other:
        await other.lease.acquire()
        link = RedisLink(redis_server.url)
        await link.open(5.0)
        late = Coordination(redis_server.url, LateLink(link, 0.3), redis_prefix, "one")
        await other.news.post_report("default", FINE)
        asked_s = time.monotonic()
        [report] = await late.news.news()
        assert report.made_s <= asked_s
        await link.close()


@running
async def test_a_redis_that_was_killed_and_came_back_knows_the_last_call_the_token_and_the_news(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    async with coordination(server) as one:
        term = await one.lease.acquire()
        assert await one.calls.reserve("default") == 0.0
        await one.news.post_report("default", FINE)
        server.kill()
        server.start()
    async with coordination(server, node="other") as other:
        await asyncio.sleep(LEASE_S)
        again = await other.lease.acquire()
        assert isinstance(term, Term)
        assert isinstance(again, Term)
        assert again.token == term.token + 1
        assert 0 < await other.calls.reserve("default") <= 6.05
        other.lease.watch.watched_from_s = float("-inf")
        assert 0 < await other.calls.reserve("default") < 4
        assert len(await other.news.news()) == 1


@running
async def test_a_redis_that_is_away_is_said_to_be_and_used_again_when_it_is_back(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    async with coordination(server) as one:
        await one.lease.acquire()
        server.kill()
        for call in (
            one.lease.acquire,
            one.lease.release,
            one.news.news,
            functools.partial(one.calls.reserve, "default"),
            functools.partial(one.calls.answered, "default"),
            functools.partial(one.news.post_report, "default", FINE),
            functools.partial(one.news.post_hint, "default", up=True),
        ):
            with pytest.raises(StoreUnavailable):
                await call()
        server.start()
        async with asyncio.timeout(5):
            while True:
                try:
                    assert isinstance(await one.lease.acquire(), Term)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)


@running
async def test_scripts_that_redis_forgot_are_taught_again(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    async with coordination(server) as one:
        await one.lease.acquire()
        server.ask("SCRIPT", "FLUSH")
        assert isinstance(await one.lease.acquire(), Term)


@running
async def test_a_listener_that_lost_its_connection_looks_again_and_hears_again(
    own_redis: Callable[..., RedisServer],
) -> None:
    server = own_redis()
    async with coordination(server) as one, coordination(server, node="other") as other:
        heard = asyncio.Event()
        listening = asyncio.ensure_future(one.news.listen(heard.set))
        await asyncio.wait_for(heard.wait(), 5)
        await one.news.news()
        heard.clear()
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await other.news.post_hint("default", up=True)
        await asyncio.wait_for(heard.wait(), 5)
        assert len(await one.news.news()) == 1
        heard.clear()
        await other.news.post_hint("default", up=False)
        await asyncio.wait_for(heard.wait(), 5)
        listening.cancel()
        await asyncio.wait([listening])


@running
async def test_what_redis_keeps_of_it_does_not_grow(redis_server: RedisServer, redis_prefix: str) -> None:
    async with coordination(redis_server, redis_prefix) as one:
        for number in range(50):
            await one.lease.acquire()
            await one.calls.reserve("default")
            await one.calls.answered("default")
            await one.news.post_report("default", FINE)
            await one.news.post_hint("default", up=bool(number % 2))
            await one.news.post_purge()
        assert redis_server.ask("HLEN", one.keys.leader) == 3
        assert redis_server.ask("HKEYS", one.keys.health) == ["called:default"]
        assert redis_server.ask("HLEN", one.keys.board) == 5
