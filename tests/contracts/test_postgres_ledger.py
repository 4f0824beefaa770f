"""The ledger in PostgreSQL: what is settled counts once, in every window, whoever settles it and how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.settled_rows import REASON, opened, row, shuffled
from contracts.stores import AT_US, PROCESSORS, id_of
from contracts.test_summary_contract import CHARGES, INSTANTS, naive
from payrouter.adapters.postgres.books import open_books
from payrouter.adapters.postgres.ledger import PostgresLedger
from payrouter.adapters.postgres.migrate import migrate
from payrouter.domain.ledger import AttemptRecord, PaymentRecord, Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import LAST_US, Window
from payrouter.ports.books import BookEntry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from payrouter_lab.cluster.servers import PostgresServer

EVER = Window()
TEST_MAY_TAKE_S = 30.0


@pytest.fixture(scope="module")
def ledger_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with our tables, emptied for each test."""
    url = postgres_server.create_database("ledger")
    asyncio.run(migrate(url))
    yield url
    postgres_server.drop_database("ledger")


def over_ledger(test: Callable[[PostgresLedger, str], Awaitable[None]]) -> Callable[[str], None]:
    """Run an async test over an empty ledger; it is given the address too, to open more of them."""

    async def over(url: str) -> None:
        async with asyncio.timeout(TEST_MAY_TAKE_S), opened(url) as store:
            ledger = PostgresLedger(store)
            await ledger.purge()
            await test(ledger, url)

    def run(ledger_url: str) -> None:
        asyncio.run(over(ledger_url))

    run.__name__ = test.__name__  # type: ignore[attr-defined]
    return run


# -- settling


@over_ledger
async def test_what_is_settled_is_in_the_summary_of_its_processor(ledger: PostgresLedger, url: str) -> None:
    assert await ledger.summary(EVER) == {}
    assert await ledger.settle([row(1), row(2, "fallback"), row(3, "fallback")]) == [True, True, True]
    assert await ledger.summary(EVER) == {"default": Totals(1, 1990), "fallback": Totals(2, 3980)}


@over_ledger
async def test_settling_nothing_does_nothing(ledger: PostgresLedger, url: str) -> None:
    assert await ledger.settle([]) == []


@over_ledger
async def test_a_batch_settled_again_counts_once_and_says_what_was_new(ledger: PostgresLedger, url: str) -> None:
    assert await ledger.settle([row(2), row(4)]) == [True, True]
    assert await ledger.settle([row(1), row(2), row(3), row(4)]) == [True, False, True, False]
    assert await ledger.settle([row(1), row(2), row(3), row(4)]) == [False] * 4
    assert await ledger.summary(EVER) == {"default": Totals(4, 4 * 1990)}


@over_ledger
async def test_one_payment_twice_in_a_batch_is_the_first_of_the_two(ledger: PostgresLedger, url: str) -> None:
    twice = [row(1, "fallback", AT_US, 700), row(2), row(1, "default", AT_US + 1, 900)]
    assert await ledger.settle(twice) == [True, True, False]
    assert await ledger.settle(twice) == [False, False, False]
    assert await ledger.summary(EVER) == {"default": Totals(1, 1990), "fallback": Totals(1, 700)}


@over_ledger
async def test_what_was_settled_elsewhere_first_stays_as_it_was(ledger: PostgresLedger, url: str) -> None:
    await ledger.settle([row(1, "default", AT_US, 500)])
    assert await ledger.settle([row(1, "fallback", AT_US + 9, 800)]) == [False]
    assert await ledger.summary(EVER) == {"default": Totals(1, 500)}


@over_ledger
async def test_dispatchers_that_settle_the_same_payments_at_once_count_each_once(
    ledger: PostgresLedger, url: str
) -> None:
    async with opened(url) as second_store:
        second = PostgresLedger(second_store, lane=1)
        for number in range(20):
            ours = range(number * 50, number * 50 + 50)
            one, two = await asyncio.gather(
                ledger.settle(by_id := sorted(shuffled(ours, 1), key=_id)), second.settle(backwards := by_id[::-1])
            )
            new = [_id(one_row) for one_row, fresh in zip(by_id + backwards, one + two, strict=True) if fresh]
            assert sorted(new) == [_id(one_row) for one_row in by_id]
    assert await ledger.summary(EVER) == {"default": Totals(1000, 1000 * 1990)}


@over_ledger
async def test_eight_that_settle_into_the_same_roll_ups_do_not_block_each_other_for_good(
    ledger: PostgresLedger, url: str
) -> None:
    """Each batch shares half its payments with its neighbour's, in another order; all are of one bucket and lane."""

    async def settle(ledger: PostgresLedger, place: int) -> int:
        written = 0
        for turn in range(15):
            start = 1000 * turn + 10 * place
            written += sum(await ledger.settle(shuffled(range(start, start + 20), seed=place)))
        return written

    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(url, connections=1)) for _ in range(8)]
        written = await asyncio.gather(*(settle(PostgresLedger(one), place) for place, one in enumerate(stores)))
    assert sum(written) == 15 * 90
    assert await ledger.summary(EVER) == {"default": Totals(15 * 90, 15 * 90 * 1990)}


@over_ledger
async def test_lanes_are_added_up(ledger: PostgresLedger, url: str) -> None:
    for lane in (0, 3, 15):
        ledger.lane = lane
        assert await ledger.settle([row(lane)]) == [True]
    whole_day = Window(AT_US - 86_400_000_000, AT_US + 86_400_000_000)
    assert await ledger.summary(whole_day) == {"default": Totals(3, 3 * 1990)}


@over_ledger
async def test_new_processors_named_by_several_at_once_are_never_mixed_up(ledger: PostgresLedger, url: str) -> None:
    names = [f"new-{number}" for number in range(6)]

    async def settle(one: PostgresLedger, place: int) -> None:
        for turn in range(6):
            name = names[(turn + place) % 6]
            await one.settle([row(100 * place + turn, name, amount_minor=10 ** names.index(name))])

    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(url, connections=1)) for _ in range(6)]
        await asyncio.gather(*(settle(PostgresLedger(one), place) for place, one in enumerate(stores)))
    expected = {name: Totals(6, 6 * 10**power) for power, name in enumerate(names)}
    assert await ledger.summary(EVER) == expected


@over_ledger
async def test_large_sums_are_exact(ledger: PostgresLedger, url: str) -> None:
    most = 100_000_000_000
    await ledger.settle([row(number, amount_minor=most - number) for number in range(1, 51)])
    assert await ledger.summary(EVER) == {"default": Totals(50, 50 * most - 50 * 51 // 2)}


@over_ledger
async def test_a_purge_forgets_payments_and_lets_them_be_settled_anew(ledger: PostgresLedger, url: str) -> None:
    await ledger.settle([row(1), row(2, "fallback")])
    await ledger.purge()
    assert await ledger.summary(EVER) == {}
    assert await ledger.find(id_of(1)) is None
    assert await ledger.settle([row(1)]) == [True]
    assert await ledger.summary(EVER) == {"default": Totals(1, 1990)}


@over_ledger
async def test_a_busy_roll_up_does_not_grow_with_every_batch(ledger: PostgresLedger, url: str) -> None:
    """Old versions of its row make room for new ones, and its index is left alone."""
    for number in range(1500):
        await ledger.settle([row(number)])
    async with opened(url) as store:
        [(pages, index_pages)] = await store.fetch(
            "SELECT pg_relation_size('payrouter.rollup') / 8192, pg_relation_size('payrouter.rollup_pkey') / 8192"
        )
    assert pages <= 2
    assert index_pages <= 2


def _id(one: Any) -> str:
    return str(one.settlement.intent.delivery.correlation_id)


# -- the summary against a naive sum


@pytest.fixture(scope="module")
def long_lived(ledger_url: str) -> Iterator[tuple[asyncio.Runner, list[PostgresLedger]]]:
    """A loop, and on it two dispatchers' ledgers that stay open from example to example."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def open_two() -> list[PostgresLedger]:
            stores = [await stack.enter_async_context(opened(ledger_url)) for _ in range(2)]
            return [PostgresLedger(store, lane=lane) for lane, store in enumerate(stores)]

        yield runner, runner.run(open_two())
        runner.run(stack.aclose())


@settings(max_examples=50)
@given(CHARGES, st.data())
def test_a_summary_is_the_sum_of_what_was_settled_in_its_window(
    long_lived: tuple[asyncio.Runner, list[PostgresLedger]],
    charges: list[tuple[int, str, int]],
    data: st.DataObject,
) -> None:
    near = [at_us + off_us for at_us, _, _ in charges for off_us in (-1, 0, 1)]
    bounds = st.one_of(st.sampled_from(near), INSTANTS, st.sampled_from([0, LAST_US]))
    windows = data.draw(st.lists(st.builds(Window, bounds, bounds), min_size=1, max_size=12))
    runner, (one, other) = long_lived

    async def compare() -> None:
        await one.purge()
        rows = [row(number, name, at_us, amount) for number, (at_us, name, amount) in enumerate(charges)]
        # Each batch adds to roll-ups of the one before, and repeats a part of it.
        await one.settle(rows[::2])
        await other.settle(rows[1:])
        for window in [Window(), *windows]:
            assert await one.summary(window) == naive(charges, window)

    runner.run(compare())


@over_ledger
async def test_a_summary_is_of_one_moment_while_payments_are_settled(ledger: PostgresLedger, url: str) -> None:
    """Each batch has as many payments at the window's raw edge as in whole buckets: in a snapshot they are equal."""
    edge_us = (AT_US >> 36 << 36) + 10
    bucket_us = edge_us + (3 << 36)
    window = Window(edge_us, bucket_us + (1 << 36))

    async def settle() -> None:
        for number in range(0, 400, 4):
            places = [edge_us, bucket_us, edge_us, bucket_us]
            rows = [row(number + i, PROCESSORS[i % 2], at_us) for i, at_us in enumerate(places)]
            await ledger.settle(rows)

    async with opened(url) as store:
        reader = PostgresLedger(store)
        settling = asyncio.create_task(settle())
        seen = Counter[int]()
        while not settling.done():
            found = await reader.summary(window)
            counts = [found.get(name, Totals()).count for name in PROCESSORS]
            assert counts[0] == counts[1]
            seen[counts[0]] += 1
        await settling
    assert len(seen) > 5, "it was read in the middle"


# -- single payments


@over_ledger
async def test_a_settled_payment_s_record_says_everything(ledger: PostgresLedger, url: str) -> None:
    failures = (
        AttemptRecord(AT_US + 5, "default", "refused", 'answered 500: "é\x00\u2028"'),
        AttemptRecord(AT_US + 7, "default", "outcome unknown", "no answer"),
    )
    await ledger.settle([row(1, "fallback", AT_US + 10, 42, attempts=3, failures=failures), row(2)])
    assert await ledger.find(id_of(1)) == PaymentRecord(
        correlation_id=id_of(1),
        amount_minor=42,
        accepted_us=AT_US + 10 - 2_000,
        state=PaymentState.SETTLED,
        attempts=3,
        processor="fallback",
        requested_us=AT_US + 10,
        settled_us=AT_US + 10 + 12_500,
        latency_ms=12.5,
        reason=REASON,
        failures=failures,
    )


@over_ledger
async def test_an_unknown_payment_is_not_found(ledger: PostgresLedger, url: str) -> None:
    assert await ledger.find(id_of(1)) is None


@over_ledger
async def test_of_many_ids_the_settled_ones_are_known_with_their_amounts(ledger: PostgresLedger, url: str) -> None:
    await ledger.settle([row(1, amount_minor=10), row(3, amount_minor=30)])
    assert await ledger.known([id_of(number) for number in range(1, 5)]) == {id_of(1): 10, id_of(3): 30}
    assert await ledger.known([]) == {}


# -- the books


@over_ledger
async def test_the_books_read_what_was_settled_in_a_window(ledger: PostgresLedger, url: str) -> None:
    await ledger.settle([row(n, PROCESSORS[n % 2], AT_US + n, 100 + n) for n in range(6)])
    async with open_books(url) as books:
        window = Window(AT_US + 1, AT_US + 3)
        assert await books.summary(window) == {"default": Totals(1, 102), "fallback": Totals(2, 204)}
        assert await books.settled(window) == {
            "default": {id_of(2): BookEntry(id_of(2), 102, AT_US + 2)},
            "fallback": {id_of(n): BookEntry(id_of(n), 100 + n, AT_US + n) for n in (1, 3)},
        }
        found = await books.find(id_of(5))
        assert found is not None
        assert found.processor == "fallback"


@over_ledger
async def test_a_slice_of_the_books_ends_at_an_instant_that_it_holds_whole(ledger: PostgresLedger, url: str) -> None:
    await ledger.settle([row(n, at_us=AT_US + n // 3) for n in range(9)])
    async with open_books(url) as books:
        assert await books.slice_end_us(EVER, 3) == AT_US
        assert await books.slice_end_us(EVER, 4) == AT_US + 1
        assert await books.slice_end_us(Window(AT_US + 1, LAST_US), 6) == AT_US + 2
        assert await books.slice_end_us(Window(AT_US + 1, AT_US + 700), 7) == AT_US + 700
