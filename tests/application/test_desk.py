"""What the desk says while a store is away: what it does not know it does not tell, and makes nothing of."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from application.virtual_time import VirtualClock, run_virtually
from payrouter.application.books_watch import BooksWatch
from payrouter.application.desk import Desk, Overview, Watched
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.ledger import Totals
from payrouter.domain.processor import Processor
from payrouter.ports.queue import Backlog

PROCESSORS = (Processor("default", "http://127.0.0.1:1", Decimal("0.05")),)


class Stores:
    """Board, queue and ledger in one; each answers unless it is `away`."""

    def __init__(self, *away: str) -> None:
        self.away = away
        self.sums = 0

    def _answer(self, name, value):
        if name in self.away:
            raise StoreUnavailable(f"{name} are away")
        return value

    async def nodes(self):
        return self._answer("nodes", [])

    async def backlog(self):
        return self._answer("backlog", Backlog(3, None))

    async def dead_letter_counts(self):
        return self._answer("dead_letters", (2, 1))

    async def webhooks(self):
        return self._answer("webhooks", (4, None))

    async def summary(self, window):
        self.sums += 1
        return self._answer("totals", {"default": Totals(1, 100)})


def desk_over(stores: Stores) -> Desk:
    clock = VirtualClock()
    books = BooksWatch(None, clock, None, every_s=0)  # type: ignore[arg-type]
    return Desk(Watched(stores, stores, stores, books, PROCESSORS, True, stores.webhooks), clock)  # type: ignore[arg-type]


def looked(*away: str) -> Overview:
    async def look() -> Overview:
        return await desk_over(Stores(*away)).look()

    return run_virtually(look())


def test_what_a_store_did_not_tell_is_named_and_said_once():
    assert looked().unread == frozenset()
    for name in ("nodes", "backlog", "dead_letters", "webhooks", "totals"):
        seen = looked(name)
        assert seen.unread == {name}
        assert f"{name} are away" in seen.problems


def test_nobody_claims_that_there_is_no_dispatcher_when_processes_could_not_be_asked():
    assert any("no dispatcher" in one for one in looked().problems)
    assert not any("no dispatcher" in one for one in looked("nodes").problems)


def test_a_scrape_sums_nothing_up():
    async def scrape() -> int:
        stores = Stores()
        desk = desk_over(stores)
        await desk.latest()
        before = stores.sums
        for _ in range(60):
            await asyncio.sleep(1)
            await desk.glance()
        return stores.sums - before

    assert run_virtually(scrape()) == 0
