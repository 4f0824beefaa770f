"""An installation on the cluster engine, seen from outside."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from payrouter.adapters.cluster import ClusterLedger
from payrouter.adapters.cluster_books import ClusterBooks
from payrouter.adapters.cluster_findings import look_at_postgres, look_at_redis
from payrouter.adapters.postgres.books import open_books
from payrouter.adapters.postgres.connection import Access
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.migrate import migrate
from payrouter.adapters.postgres.server import SCHEMA_VERSION
from payrouter.adapters.postgres.store import PostgresStore
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.dead_letters import find_wrong, retry
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.queue import RedisQueue
from payrouter.adapters.redis.report import living_dispatchers
from payrouter.adapters.redis.views import count_dead_letters, count_poison, read_letters, read_poison
from payrouter.bootstrap.offline import DeadLetters
from payrouter.domain.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from payrouter.domain.ledger import Totals
    from payrouter.domain.window import Window
    from payrouter.ports.books import RouterBooks
    from payrouter.ports.findings import Finding
    from payrouter.ports.ledger import ChargeWriter
    from payrouter.settings import Settings

OPEN_WITHIN_S = 5.0
"""How long a command waits for a store: somebody sits in front of it."""

MIGRATE_WITHIN_S = 60.0
"""How long a migration waits for PostgreSQL: it is often started together with it."""


class ClusterInstallation:
    """`Installation` on Redis and PostgreSQL."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = Keys(settings.redis_prefix)
        self.where = "Redis"

    @asynccontextmanager
    async def _redis(self) -> AsyncIterator[RedisLink]:
        link = RedisLink(self._settings.redis_url, name="payrouter-command")
        try:
            await link.open(OPEN_WITHIN_S)
            yield link
        finally:
            await link.close()

    @asynccontextmanager
    async def books(self) -> AsyncIterator[RouterBooks]:
        """Give our books, for reading only."""
        async with (
            self._redis() as link,
            open_books(self._settings.postgres_url, within_s=OPEN_WITHIN_S) as settled,
        ):
            yield ClusterBooks(link, self._keys, settled)

    @asynccontextmanager
    async def charges(self) -> AsyncIterator[ChargeWriter]:
        """Give what writes proven charges into PostgreSQL and lets Redis go of them; it is no dispatcher."""
        settings = self._settings
        access = Access(settings.postgres_url, name="payrouter repairs", trust_settings=settings.allow_unsafe_stores)
        store = PostgresStore(access, connections=1)
        async with self._redis() as link:
            try:
                await store.open(OPEN_WITHIN_S)
                rows = PostgresLedger(store)
                remember = settings.remember_settled
                told = bool(settings.webhook_url)
                queue = RedisQueue(link, self._keys, rows, limit=settings.queue_limit, remember=remember, notices=told)
                yield ClusterLedger(queue, rows)
            finally:
                await store.close()

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals of settled payments by processor; needs PostgreSQL alone."""
        async with open_books(self._settings.postgres_url, within_s=OPEN_WITHIN_S) as settled:
            return await settled.summary(window)

    async def dead_letters(self, limit: int) -> DeadLetters:
        """Return dead letters and poison, `limit` of a kind at most; needs Redis alone."""
        async with self._redis() as link:
            return DeadLetters(
                await read_letters(link, self._keys, limit),
                await count_dead_letters(link, self._keys),
                await read_poison(link, self._keys, limit),
                await count_poison(link, self._keys),
            )

    async def retry_dead_letters(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many."""
        async with self._redis() as link:
            wrong = await find_wrong(link, self._keys, correlation_ids or ())
            if wrong:
                lines = await self._in_words(wrong)
                raise InvalidInput("nothing was sent again, as there are ids of no dead letter:\n" + "\n".join(lines))
            return await retry(link, self._keys, correlation_ids)

    async def _in_words(self, wrong: dict[str, str]) -> list[str]:
        """Return what payments are that are no dead letters: under way, settled or unknown."""
        gone = [one for one, label in wrong.items() if not label]
        if gone:
            async with open_books(self._settings.postgres_url, within_s=OPEN_WITHIN_S) as settled:
                wrong |= {one: "settled" for one in gone if await settled.find(one) is not None}
        return [f"  - {one} is {label or 'unknown here'}" for one, label in wrong.items()]

    async def runs(self) -> bool:
        """Return whether there is a dispatcher."""
        async with self._redis() as link:
            return bool(await living_dispatchers(link, self._keys))

    async def look(self) -> list[Finding]:
        """Return what there is to say about both stores; changes nothing."""
        settings = self._settings
        redis, postgres = await asyncio.gather(
            look_at_redis(
                settings.redis_url,
                self._keys,
                queue_limit=settings.queue_limit,
                trusted=settings.allow_unsafe_stores,
            ),
            look_at_postgres(settings.postgres_url, trusted=settings.allow_unsafe_stores),
        )
        return [*redis, *postgres]

    async def migrate(self, tell: Callable[[str], None]) -> list[str]:
        """Bring the tables up to what this version needs; return what was done, a line each."""
        url = self._settings.postgres_url
        applied = await migrate(url, within_s=MIGRATE_WITHIN_S, tell=lambda name: tell(f"applying {name}"))
        where = Access(url)
        if not applied:
            return [f"{where} has schema version {SCHEMA_VERSION} already: nothing to do"]
        return [*(f"applied {name}" for name in applied), f"{where} has schema version {SCHEMA_VERSION} now"]
