"""An installation seen from outside: our books and the dead letters, the same whichever engine keeps them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from contracts.stores import (
    AT_US,
    ENGINES,
    ClusterEngine,
    SqliteEngine,
    begun,
    buried,
    buried_while_pinned,
    failed,
    id_of,
    intent,
    numbered,
    payment,
    payments,
    pinned,
    settled,
    settlement,
)
from payrouter.bootstrap import installation
from payrouter.domain.errors import InvalidInput, StoreUnavailable
from payrouter.domain.ledger import Settlement, Totals
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.domain.window import Window
from payrouter.ports.books import BookEntry
from payrouter.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from payrouter.bootstrap import Installation
    from payrouter.domain.attempt import Intent

    Test = Callable[[Any, Installation], Awaitable[None]]

ALL = Window()
TEST_MAY_TAKE_S = 20.0


@pytest.fixture(params=["sqlite", "cluster"])
def seen_from_outside(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    """Run an async test over an open store and the installation it belongs to."""
    if request.param == "cluster":
        request.getfixturevalue("cluster_engine")

    async def over(test: Test) -> None:
        store: Any = ENGINES[request.param](tmp_path, 100_000)
        await store.open()
        try:
            await asyncio.wait_for(test(store, installation(settings_of(store))), TEST_MAY_TAKE_S)
        finally:
            await store.close()

    return lambda test: asyncio.run(over(test))


def settings_of(store: Any) -> Settings:
    if isinstance(store, ClusterEngine):
        urls = {"redis_url": store.redis_url, "postgres_url": store.postgres_url}
        return Settings(redis_prefix=store.keys.prefix, **urls)
    return Settings(data=store.path)


def test_the_books_hold_what_is_settled_by_processor_and_window(seen_from_outside: Callable[[Test], None]) -> None:
    async def test(store: Any, outside: Installation) -> None:
        for number, (processor, at_us) in enumerate([("default", 10), ("fallback", 20), ("default", 30)], start=1):
            await settled(store, number, processor, AT_US + at_us)
        await store.queue.accept([payment(9)])
        async with outside.books() as books:
            assert await books.settled(Window(AT_US + 10, AT_US + 20)) == {
                "default": {id_of(1): BookEntry(id_of(1), 1990, AT_US + 10)},
                "fallback": {id_of(2): BookEntry(id_of(2), 1990, AT_US + 20)},
            }
            assert await books.settled(Window(AT_US + 11, AT_US + 19)) == {}
            assert await books.summary(ALL) == {"default": Totals(2, 3980), "fallback": Totals(1, 1990)}
            assert await books.slice_end_us(Window(AT_US), 2) == AT_US + 20
            assert await books.slice_end_us(Window(AT_US, AT_US + 99), 4) == AT_US + 99
        assert await outside.summary(Window(AT_US + 20)) == {"default": Totals(1, 1990), "fallback": Totals(1, 1990)}

    seen_from_outside(test)


def test_unresolved_attempts_are_those_without_an_outcome(seen_from_outside: Callable[[Test], None]) -> None:
    async def test(store: Any, outside: Installation) -> None:
        await buried_while_pinned(store, 1, requested_us=AT_US + 1)
        await pinned(store, 2, "fallback", AT_US + 2)
        await begun(store, 3, requested_us=AT_US + 3)
        await settled(store, 4, requested_us=AT_US + 4)
        await buried(store, 5)
        await store.queue.accept([payment(6)])
        async with outside.books() as books:
            totals, attempts = await books.unresolved(ALL, 10)
            assert totals == {"default": Totals(2, 3980), "fallback": Totals(1, 1990)}
            assert [(one.processor, one.entry, one.state) for one in attempts] == [
                ("default", BookEntry(id_of(1), 1990, AT_US + 1), "dead-letter"),
                ("fallback", BookEntry(id_of(2), 1990, AT_US + 2), "pinned"),
                ("default", BookEntry(id_of(3), 1990, AT_US + 3), "attempting"),
            ]
            for window, found in (
                (Window(AT_US + 2, AT_US + 3), numbered(2, 3)),
                (Window(AT_US + 3), numbered(3)),
                (Window(0, AT_US), []),
            ):
                totals, attempts = await books.unresolved(window, 10)
                assert [one.entry.correlation_id for one in attempts] == found
                assert sum(one.count for one in totals.values()) == len(found)

    seen_from_outside(test)


def test_of_many_unresolved_attempts_the_oldest_are_given_and_all_are_counted(
    seen_from_outside: Callable[[Test], None],
) -> None:
    async def test(store: Any, outside: Installation) -> None:
        await store.queue.accept(payments(1500))
        deliveries = [one for _ in range(4) for one in await store.queue.claim(300)]
        await store.queue.begin([intent(one, requested_us=AT_US + 7) for one in deliveries])
        async with outside.books() as books:
            totals, attempts = await books.unresolved(ALL, 30)
        assert totals == {"default": Totals(1200, 1200 * 1990)}
        assert [one.entry.correlation_id for one in attempts] == numbered(*range(1, 31))

    seen_from_outside(test)


def test_one_payment_is_found_wherever_it_stands(seen_from_outside: Callable[[Test], None]) -> None:
    async def test(store: Any, outside: Installation) -> None:
        await settled(store, 1)
        await pinned(store, 2)
        await store.queue.accept([payment(3)])
        async with outside.books() as books:
            found = [await books.find(id_of(number)) for number in (1, 2, 3, 4)]
        states = [one and one.state for one in found]
        assert states == [PaymentState.SETTLED, PaymentState.PINNED, PaymentState.QUEUED, None]
        assert found[1] is not None
        assert (found[1].processor, found[1].requested_us) == ("default", AT_US)

    seen_from_outside(test)


def test_dead_letters_are_the_oldest_and_their_count(seen_from_outside: Callable[[Test], None]) -> None:
    async def test(store: Any, outside: Installation) -> None:
        assert (await outside.dead_letters(5)).count == 0
        await buried(store, 1, "answered 400: first")
        await buried_while_pinned(store, 2)
        await buried(store, 3)
        found = await outside.dead_letters(2)
        assert found.count == 3
        assert [(one.correlation_id, one.pinned_to) for one in found.letters] == [
            (id_of(1), None),
            (id_of(2), "default"),
        ]
        assert found.letters[0].reason == "answered 400: first"
        assert (found.poison, found.poison_count) == ({}, 0)

    seen_from_outside(test)


def test_dead_letters_are_sent_again_all_that_are_named_or_none(seen_from_outside: Callable[[Test], None]) -> None:
    async def test(store: Any, outside: Installation) -> None:
        for number in (1, 2, 3):
            await buried(store, number)
        await settled(store, 4)
        await pinned(store, 5)
        with pytest.raises(InvalidInput) as said:
            await outside.retry_dead_letters(numbered(1, 4, 5, 6))
        assert str(said.value) == "\n".join(
            [
                "nothing was sent again, as there are ids of no dead letter:",
                f"  - {id_of(4)} is settled",
                f"  - {id_of(5)} is pinned",
                f"  - {id_of(6)} is unknown here",
            ]
        )
        assert (await outside.dead_letters(9)).count == 3
        assert await outside.retry_dead_letters(numbered(2)) == 1
        assert await outside.retry_dead_letters([]) == 0
        assert [one.correlation_id for one in (await outside.dead_letters(9)).letters] == numbered(1, 3)
        assert await outside.retry_dead_letters(None) == 2
        assert await outside.retry_dead_letters(None) == 0
        assert (await outside.dead_letters(9)).letters == []

    seen_from_outside(test)


def proven(one: Intent) -> Settlement:
    """A charge as somebody outside writes it: with nobody's receipt."""
    return settlement(replace(one, delivery=replace(one.delivery, receipt=0)))


def test_proven_charges_are_written_beside_whoever_runs(seen_from_outside: Callable[[Test], None]) -> None:
    async def test(store: Any, outside: Installation) -> None:
        stands = await pinned(store, 1)
        dead = await buried_while_pinned(store, 2)
        await store.queue.accept(payments(5)[2:])
        held, other = await store.queue.claim(2)
        async with outside.charges() as charges:
            assert await charges.settle([proven(stands), proven(dead), proven(intent(held))]) == [True, True, False]
            assert await charges.settle_waiting([proven(intent(held, "new")), proven(stands)]) == [True, False]
            assert await charges.settle([proven(stands)]) == [False]
        assert await store.ledger.summary(ALL) == {"default": Totals(2, 3980), "new": Totals(1, 1990)}
        # Whoever held them learns it, and goes on.
        assert await store.queue.begin([intent(held), intent(other)]) == [False, True]
        await store.queue.conclude([failed(stands, PaymentEvent.REFUSED)])
        assert await store.ledger.settle([settlement(stands)]) == [False]
        assert await store.queue.orphans() == []
        assert await store.queue.dead_letters(9) == []
        assert (await store.queue.backlog()).waiting == 1
        assert [one.correlation_id for one in await store.queue.claim(9)] == [id_of(5)]
        for number in (1, 2, 3):
            record = await store.ledger.find(id_of(number))
            assert record is not None
            assert record.state is PaymentState.SETTLED

    seen_from_outside(test)


def test_a_router_lets_go_of_what_was_settled_from_outside(tmp_path: Path) -> None:
    async def test() -> None:
        store = SqliteEngine(tmp_path, 100)
        begun_here, pinned_here, concluded = [await pinned(store, number) for number in (1, 2, 3)]
        await store.queue.accept([payment(4)])
        [held] = await store.queue.claim(1)
        async with installation(settings_of(store)).charges() as charges:
            await charges.settle([proven(one) for one in (begun_here, pinned_here, concluded)])
            await charges.settle_waiting([proven(intent(held))])
        assert await store.queue.begin([intent(held)]) == [False]
        assert await store.ledger.settle([settlement(begun_here), settlement(pinned_here)]) == [False, False]
        await store.queue.conclude([failed(concluded, PaymentEvent.REFUSED)])
        assert store.queue._claims == {}
        await store.close()

    asyncio.run(test())


def test_a_data_file_that_is_not_there_cannot_be_repaired(tmp_path: Path) -> None:
    async def test() -> None:
        async with installation(Settings(data=tmp_path / "none.db")).charges() as charges:
            with pytest.raises(StoreUnavailable, match="there is no data file"):
                await charges.settle([])

    asyncio.run(test())
    assert not list(tmp_path.iterdir())


def test_somebody_who_sends_payments_is_noticed(seen_from_outside: Callable[[Test], None]) -> None:
    async def test(store: Any, outside: Installation) -> None:
        assert await outside.runs()
        if isinstance(store, ClusterEngine):
            await store.queue.leave()
        else:
            # It goes on with another file.
            await store.restart()
        assert not await outside.runs()

    seen_from_outside(test)
