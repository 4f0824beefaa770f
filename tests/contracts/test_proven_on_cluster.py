"""What only a cluster has: the moment between taking a proven payment out of the queue and settling it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from contracts.stores import AT_US, ClusterEngine, id_of, payment, payments, pinned, settlement
from payrouter.adapters.redis.keys import GROUP
from payrouter.adapters.rows import to_blob
from payrouter.bootstrap import installation
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.ledger import Settlement, Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window
from payrouter.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Test = Callable[[Any], Awaitable[None]]


@pytest.fixture
def cluster(cluster_engine: Callable[[Path, int], Any], tmp_path: Path) -> Callable[[Test], None]:
    """Run an async test over an open cluster engine."""

    async def over(test: Test) -> None:
        store = cluster_engine(tmp_path, 1000)
        await store.open()
        try:
            await asyncio.wait_for(test(store), 20)
        finally:
            await store.close()

    return lambda test: asyncio.run(over(test))


def proven(number: int) -> Settlement:
    delivery = Delivery(id_of(number), 1990, payment(number).accepted_us, receipt=0)
    return settlement(Intent(delivery, "fallback", AT_US + 7, "proven|0.0|0|0|1.00|"))


async def taken(store: Any, number: int) -> None:
    """Take a waiting payment and die before it is settled."""
    [standing] = await store.queue.departures.take_waiting([proven(number)])
    assert standing == (1, ())


@pytest.mark.parametrize("claimed", [0, 1, 3])
def test_until_it_is_settled_it_is_a_dead_letter_that_nobody_sends(
    cluster: Callable[[Test], None], claimed: int
) -> None:
    async def test(store: ClusterEngine) -> None:
        await store.queue.accept(payments(3))
        held = await store.queue.claim(claimed)
        await taken(store, 2)
        if claimed:
            await store.queue.release(held)
        await store.restart()
        assert [one.correlation_id for one in await store.queue.claim(9)] == [id_of(1), id_of(3)]
        assert (await store.queue.backlog()).waiting == 2
        assert await store.queue.orphans() == []
        [letter] = await store.queue.dead_letters(9)
        assert (letter.correlation_id, letter.pinned_to) == (id_of(2), "fallback")
        assert letter.reason == "its record shows the charge; payrouter audit --repair settles it"
        assert int(await store.link.call("HGET", store.keys.meta, "poison") or 0) == 0
        # The next repair finds an unresolved attempt, and settles it.
        assert await store.ledger.settle([proven(2)]) == [True]
        record = await store.ledger.find(id_of(2))
        assert record is not None
        assert (record.state, record.requested_us) == (PaymentState.SETTLED, AT_US + 7)
        assert await store.queue.dead_letters(9) == []
        assert await store.link.call("XLEN", store.keys.queue) == 2

    cluster(test)


@pytest.mark.parametrize("claimed", [0, 3])
def test_an_operator_who_sends_it_again_repeats_that_attempt_whoever_dies(
    cluster: Callable[[Test], None], claimed: int
) -> None:
    async def test(store: ClusterEngine) -> None:
        await store.queue.accept(payments(3))
        await store.queue.release(await store.queue.claim(claimed))
        await taken(store, 2)
        assert len(await store.queue.claim(9)) == 2
        assert await store.queue.retry_dead_letters(None) == 1
        for _ in range(2):
            [adopted] = await store.queue.orphans()
            assert (adopted.delivery.correlation_id, adopted.processor, adopted.requested_us) == (
                id_of(2),
                "fallback",
                AT_US + 7,
            )
            await store.restart()
            await store.queue.claim(9)

    cluster(test)


def test_taking_it_twice_is_one_step(cluster: Callable[[Test], None]) -> None:
    async def test(store: ClusterEngine) -> None:
        await store.queue.accept(payments(2))
        found = await store.queue.departures.take_waiting([proven(1), proven(1)])
        assert found == [(1, ()), None]
        assert await store.queue.departures.take_waiting([proven(1)]) == [None]
        assert (await store.queue.backlog()).waiting == 1
        assert await store.link.call("XPENDING", store.keys.queue, GROUP) is not None

    cluster(test)


def test_a_charge_of_a_payment_whose_record_was_spoilt_is_unknown_here(cluster: Callable[[Test], None]) -> None:
    async def test(store: ClusterEngine) -> None:
        await pinned(store)
        await store.link.call("HSET", store.keys.payments, to_blob(id_of(1)), "no record")
        urls = {"redis_url": store.redis_url, "postgres_url": store.postgres_url}
        async with installation(Settings(redis_prefix=store.keys.prefix, **urls)).books() as books:
            assert await books.find(id_of(1)) is None
            assert await books.unresolved(Window(), 9) == ({}, [])
            assert await books.summary(Window()) == {}
        assert await store.ledger.settle_waiting([proven(1)]) == [False]
        assert await store.ledger.summary(Window()) == dict[str, Totals]()

    cluster(test)
