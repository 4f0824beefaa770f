"""Payments over the public API with the whole router: one id is one payment, and every call says what it did."""

from __future__ import annotations

import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.raw_http import split_answers
from integration.router_service import Service, payment_body, post_bytes, running_service, wait_until
from payrouter.settings import Address

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("router")) as service:
        yield service


def new_id() -> str:
    return str(uuid.uuid4())


def at_once(service: Service, *requests: bytes) -> list[int]:
    """Send each request on a connection of its own, all before any answer is read; return the statuses."""
    clients = [socket.create_connection((service.address.host, service.address.port), timeout=5) for _ in requests]
    try:
        for client, request in zip(clients, requests, strict=True):
            client.sendall(request)
        return [int(client.recv(65536).split()[1]) for client in clients]
    finally:
        for client in clients:
            client.close()


# -- accepting


def test_a_payment_is_accepted_charged_once_at_the_cheapest_and_settled(service):
    correlation_id = new_id()
    answer = service.pay(correlation_id)
    assert (answer.status, answer.json()) == (202, {"message": "payment accepted"})
    view = service.settled(correlation_id)
    assert (view["processor"], view["attempts"], str(view["amount"])) == ("default", 1, "19.90")
    assert (str(view["reason"]["fee"]), view["reason"]["passedOver"], view["failedAttempts"]) == ("1.00", [], [])
    assert service.charges().count(correlation_id) == 1


@pytest.mark.parametrize(
    ("amount", "cents"),
    [
        ("0.01", 1),
        ("1", 100),
        ("1.5", 150),
        ("19.90", 1990),
        ("1e2", 10000),
        ("1.990E1", 1990),
        ("19.900000", None),
        ("999999999.99", 99_999_999_999),
        ("1000000000.00", 100_000_000_000),
    ],
)
def test_an_amount_reaches_the_processor_as_it_was_meant(service, amount, cents):
    correlation_id = new_id()
    answer = service.pay(correlation_id, amount)
    if cents is None:
        assert (answer.status, answer.detail) == (422, f"amount must have at most 2 decimals, got {amount}")
        return
    assert answer.status == 202
    service.settled(correlation_id)
    assert service.default.books[correlation_id][0] == cents


def test_spaces_and_order_in_the_json_do_not_matter(service):
    correlation_id = new_id()
    assert service.post(f' \r\n{{ "amount" :\t5 , "correlationId":"{correlation_id}" }}\n').status == 202
    assert str(service.settled(correlation_id)["amount"]) == "5.00"


@pytest.mark.parametrize("version", [1, 3, 4, 5, 7, None])
def test_every_version_of_uuid_is_taken(service, version):
    correlation_id = str(uuid.UUID(int=uuid.uuid4().int, version=version if version != 7 else None))
    if version == 7:
        correlation_id = correlation_id[:14] + "7" + correlation_id[15:]
    if version is None:
        correlation_id = correlation_id[:14] + "0000-" + correlation_id[19:]
    assert service.pay(correlation_id).status == 202
    assert service.settled(correlation_id)["correlationId"] == correlation_id


# -- one id, one payment


def test_the_same_payment_again_is_accepted_again_and_charged_once(service):
    correlation_id = new_id()
    assert [service.pay(correlation_id).status for _ in range(3)] == [202] * 3
    service.settled(correlation_id)
    assert [service.pay(correlation_id, amount).status for amount in ("19.90", "19.9", "1.99e1")] == [202] * 3
    time.sleep(0.05)
    assert service.charges().count(correlation_id) == 1
    assert not service.default.duplicates


def test_an_id_in_capitals_is_the_same_payment(service):
    correlation_id = new_id()
    assert service.pay(correlation_id.upper()).status == 202
    assert service.pay(correlation_id).status == 202
    assert service.settled(correlation_id.upper())["correlationId"] == correlation_id
    assert service.pay(correlation_id.upper(), "1").status == 409
    assert service.charges().count(correlation_id) == 1


def test_the_same_id_with_another_amount_is_a_conflict_before_and_after_it_is_settled(service):
    correlation_id = new_id()
    assert service.pay(correlation_id, "5").status == 202
    for _ in range(2):
        answer = service.pay(correlation_id, "5.01")
        assert (answer.status, answer.detail) == (
            409,
            f"payment {correlation_id} exists with another amount than 5.01; use a new correlationId for a new payment",
        )
        service.settled(correlation_id)
    assert service.default.books[correlation_id][0] == 500


def test_the_same_payment_on_many_connections_in_the_same_instant_is_charged_once(service):
    for _ in range(10):
        correlation_id = new_id()
        request = post_bytes(payment_body(correlation_id))
        assert at_once(service, *[request] * 5) == [202] * 5
        service.settled(correlation_id)
        assert service.charges().count(correlation_id) == 1


def test_of_two_amounts_in_the_same_instant_one_is_accepted_and_the_other_a_conflict(service):
    for _ in range(10):
        correlation_id = new_id()
        amounts = ("1.00", "2.00")
        statuses = at_once(service, *(post_bytes(payment_body(correlation_id, amount)) for amount in amounts))
        assert sorted(statuses) == [202, 409]
        accepted = amounts[statuses.index(202)]
        assert str(service.settled(correlation_id)["amount"]) == accepted
        assert service.charges().count(correlation_id) == 1


def test_the_same_payment_twice_in_one_packet_is_charged_once(service):
    correlation_id = new_id()
    request = post_bytes(payment_body(correlation_id))
    last = post_bytes(payment_body(correlation_id, "1"), "Connection: close")
    assert [answer.status for answer in split_answers(service.raw(request * 5 + last))] == [202] * 5 + [409]
    service.settled(correlation_id)
    assert service.charges().count(correlation_id) == 1


def test_a_payment_followed_by_garbage_is_answered_as_accepted_first(service):
    correlation_id = new_id()
    answers = split_answers(service.raw(post_bytes(payment_body(correlation_id)) + b"\x00garbage"))
    assert [answer.status for answer in answers] == [202, 400]
    service.settled(correlation_id)


def test_a_payment_whose_client_hangs_up_without_waiting_is_no_more_than_once_charged(service):
    ids = [new_id() for _ in range(20)]
    for correlation_id in ids:
        with socket.create_connection((service.address.host, service.address.port)) as client:
            client.sendall(post_bytes(payment_body(correlation_id)))
    service.goes_on()
    assert all(service.charges().count(correlation_id) <= 1 for correlation_id in ids)


def test_a_payment_with_an_offer_to_upgrade_is_accepted(service):
    correlation_id = new_id()
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    (answer,) = split_answers(service.raw(post_bytes(payment_body(correlation_id), *offer)))
    assert answer.status == 202
    service.settled(correlation_id)


@pytest.mark.parametrize("path", ["/payments?", "/payments?a=b", "http://elsewhere/payments"])
def test_a_query_or_an_absolute_target_does_not_change_where_a_payment_goes(service, path):
    correlation_id = new_id()
    (answer,) = split_answers(service.raw(post_bytes(payment_body(correlation_id), "Connection: close", path=path)))
    assert answer.status == 202
    service.settled(correlation_id)


def test_many_clients_at_once_are_all_accepted_and_every_payment_is_settled_once(service):
    ids = [new_id() for _ in range(200)]
    with ThreadPoolExecutor(8) as clients:
        assert {answer.status for answer in clients.map(service.pay, ids)} == {202}
    for correlation_id in ids:
        service.settled(correlation_id)
    charges = service.charges()
    assert [charges.count(correlation_id) for correlation_id in ids] == [1] * 200


# -- looking at one


def test_a_settled_payment_is_shown_with_the_instant_that_its_processor_has(service):
    correlation_id = new_id()
    service.pay(correlation_id)
    view = service.settled(correlation_id)
    processor = service.default.books[correlation_id][1]
    assert view["requestedAt"].endswith(f".{processor % 1_000_000:06d}Z")
    assert view["acceptedAt"] <= view["requestedAt"] <= view["settledAt"]


def test_an_unknown_payment_is_not_found(service):
    answer = service.get(f"/payments/{UNKNOWN}")
    assert (answer.status, answer.detail) == (404, f"no payment {UNKNOWN} is known here")


@pytest.mark.parametrize(
    "text",
    ["", "17", "service-health", UNKNOWN[:-1], UNKNOWN.replace("-", ""), UNKNOWN + "/", "%00", "%ff", "a" * 9000],
)
def test_what_is_no_uuid_is_not_looked_for(service, text):
    answer = service.get(f"/payments/{text}")
    assert answer.status == 400
    assert answer.detail.startswith("correlationId must be a UUID like ")


def test_a_payment_that_no_processor_takes_shows_why_it_waits(tmp_path):
    with running_service(tmp_path, failing=True, stop_timeout_s=0.1) as service:
        correlation_id = new_id()
        assert service.pay(correlation_id).status == 202
        wait_until(lambda: service.get(f"/payments/{correlation_id}").json()["failedAttempts"] != [])
        view = service.get(f"/payments/{correlation_id}").json()
        assert view["state"] in ("queued", "attempting")
        assert view["failedAttempts"][0]["detail"] == "answered 500"
        failed = view["failedAttempts"][0]
        assert failed["reason"].startswith("default was ")
        assert view["acceptedAt"] <= failed["requestedAt"] <= failed["at"]
        assert 0 <= failed["latencyMs"] < 5000
        assert service.charges() == []
        service.on_loop(service.default.configure, failing=False)
        service.on_loop(service.fallback.configure, failing=False)
        service.settled(correlation_id)
        assert service.charges() == [correlation_id]


# -- health, purge, bounds, addresses


def test_health_says_ok(service):
    answer = service.get("/health")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})
    assert service.get("/health?from=nginx").status == 200


def test_purging_is_refused_unless_the_operator_allowed_it(service):
    service.goes_on()
    answer = service.call("POST", "/purge-payments")
    assert (answer.status, answer.detail) == (
        403,
        "purging is off; the operator can set PAYROUTER_ALLOW_PURGE=true",
    )
    assert service.get("/payments-summary").json()["default"]["totalRequests"] > 0


def test_purging_forgets_every_payment_and_the_router_goes_on(tmp_path):
    with running_service(tmp_path, allow_purge=True) as service:
        correlation_id = new_id()
        service.pay(correlation_id)
        service.settled(correlation_id)
        answer = service.call("POST", "/purge-payments")
        assert (answer.status, answer.json()) == (200, {"message": "all payments purged"})
        assert service.get(f"/payments/{correlation_id}").status == 404
        zero = b'{"default":{"totalRequests":0,"totalAmount":0.00},"fallback":{"totalRequests":0,"totalAmount":0.00}}'
        assert service.get("/payments-summary").body == zero
        service.goes_on()


def test_a_full_queue_is_said_with_503_and_what_is_known_already_is_still_accepted(tmp_path):
    slow = {"delay_ms": 10_000, "max_in_flight": 1, "queue_limit": 3, "stop_timeout_s": 0.1}
    with running_service(tmp_path, **slow) as service:
        accepted, answer = [], service.pay(first := new_id())
        while answer.status == 202:
            accepted.append(first)
            answer = service.pay(first := new_id())
        # What is out at one of the two processors does not wait: one each, and perhaps a probe.
        assert 3 <= len(accepted) <= 7
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.detail == "3 payments are waiting, which is the limit; try again later"
        assert service.get(f"/payments/{first}").status == 404
        assert [service.pay(known).status for known in accepted] == [202] * len(accepted)
        assert service.pay(accepted[0], "1").status == 409
        assert service.get("/health").status == 200


def test_the_api_can_be_served_on_a_unix_socket(tmp_path):
    path = tmp_path / "api.sock"
    with running_service(tmp_path, bind=Address(path=path)):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(post_bytes(payment_body(new_id()), "Connection: close"))
            (answer,) = split_answers(client.recv(65536))
        assert answer.status == 202


def test_stopping_answers_what_was_accepted_and_the_next_start_still_knows_it(tmp_path):
    correlation_id = new_id()
    with running_service(tmp_path, delay_ms=100) as service:
        assert service.pay(correlation_id).status == 202
    with running_service(tmp_path) as service:
        assert service.pay(correlation_id).status == 202
        assert service.settled(correlation_id)["processor"] == "default"
        assert service.pay(correlation_id, "1").status == 409
