"""SIGTERM: refuse what is new, finish what is in flight within the bound, lose nothing."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from e2e.cli_client import new_id, refuses, wait_for
from e2e.lives import Clients, behave, charges_of, lives, pay
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window

STOP_TIMEOUT_S = 2.0
ENDED_WITHIN_S = STOP_TIMEOUT_S + 1.5
"""The bound, and what the process itself takes to be gone on a busy machine."""


@pytest.fixture
def router(tmp_path):
    with lives(tmp_path, PAYROUTER_STOP_TIMEOUT_S=str(STOP_TIMEOUT_S)) as started:
        started.start()
        yield started


def test_a_stop_under_load_loses_no_accepted_payment_and_leaves_nothing_unresolved(router):
    for processor in router.processors.values():
        behave(processor, delay_ms=150)

    async def load_until_stopped():
        clients = Clients(router.port, salt=5, rate=400.0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(clients.run())
            await asyncio.sleep(1.5)
            clients.giving_up = True
            stopped = await asyncio.to_thread(router.terminate, 10)
            clients.stopping = True
        return clients, *stopped

    clients, code, took_s = asyncio.run(load_until_stopped())
    assert code == 0
    assert took_s < ENDED_WITHIN_S
    assert refuses(router.url)
    assert not clients.others
    with router.books() as books:
        unsettled = books.unsettled()
        settled = {one for entries in asyncio.run(books.settled(Window())).values() for one in entries}
        known = {one for one in clients.sent if asyncio.run(books.find(one)) is not None}
    print(f"{len(clients.accepted)} accepted, {len(settled)} settled, left {unsettled}, stopped in {took_s:.2f} s")
    assert set(unsettled) <= {PaymentState.QUEUED}, "what was in flight could end in time and must have"
    assert clients.accepted <= known
    router.start()
    for processor in router.processors.values():
        behave(processor)
    router.wait_until_settled(len(known), within_s=10)
    router.check_books(known)


def test_a_stop_is_bounded_by_its_timeout_and_the_next_life_repeats_what_was_in_flight(router):
    default = router.processors["default"]
    behave(default, delay_ms=60_000)
    one = new_id()
    assert pay(router.url, one)[0] == 202
    with router.books() as books:
        wait_for(lambda: asyncio.run(books.find(one)).state is PaymentState.ATTEMPTING)
        requested_us = asyncio.run(books.find(one)).requested_us
    code, took_s = router.terminate(10)
    assert code == 0
    assert STOP_TIMEOUT_S <= took_s < ENDED_WITHIN_S
    with router.books() as books:
        _, [attempt] = asyncio.run(books.unresolved(Window(), 10))
    assert (attempt.processor, attempt.entry.correlation_id, attempt.entry.requested_us) == (
        "default",
        one,
        requested_us,
    )
    behave(default)
    router.start()
    router.wait_until_settled(1, within_s=5)
    assert charges_of(default) == {one: (1990, requested_us)}
    router.check_books({one})


def test_a_client_that_keeps_a_request_half_sent_does_not_keep_the_router(router):
    behave(router.processors["default"], delay_ms=60_000)
    assert pay(router.url, new_id())[0] == 202
    time.sleep(0.1)
    with socket.create_connection(("127.0.0.1", router.port)) as client:
        client.sendall(b"POST /payments HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.1)
        code, took_s = router.terminate(15)
    print(f"stopped in {took_s:.2f} s with a half-sent request and an attempt in flight")
    assert code == 0
    assert took_s < ENDED_WITHIN_S


def test_an_idle_router_stops_at_once(router):
    with socket.create_connection(("127.0.0.1", router.port)):
        code, took_s = router.terminate(10)
    assert code == 0
    assert took_s < 1.5
    assert "stopped; what was not settled waits in" in router.log.read_text()
    assert "Traceback" not in router.log.read_text()
