"""The acceptor: no answer before the payment is durable, and an answer to everybody."""

from __future__ import annotations

import asyncio

from application.virtual_time import virtually
from application.world import Events, MoodyStore
from payrouter.adapters.clock import SystemClock
from payrouter.application.accept import Acceptor
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import StoreFailed
from payrouter.domain.payment import Payment
from payrouter.ports.queue import Acceptance

COMMIT_S = 0.01


class Clients:
    """Hands payments to a running acceptor and keeps the answers: payment number, answer, virtual second."""

    def __init__(self, limit=1_000_000) -> None:
        self.store = MoodyStore(COMMIT_S, limit)
        self.groups: list[int] = []
        self.events = Events()
        self.answers: list[tuple[int, object, float]] = []
        self.news = 0
        accept = self.store.accept

        async def noting(payments):
            self.groups.append(len(payments))
            return await accept(payments)

        self.store.accept = noting
        self.acceptor = Acceptor(self.store, self.events, SystemClock(), self._on_accepted)

    def _on_accepted(self) -> None:
        self.news += 1

    async def __aenter__(self) -> Clients:
        self._task = asyncio.get_running_loop().create_task(self.acceptor.run())
        return self

    async def __aexit__(self, *_) -> None:
        if self._task.done():
            self._task.result()
        self._task.cancel()
        await asyncio.wait([self._task])

    def send(self, *numbers: int, amount_minor: int = 1990) -> None:
        for number in numbers:
            payment = Payment(f"00000000-0000-4000-8000-{number:012x}", amount_minor, number)

            def answer(result, number=number):
                known = payment_is_durable(self.store, number)
                assert known or not isinstance(result, Acceptance) or result is Acceptance.FULL
                self.answers.append((number, result, asyncio.get_running_loop().time()))

            self.acceptor.accept(payment, answer)

    def results(self) -> dict[int, object]:
        return {number: result for number, result, _ in self.answers}


def payment_is_durable(store, number: int) -> bool:
    return f"00000000-0000-4000-8000-{number:012x}" in store._rows


@virtually
async def test_an_answer_comes_after_the_payment_is_durable_never_before():
    async with Clients() as clients:
        clients.send(1)
        await asyncio.sleep(COMMIT_S * 0.9)
        assert clients.answers == []
        await asyncio.sleep(COMMIT_S * 0.2)
        assert clients.results() == {1: Acceptance.ACCEPTED}
        assert clients.news == 1


@virtually
async def test_what_comes_while_a_group_is_written_shares_the_next_one():
    async with Clients() as clients:
        clients.send(1, 2, 3)
        await asyncio.sleep(COMMIT_S / 2)
        clients.send(*range(4, 60))
        await asyncio.sleep(COMMIT_S * 3)
        assert clients.groups == [3, 56]
        assert len(clients.answers) == 59


@virtually
async def test_a_group_is_bounded_and_the_rest_follows_in_order():
    async with Clients() as clients:
        clients.send(*range(1000))
        await asyncio.sleep(COMMIT_S * 5)
        assert clients.groups == [256, 256, 256, 232]
        assert [number for number, _, _ in clients.answers] == list(range(1000))


@virtually
async def test_a_store_that_is_away_is_told_to_everybody_and_accepts_again_by_itself():
    async with Clients() as clients:
        clients.store.away = {"accept"}
        clients.send(*range(300))
        await asyncio.sleep(COMMIT_S * 5)
        assert len(clients.answers) == 300
        assert all(isinstance(result, StoreUnavailable) for result in clients.results().values())
        assert len(clients.events.of(StoreFailed)) == 2
        assert clients.news == 0
        clients.store.away.clear()
        clients.send(*range(300))
        await asyncio.sleep(COMMIT_S * 5)
        assert set(clients.results().values()) == {Acceptance.ACCEPTED}


@virtually
async def test_each_payment_of_a_group_gets_its_own_answer():
    async with Clients(limit=3) as clients:
        clients.send(1, 2)
        await asyncio.sleep(COMMIT_S * 2)
        clients.send(1, 3, 4)
        clients.send(2, amount_minor=5)
        await asyncio.sleep(COMMIT_S * 2)
        assert [(number, result) for number, result, _ in clients.answers[2:]] == [
            (1, Acceptance.DUPLICATE),
            (3, Acceptance.ACCEPTED),
            (4, Acceptance.FULL),
            (2, Acceptance.CONFLICT),
        ]


@virtually
async def test_a_payment_sent_twice_in_one_group_is_one_payment():
    async with Clients() as clients:
        clients.send(7, 7)
        await asyncio.sleep(COMMIT_S * 2)
        assert [result for _, result, _ in clients.answers] == [Acceptance.ACCEPTED, Acceptance.DUPLICATE]


@virtually
async def test_a_group_of_nothing_new_wakes_nobody():
    async with Clients() as clients:
        clients.send(1)
        await asyncio.sleep(COMMIT_S * 2)
        clients.send(1)
        await asyncio.sleep(COMMIT_S * 2)
        assert clients.news == 1
