"""The cluster engine: Redis for what is under way, PostgreSQL for what is settled."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.cluster import ClusterLedger
from payrouter.adapters.log_lines import fact
from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.adapters.process import node_name
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.health_calls import RedisHealthCalls
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.lease import RedisLease
from payrouter.adapters.redis.news import RedisNewsBoard
from payrouter.adapters.redis.nodes import RedisNodes
from payrouter.adapters.redis.notices import RedisNotices
from payrouter.adapters.redis.queue import RedisQueue
from payrouter.adapters.redis.server import require_durable
from payrouter.adapters.redis.subscription import Subscription
from payrouter.application.dispatch import Pace
from payrouter.bootstrap.engines import Coordination, Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter.ports.clock import Clock
    from payrouter.settings import Settings

OPEN_WITHIN_S = 60.0
"""How long a start waits for Redis and PostgreSQL."""

BETWEEN_CLAIMS_S = 0.005
"""A claim is a round trip: permits gather for so long and share one."""

CLAIM_AT_ONCE = 128
"""Redis does nothing else meanwhile, and accepts are waiting: a claim of so many takes it half a millisecond."""

_log = logging.getLogger("payrouter")


@asynccontextmanager
async def cluster_engine(settings: Settings, *, dispatches: bool) -> AsyncIterator[Engine]:
    """Open Redis and PostgreSQL; wait for them if they are still starting.

    Raises:
        StoreError: if one of them cannot be used; the text says why.
    """
    role = "dispatcher" if dispatches else "api"
    keys = Keys(settings.redis_prefix)
    async with AsyncExitStack() as stack:
        link = RedisLink(settings.redis_url, name=f"payrouter-{role}")
        stack.push_async_callback(link.close)
        await link.open(OPEN_WITHIN_S)
        promises = await require_durable(link, allow_unsafe=settings.allow_unsafe_stores)
        _log.info("%s", promises.in_words(), extra=fact("store_promises"))
        access = Access(settings.postgres_url, name=f"payrouter-{role}", trust_settings=settings.allow_unsafe_stores)
        store = PostgresStore(access)
        stack.push_async_callback(store.close)
        await store.open(OPEN_WITHIN_S)
        subscription = Subscription(settings.redis_url, keys.news)
        node = node_name()
        stores = Stores(link, PostgresLedger(store), subscription)
        yield await stack.enter_async_context(engine_over(stores, settings, SystemClock(), node, dispatches=dispatches))


@dataclass(frozen=True, slots=True)
class Stores:
    """Open connections to both stores."""

    link: RedisLink
    rows: PostgresLedger
    subscription: Subscription


@asynccontextmanager
async def engine_over(
    stores: Stores, settings: Settings, clock: Clock, node: str, *, dispatches: bool
) -> AsyncIterator[Engine]:
    """Put the engine together. `node` names this process and nobody else, ever."""
    link, rows, keys = stores.link, stores.rows, Keys(settings.redis_prefix)
    told = bool(settings.webhook_url)
    queue = RedisQueue(link, keys, rows, limit=settings.queue_limit, remember=settings.remember_settled, notices=told)
    lease = RedisLease(link, keys, node, clock)
    news = RedisNewsBoard(link, stores.subscription, keys, lease, clock)
    async with AsyncExitStack() as stack:
        if dispatches:
            await queue.join()
            stack.push_async_callback(queue.leave)
            rows.lane = queue.membership.lane
            await rows.name([one.name for one in settings.processors])
        yield Engine(
            queue=queue,
            ledger=ClusterLedger(queue, rows),
            health_calls=RedisHealthCalls(link, keys, lease),
            pace=Pace(CLAIM_AT_ONCE, settings.poll_s, BETWEEN_CLAIMS_S, settings.gather_s),
            where="Redis",
            tasks=(queue.keep,) if dispatches else (),
            nodes=RedisNodes(link, keys, partial(Subscription, settings.redis_url, keys.nodes, name="payrouter-nodes")),
            pause=news.post_pause,
            coordination=Coordination(lease, news, node, queue.forget) if dispatches else None,
            tell_purge=news.post_purge,
            notices=RedisNotices(link, keys) if told else None,
        )
