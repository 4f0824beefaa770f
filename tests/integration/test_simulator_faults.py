"""Faults of the processor simulator, as a test asks for them."""

from __future__ import annotations

import pytest

from integration.simulator_client import Cut, scenario, simulated

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"


@scenario
async def test_a_lost_answer_leaves_the_payment_charged():
    async with simulated() as client:
        await client.faults(answer_lost=1)
        with pytest.raises(Cut):
            await client.pay(ID)
        assert list(client.simulator.books) == [ID]
        assert (await client.pay(ID)).status == 422


@scenario
async def test_a_cut_on_arrival_charges_nothing():
    async with simulated() as client:
        await client.faults(refuse_before=True)
        with pytest.raises(Cut):
            await client.pay(ID)
        assert client.simulator.books == {}


@scenario
async def test_a_garbage_answer_leaves_the_payment_charged():
    async with simulated() as client:
        client.simulator.faults.garbage_answer = 1.0
        response = await client.pay(ID)
        assert response.status == 200
        assert not response.body.startswith(b"{")
        assert list(client.simulator.books) == [ID]


@pytest.mark.parametrize("status", [400, 404, 429, 503])
@scenario
async def test_a_forced_status_charges_nothing(status):
    async with simulated() as client:
        await client.faults(status=status)
        assert (await client.pay(ID)).status == status
        assert client.simulator.books == {}
        await client.faults(status=None)
        assert (await client.pay(ID)).status == 200


@scenario
async def test_a_processor_can_forget_what_it_charged():
    async with simulated() as client:
        await client.pay(ID)
        assert "purge" not in (await client.faults(purge=True)).json()
        assert client.simulator.books == {}
        await client.pay(ID)
        assert list(client.simulator.books) == [ID]


@scenario
async def test_faults_are_changed_one_by_one_and_read_back():
    async with simulated() as client:
        await client.faults(answer_lost=0.25)
        await client.faults(health_lies={"failing": True, "minResponseTime": 5})
        faults = (await client.faults()).json()
        assert float(faults["answer_lost"]) == 0.25
        assert faults["health_lies"] == {"failing": True, "minResponseTime": 5}
        assert faults["status"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"answer_lots": 1},
        {"answer_lost": 1.5},
        {"answer_lost": "often"},
        {"status": 42},
        {"status": 299},
        {"purge": 1},
        {"health_lies": {"failing": True}},
    ],
)
@scenario
async def test_an_unknown_or_senseless_fault_is_refused_and_changes_nothing(changes):
    async with simulated() as client:
        assert (await client.faults(**changes)).status == 400
        assert (await client.pay()).status == 200


async def _lost(seed: int) -> list[bool]:
    async with simulated(seed=seed) as client:
        client.simulator.faults.answer_lost = 0.5
        lost = []
        for _ in range(30):
            try:
                await client.pay()
            except Cut:
                lost.append(True)
            else:
                lost.append(False)
        assert len(client.simulator.books) == 30
        return lost


@scenario
async def test_chance_is_drawn_from_the_seed():
    first, again, other = await _lost(1), await _lost(1), await _lost(2)
    assert first == again != other
    assert 5 <= sum(first) <= 25
