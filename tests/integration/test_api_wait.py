"""`Prefer: wait=N`: who waits, for how long, and what they are told; on both engines, and on a stop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import uuid

import pytest

from integration.raw_http import scenario, split_answers, until
from integration.router_service import JSON, payment_body, post_bytes, running_service, wait_until
from payrouter.adapters.http.message import Request
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.ledger import PaymentRecord
from payrouter.domain.payment import PaymentState
from payrouter.entrypoints.api.waiting import LONGEST_S, Waiters, asked_wait_s

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("router")) as service:
        yield service


@pytest.fixture
def stuck(tmp_path):
    """A router whose processors fail: payments wait."""
    with running_service(tmp_path, failing=True) as service:
        yield service


def pay(service, prefer: str, correlation_id: str | None = None, amount: str = "19.90"):
    body = payment_body(correlation_id or str(uuid.uuid4()), amount)
    return service.call("POST", "/payments", body, JSON | {"Prefer": prefer})


def waiting_in(service) -> list[str]:
    """Return the tasks of those who wait for a payment's end."""
    return [one.get_name() for one in asyncio.all_tasks(service.loop) if "Waiters._wait" in repr(one.get_coro())]


# -- what is preferred


@pytest.mark.parametrize(
    ("values", "wait_s"),
    [
        (["wait=5"], 5),
        (["wait=0"], 0),
        (["wait=10"], 10),
        (["wait=11"], 10),
        (["wait=999999999"], 10),
        (["WAIT = 5"], 5),
        (['wait="5"'], 5),
        (["wait=5; why=not"], 5),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5),
        (["wait=5, wait=7"], 5),
        (["return=minimal"], None),
        (["wait"], None),
        (["wait="], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=1e3"], None),
        (["wait=five"], None),
        (["waiting=5"], None),
        (["await=5"], None),
        (["wait=9999999999"], None),
        (["wait=" + "9" * 10_000], None),
        (["wait=\xd9\xa5"], None),
        (["", ",,,;;="], None),
        ([], None),
    ],
)
def test_the_preference_is_understood_or_ignored(values, wait_s):
    headers = [(b"content-type", b"application/json"), *((b"prefer", value.encode("latin-1")) for value in values)]
    assert asked_wait_s(Request(b"POST", b"/payments", headers)) == wait_s


# -- what is answered


def test_a_payment_that_settles_in_time_is_answered_with_its_view(service):
    correlation_id = str(uuid.uuid4())
    answer = pay(service, "wait=5", correlation_id)
    assert (answer.status, answer.headers["preference-applied"]) == (200, "wait=5")
    view = answer.json()
    assert (view["correlationId"], view["state"], view["processor"]) == (correlation_id, "settled", "default")
    assert view == service.get(f"/payments/{correlation_id}").json()
    assert service.charges().count(correlation_id) == 1


def test_a_payment_that_is_settled_already_is_answered_at_once(service):
    correlation_id = str(uuid.uuid4())
    service.pay(correlation_id)
    service.settled(correlation_id)
    began_s = time.monotonic()
    assert [pay(service, prefer, correlation_id).status for prefer in ("wait=10", "wait=0")] == [200, 200]
    assert time.monotonic() - began_s < 1


def test_a_payment_that_does_not_settle_in_time_is_accepted_as_usual(stuck):
    began_s = time.monotonic()
    answer = pay(stuck, "wait=1")
    assert (answer.status, answer.headers["preference-applied"]) == (202, "wait=1")
    assert answer.json() == {"message": "payment accepted"}
    assert 0.9 < time.monotonic() - began_s < 2.5


def test_rubbish_and_no_time_are_answered_at_once(stuck):
    began_s = time.monotonic()
    rubbish, no_time = pay(stuck, "wait=soon"), pay(stuck, "wait=0")
    assert (rubbish.status, "preference-applied" in rubbish.headers) == (202, False)
    assert (no_time.status, no_time.headers["preference-applied"]) == (202, "wait=0")
    assert time.monotonic() - began_s < 1


def test_what_is_not_accepted_is_told_without_waiting(service):
    correlation_id = str(uuid.uuid4())
    assert pay(service, "wait=5", correlation_id).status == 200
    assert pay(service, "wait=5", correlation_id, "19.91").status == 409
    assert pay(service, "wait=5", "no-uuid").status == 422


def test_many_wait_at_once_and_each_is_told_of_its_own(service):
    ids = [str(uuid.uuid4()) for _ in range(60)]
    clients = [socket.create_connection((service.address.host, service.address.port), timeout=5) for _ in ids]
    for client, one in zip(clients, ids, strict=True):
        client.sendall(post_bytes(payment_body(one), "Prefer: wait=5", "Connection: close"))
    for client, one in zip(clients, ids, strict=True):
        with client:
            (answer,) = split_answers(b"".join(iter(lambda client=client: client.recv(65536), b"")))
            assert (answer.status, answer.json()["correlationId"]) == (200, one)


def test_an_answer_that_waits_keeps_its_place_before_those_behind_it(service):
    first = post_bytes(payment_body(str(uuid.uuid4())), "Prefer: wait=5")
    second = post_bytes(payment_body(str(uuid.uuid4())), "Connection: close")
    assert [answer.status for answer in split_answers(service.raw(first + second))] == [200, 202]


def test_a_stop_does_not_wait_for_those_who_wait(tmp_path):
    answers = []
    with running_service(tmp_path, failing=True, stop_timeout_s=8.0) as service:
        assert service.document  # read while it can be
        clients = [threading.Thread(target=lambda: answers.append(pay(service, "wait=10"))) for _ in range(3)]
        for client in clients:
            client.start()
        wait_until(lambda: len(waiting_in(service)) == 3)
        began_s = time.monotonic()
    for client in clients:
        client.join(5)
    assert time.monotonic() - began_s < 4
    assert [(answer.status, answer.headers["preference-applied"]) for answer in answers] == [(202, "wait=10")] * 3


# -- those who wait


class Client:
    """Stands for a reply: whether somebody is still there."""

    client_gone = False


def record(state: PaymentState) -> PaymentRecord:
    return PaymentRecord(ID, 1, 1, state, 1, "default", 1, 1, 1.0, None, ())


class Books:
    """Answers as it is told, and counts how often it was asked."""

    def __init__(self, answer: PaymentRecord | Exception | None = None) -> None:
        self.answer, self.asked = answer, 0

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        assert correlation_id == ID
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("state", PaymentState)
@scenario
async def test_settled_and_dead_letter_are_ends_and_nothing_else_is(state):
    told = []
    waiters = Waiters(Books(record(state)).find)
    waiters.wait(ID, 0.05, Client(), told.append)
    await until(lambda: bool(told))
    ends = state in (PaymentState.SETTLED, PaymentState.DEAD_LETTER)
    assert told == [record(state) if ends else None]


@scenario
async def test_a_store_that_is_away_for_a_moment_is_asked_again():
    books, told = Books(StoreUnavailable("away")), []
    waiters = Waiters(books.find)
    assert waiters.wait(ID, 5, Client(), told.append)
    await until(lambda: books.asked >= 3)
    books.answer = record(PaymentState.SETTLED)
    await until(lambda: bool(told))
    assert told == [books.answer]
    await until(lambda: len(waiters) == 0)


@pytest.mark.parametrize("answer", [None, record(PaymentState.QUEUED), record(PaymentState.PINNED)])
@scenario
async def test_it_is_asked_less_and_less_often_until_time_is_up(answer):
    books, told = Books(answer), []
    waiters = Waiters(books.find)
    waiters.wait(ID, 0.6, Client(), told.append)
    await until(lambda: bool(told))
    assert told == [None]
    # Pauses of 10, 15, 22, 34, 51, 76 and then 100 ms.
    assert 5 <= books.asked <= 13


@scenario
async def test_nothing_is_held_for_a_client_that_has_gone():
    books, told, client = Books(), [], Client()
    waiters = Waiters(books.find)
    waiters.wait(ID, LONGEST_S, client, told.append)
    await asyncio.sleep(0.02)
    client.client_gone = True
    await until(lambda: len(waiters) == 0)
    assert told == [None]


@scenario
async def test_beyond_the_bound_nobody_waits_until_somebody_is_done():
    books, told = Books(), []
    waiters = Waiters(books.find, most=2)
    assert [waiters.wait(ID, 5, Client(), told.append) for _ in range(3)] == [True, True, False]
    books.answer = record(PaymentState.SETTLED)
    await until(lambda: len(told) == 2)
    await until(lambda: len(waiters) == 0)
    assert waiters.wait(ID, 5, Client(), told.append)
    await waiters.close()


@scenario
async def test_on_a_stop_everybody_is_told_at_once_and_nobody_waits_any_more():
    books, told = Books(), []
    waiters = Waiters(books.find)
    for _ in range(5):
        waiters.wait(ID, LONGEST_S, Client(), told.append)
    await asyncio.sleep(0.05)
    began_s = time.monotonic()
    await waiters.close()
    assert (told, time.monotonic() - began_s < 0.5) == ([None] * 5, True)
    assert not waiters.wait(ID, 5, Client(), told.append)


@scenario
async def test_a_defect_while_waiting_is_logged_and_the_payment_is_still_accepted(caplog):
    told = []
    waiters = Waiters(Books(RuntimeError("boom")).find)
    waiters.wait(ID, 5, Client(), told.append)
    await until(lambda: bool(told))
    assert told == [None]
    assert "boom" in caplog.text
