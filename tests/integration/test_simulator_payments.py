"""Payments of the processor simulator, over real sockets."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from integration.simulator_client import AT, AT_US, Client, Stopwatch, scenario, simulated, until
from payrouter_lab.simulator import SimulatorOptions

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"


@scenario
async def test_a_payment_is_charged_and_confirmed():
    async with simulated() as client:
        response = await client.pay(ID)
        assert (response.status, response.json()) == (200, {"message": "payment processed successfully"})
        assert response.headers["content-type"] == "application/json"
        assert client.simulator.books == {ID: (1990, AT_US)}


@pytest.mark.parametrize(
    ("amount", "cents"),
    [
        ("19.90", 1990),
        ("20", 2000),
        ("1.005", 100),
        ("1.015", 102),
        ("2.675", 268),
        ("1e2", 10000),
        ("0.1", 10),
    ],
)
@scenario
async def test_an_amount_is_rounded_to_cents_half_to_even(amount, cents):
    async with simulated() as client:
        assert (await client.pay(ID, amount)).status == 200
        assert client.simulator.books[ID][0] == cents


@pytest.mark.parametrize(
    "at",
    [AT, "2025-07-15T15:34:56.123456+03:00", "2025-07-15T12:34:56.123456999Z", "2025-07-15T12:34:56.123456"],
)
@scenario
async def test_requested_at_is_kept_in_microseconds_of_utc(at):
    async with simulated() as client:
        assert (await client.pay(ID, at=at)).status == 200
        payment = await client.call("GET", f"/payments/{ID}")
        assert payment.body.decode() == f'{{"correlationId":"{ID}","amount":19.90,"requestedAt":"{AT}"}}'


@scenario
async def test_the_same_id_again_is_refused_and_counted_in_either_case():
    async with simulated() as client:
        statuses = [(await client.pay(given)).status for given in (ID, ID, ID.upper())]
        assert statuses == [200, 422, 422]
        assert client.simulator.duplicates == {ID: 2}
        assert [charge.correlation_id for charge in client.simulator.charges] == [ID]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        f'{{"amount":1,"requestedAt":"{AT}"}}',
        f'{{"correlationId":"{ID}","requestedAt":"{AT}"}}',
        f'{{"correlationId":"{ID}","amount":1}}',
        f'{{"correlationId":"{ID}0","amount":1,"requestedAt":"{AT}"}}',
        f'{{"correlationId":7,"amount":1,"requestedAt":"{AT}"}}',
        f'{{"correlationId":"{ID}","amount":"1","requestedAt":"{AT}"}}',
        f'{{"correlationId":"{ID}","amount":true,"requestedAt":"{AT}"}}',
        f'{{"correlationId":"{ID}","amount":null,"requestedAt":"{AT}"}}',
        f'{{"correlationId":"{ID}","amount":1e999999,"requestedAt":"{AT}"}}',
        f'{{"correlationId":"{ID}","amount":1,"requestedAt":1752582896}}',
        f'{{"correlationId":"{ID}","amount":1,"requestedAt":"2025-07-15"}}',
        f'{{"correlationId":"{ID}","amount":1,"requestedAt":"2025-13-15T12:34:56Z"}}',
        f'{{"correlationId":"{ID}","amount":1,"requestedAt":"9999-12-31T23:59:59-01:00"}}',
    ],
)
@scenario
async def test_what_is_no_payment_is_refused_as_bad(body):
    async with simulated() as client:
        response = await client.post(body)
        assert response.status == 400
        assert response.json()["message"]
        assert client.simulator.books == {}


@scenario
async def test_wrong_types_paths_and_methods_are_refused():
    async with simulated() as client:
        assert (await client.pay(Content_Type="text/plain")).status == 415
        assert (await client.call("POST", "/payments", "{}")).status == 415
        assert (await client.pay(Content_Type="application/json; charset=utf-8")).status == 200
        assert (await client.call("GET", "/nowhere")).status == 404
        wrong = await client.call("GET", "/payments")
        assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
        assert (await client.call("POST", "/payments/service-health")).status == 405
        assert (await client.call("DELETE", f"/payments/{ID}")).status == 405


@scenario
async def test_the_delay_is_the_one_set_when_the_payment_arrives():
    async with simulated(delay_ms=300) as client, asyncio.TaskGroup() as group:
        watch = Stopwatch()
        slow = group.create_task(client.pay())
        await until(lambda: client.simulator.max_running == 1)
        client.simulator.configure(delay_ms=0)
        assert (await client.pay()).status == 200
        assert not slow.done()
        assert (await slow).status == 200
        assert watch.ms >= 298


@pytest.mark.parametrize(("before", "after", "status"), [(False, True, 500), (True, False, 200)])
@scenario
async def test_the_failure_flag_is_read_after_the_delay(before, after, status):
    async with simulated(delay_ms=50, failing=before) as client, asyncio.TaskGroup() as group:
        sleeping = group.create_task(client.pay(ID))
        await until(lambda: client.simulator.max_running == 1)
        client.simulator.configure(failing=after)
        assert (await sleeping).status == status
        assert (ID in client.simulator.books) == (status == 200)


@scenario
async def test_failing_hides_that_a_payment_was_charged_before():
    async with simulated() as client:
        await client.pay(ID)
        client.simulator.configure(failing=True)
        assert (await client.pay(ID)).status == 500
        assert client.simulator.duplicates == {}


@scenario
async def test_a_client_that_hangs_up_is_charged_all_the_same():
    async with simulated(delay_ms=60) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.pay(ID), 0.02)
        assert client.simulator.books == {}
        await until(lambda: ID in client.simulator.books)


async def _saturate(client: Client, group: asyncio.TaskGroup, count: int) -> list[asyncio.Task]:
    """Send payments one after another, each once the one before it has arrived."""
    sent = []
    for expected in range(1, count + 1):
        sent.append(group.create_task(client.pay(str(uuid.UUID(int=expected)))))
        while await _present(client) < expected:  # noqa: ASYNC110 - asked over HTTP
            await asyncio.sleep(0.001)
    return sent


async def _present(client: Client) -> int:
    stats = (await client.admin("GET", "stats")).json()
    return stats["running"] + stats["waiting"] + stats["charged"]


@scenario
async def test_beyond_the_running_limit_payments_wait_in_order_and_then_are_refused():
    async with (
        simulated(delay_ms=200, running_limit=2, waiting_limit=3) as client,
        asyncio.TaskGroup() as group,
    ):
        accepted = await _saturate(client, group, 5)
        assert (await client.pay()).status == 429
        assert client.simulator.books == {}
        assert {(await payment).status for payment in accepted} == {200}
        assert [uuid.UUID(each).int for each in client.simulator.books] == [1, 2, 3, 4, 5]
        assert client.simulator.max_running == 2
        assert (await client.pay()).status == 200


@scenario
async def test_a_waiting_payment_takes_the_delay_of_when_its_turn_comes():
    async with simulated(delay_ms=150, running_limit=1) as client, asyncio.TaskGroup() as group:
        await _saturate(client, group, 2)
        client.simulator.configure(delay_ms=0)
        watch = Stopwatch()
        await until(lambda: len(client.simulator.books) == 2)
        assert watch.ms < 290


@scenario
async def test_hundreds_of_waiting_payments_follow_one_another_at_once():
    async with simulated(delay_ms=300, running_limit=1) as client, asyncio.TaskGroup() as group:
        sent = [group.create_task(client.pay()) for _ in range(260)]
        await until(lambda: client.simulator.max_running == 1)
        client.simulator.configure(delay_ms=0)
        assert {(await payment).status for payment in sent} == {200}
        assert client.simulator.max_running == 1


@scenario
async def test_a_bad_payment_gives_its_place_back():
    async with simulated(running_limit=1, waiting_limit=0) as client:
        assert [(await client.post("{")).status for _ in range(3)] == [400] * 3
        assert (await client.pay()).status == 200


def test_the_limits_are_the_published_ones_unless_told_otherwise():
    options = SimulatorOptions()
    assert (options.running_limit, options.waiting_limit, options.health_window_s) == (800, 500, 5.0)


@scenario
async def test_a_payment_is_looked_up_without_delay_or_failure():
    async with simulated() as client:
        await client.pay(ID)
        client.simulator.configure(delay_ms=1000, failing=True)
        watch = Stopwatch()
        assert (await client.call("GET", f"/payments/{ID.upper()}")).json()["correlationId"] == ID
        assert (await client.call("GET", f"/payments/{uuid.uuid4()}")).status == 404
        assert watch.ms < 500


@scenario
async def test_answers_come_in_chunks_where_asked():
    async with simulated(chunked=True) as client:
        response = await client.pay()
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.json() == {"message": "payment processed successfully"}


@scenario
async def test_books_survive_a_restart_and_sleeping_payments_do_not():
    async with simulated() as client:
        await client.pay(ID)
        client.simulator.configure(delay_ms=50)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.pay(), 0.02)
        await client.simulator.stop()
        client.port = await client.simulator.start(port=client.port)
        await asyncio.sleep(0.06)
        assert list(client.simulator.books) == [ID]
        assert (await client.pay(ID)).status == 422
