"""Who may use the public API: keys, how fast, and from which address; over real connections."""

from __future__ import annotations

import json
import logging
import socket
import time
import uuid
from hashlib import sha256

import pytest
from openapi_spec_validator import validate

from integration.raw_http import split_answers
from integration.router_service import JSON, payment_body, post_bytes, running_service, wait_until
from payrouter.adapters.http.message import Request
from payrouter.application.meter import Meter
from payrouter.domain.events import RequestRefused
from payrouter.domain.snapshot import Count
from payrouter.entrypoints.api.gate import address_of
from payrouter.settings import ApiKey

SHOP, TILL = "shop-key-0123456789", "till-key-0123456789"
KEYS = tuple(ApiKey(name, sha256(key.encode()).digest()) for name, key in (("shop", SHOP), ("till", TILL)))
ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
GUARDED = [
    ("POST", "/payments"),
    ("GET", "/payments"),
    ("GET", f"/payments/{ID}"),
    ("GET", "/payments-summary"),
    ("GET", "/payments-summary?from=2025-01-01T00:00:00Z"),
    ("POST", "/purge-payments"),
    ("DELETE", "/payments"),
    ("GET", "/nowhere"),
    ("GET", "/health/"),
    ("GET", "//health"),
    ("GET", "/docs/../payments-summary"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("router"), api_keys=KEYS, allow_purge=True) as service:
        yield service


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# -- keys


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_key_nothing_is_told_and_nothing_done(service, method, path):
    body = payment_body(str(uuid.uuid4())) if path == "/payments" else ""
    answer = service.call(method, path, body, JSON)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.detail == "send your key as Authorization: Bearer <key> or X-API-Key: <key>"
    assert service.charges() == []


@pytest.mark.parametrize("path", ["/health", "/health?x=1", "/openapi.json", "/docs"])
def test_health_and_documents_are_open(service, path):
    connection = socket.create_connection((service.address.host, service.address.port), timeout=5)
    with connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "headers",
    [
        bearer(SHOP),
        bearer(TILL),
        {"authorization": f"bEaReR   {SHOP} "},
        {"X-API-Key": SHOP},
        {"x-api-key": f" {TILL} "},
        {"Authorization": "Basic YTpi", "X-API-Key": SHOP},
    ],
)
def test_each_key_opens_everything_either_way(service, headers):
    correlation_id = str(uuid.uuid4())
    assert service.call("POST", "/payments", payment_body(correlation_id), JSON | headers).status == 202
    assert service.call("GET", f"/payments/{correlation_id}", headers=headers).status == 200
    assert service.call("GET", "/payments-summary", headers=headers).status == 200
    assert service.call("GET", "/nowhere", headers=headers).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        bearer("wrong-key-0123456789"),
        bearer(SHOP[:-1]),
        bearer(SHOP + "x"),
        bearer(SHOP.upper()),
        bearer(f"{SHOP},{TILL}"),
        bearer(KEYS[0].digest.hex()),
        bearer("shop"),
        bearer(""),
        {"Authorization": SHOP},
        {"Authorization": f"Basic {SHOP}"},
        {"Authorization": f"BearerX {SHOP}"},
        {"Authorization": f"Bearer\t{SHOP}"},
        {"Authorization": "Bearer wrong", "X-API-Key": SHOP},
        {"X-API-Key": ""},
        {"X-API-Key": f"Bearer {SHOP}"},
        {"X-Api-Keys": SHOP},
        {"X-API-Key": "x" * 12_000},
    ],
)
def test_anything_else_is_no_key(service, headers):
    before = len(service.charges())
    answer = service.call("POST", "/payments", payment_body(str(uuid.uuid4())), JSON | headers)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert SHOP not in answer.body.decode()
    assert len(service.charges()) <= before + 1  # what was accepted before may still be under way


def test_a_key_in_the_url_is_not_taken(service):
    assert service.get(f"/payments-summary?key={SHOP}").status == 401


def test_no_byte_of_a_key_opens_anything_or_breaks_anything(service):
    for junk in (b"\xff\xfe", b"\xc3\x28", b"\x80" * 40, b"%s" * 20, b"\\u0000"):
        request = b"GET /payments-summary HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer "
        assert service.raw(request + junk + b"\r\n\r\n").startswith(b"HTTP/1.1 401 ")


def test_after_a_refusal_the_connection_goes_on_and_the_next_request_is_answered(service):
    refused = post_bytes(payment_body(str(uuid.uuid4())))
    good = post_bytes(payment_body(str(uuid.uuid4())), f"X-API-Key: {SHOP}", "Connection: close")
    answers = split_answers(service.raw(refused + good))
    assert [answer.status for answer in answers] == [401, 202]


def test_one_request_with_a_key_does_not_open_the_connection_for_the_next(service):
    with_key = f"GET /payments-summary HTTP/1.1\r\nHost: a\r\nX-API-Key: {SHOP}\r\n\r\n"
    without = "GET /payments-summary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answers = split_answers(service.raw((with_key + without).encode()))
    assert [answer.status for answer in answers] == [200, 401]


def test_the_document_says_that_keys_are_needed_and_where(service):
    document = service.document.document
    validate(document)
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            needs = path != "/health"
            assert ("security" in operation, "401" in operation["responses"]) == (needs, needs)


def test_a_refusal_is_logged_once_a_second_and_never_with_the_key(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG), running_service(tmp_path, api_keys=KEYS) as service:
        wrong = "wrong-key-that-nobody-may-read"
        for _ in range(20):
            assert service.call("GET", "/payments-summary", headers=bearer(wrong)).status == 401
        assert service.call("GET", "/payments-summary", headers=bearer(SHOP)).status == 200
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.INFO and "refused a request" in record.getMessage()
    ]
    assert lines[0] == "refused a request of 127.0.0.1: unauthorized"
    assert len(lines) <= 3
    assert wrong not in caplog.text
    assert SHOP not in caplog.text


def test_refusals_are_counted_by_reason():
    meter = Meter(())
    for reason in ("unauthorized", "rate-limited", "unauthorized"):
        meter.publish(RequestRefused(reason, "192.0.2.1"))
    assert meter.counts() == [
        Count("http_refused_total", ("unauthorized",), 2),
        Count("http_refused_total", ("rate-limited",), 1),
    ]


# -- how fast


def statuses(service, count: int, headers: dict[str, str] | None = None) -> list[int]:
    return [
        service.call("POST", "/payments", payment_body(str(uuid.uuid4())), JSON | (headers or {})).status
        for _ in range(count)
    ]


@pytest.fixture
def slow_service(tmp_path):
    with running_service(tmp_path, api_keys=KEYS, rate_limit_per_s=0.5) as service:
        assert service.document  # read before time counts
        yield service


def test_a_client_that_is_too_fast_is_told_when_to_come_again(slow_service):
    assert statuses(slow_service, 3, bearer(SHOP)) == [202, 429, 429]
    answer = slow_service.call("POST", "/payments", payment_body(str(uuid.uuid4())), JSON | bearer(SHOP))
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 2
    assert (
        answer.detail == f"more payments than this client may hand in; try again in {answer.headers['retry-after']} s"
    )
    time.sleep(int(answer.headers["retry-after"]))
    assert statuses(slow_service, 1, bearer(SHOP)) == [202]


def test_only_payments_count_and_each_key_for_itself(slow_service):
    assert statuses(slow_service, 2, bearer(SHOP)) == [202, 429]
    assert [slow_service.call("GET", "/payments-summary", headers=bearer(SHOP)).status for _ in range(5)] == [200] * 5
    assert statuses(slow_service, 1, {"X-API-Key": TILL}) == [202]
    assert statuses(slow_service, 1) == [401]


def test_what_is_refused_is_not_accepted_and_can_be_sent_again(tmp_path):
    with running_service(tmp_path, rate_limit_per_s=0.5) as service:
        assert service.document  # read before time counts
        assert statuses(service, 1) == [202]
        correlation_id = str(uuid.uuid4())
        assert service.pay(correlation_id).status == 429
        assert service.get(f"/payments/{correlation_id}").status == 404
        wait_until(lambda: service.pay(correlation_id).status == 202, within_s=5)
        assert service.settled(correlation_id)["state"] == "settled"


def test_without_keys_a_client_is_its_address_as_a_proxy_on_this_machine_tells_it(tmp_path):
    with running_service(tmp_path, rate_limit_per_s=0.05) as service:
        assert statuses(service, 2, {"X-Real-IP": "192.0.2.1"}) == [202, 429]
        assert statuses(service, 2, {"X-Real-IP": "192.0.2.2", "X-Forwarded-For": "192.0.2.1"}) == [202, 429]
        assert statuses(service, 2, {"X-Forwarded-For": "192.0.2.1, 192.0.2.3"}) == [202, 429]
        assert statuses(service, 2) == [202, 429]
        assert "429" in service.document.document["paths"]["/payments"]["post"]["responses"]
        validate(service.document.document)


class Peer:
    """Stands for a reply: whom it goes to."""

    client_gone = False

    def __init__(self, peer: str | None) -> None:
        self.peer = peer


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("192.0.2.9", {}, "192.0.2.9"),
        # Only a proxy on this machine is believed.
        ("192.0.2.9", {"x-real-ip": "10.0.0.1", "x-forwarded-for": "10.0.0.2"}, "192.0.2.9"),
        ("2001:db8::1", {"x-real-ip": "10.0.0.1"}, "2001:db8::/64"),
        ("127.0.0.1", {"x-real-ip": "10.0.0.1"}, "10.0.0.1"),
        ("::1", {"x-real-ip": "10.0.0.1"}, "10.0.0.1"),
        ("::ffff:127.0.0.1", {"x-real-ip": "10.0.0.1"}, "10.0.0.1"),
        ("", {"x-real-ip": "10.0.0.1"}, "10.0.0.1"),
        ("", {"x-forwarded-for": "1.1.1.1, 10.0.0.1"}, "10.0.0.1"),
        ("", {"x-real-ip": "10.0.0.1", "x-forwarded-for": "1.1.1.1"}, "10.0.0.1"),
        ("", {"x-real-ip": "2001:db8:0:1:2:3:4:5"}, "2001:db8:0:1::/64"),
        ("", {"x-real-ip": "::ffff:10.0.0.1"}, "10.0.0.1"),
        ("", {}, "a unix socket"),
        # What is no address names nobody, and reaches no log.
        ("127.0.0.1", {"x-real-ip": "evil\\nline"}, "127.0.0.1"),
        ("127.0.0.1", {"x-forwarded-for": "10.0.0.1, unknown"}, "127.0.0.1"),
        ("", {"x-real-ip": "1" * 9000}, "a unix socket"),
        ("::1", {}, "::1"),
        ("fe80::1%eth0", {}, "fe80::/64"),
    ],
)
def test_the_address_of_a_client(peer, headers, address):
    request = Request(b"POST", b"/payments", [(name.encode(), value.encode()) for name, value in headers.items()])
    assert address_of(request, Peer(peer)) == address


def test_two_forwarding_proxies_count_as_the_one_that_is_nearest():
    request = Request(b"POST", b"/payments", [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"10.0.0.1")])
    assert address_of(request, Peer("")) == "10.0.0.1"


# -- without either


def test_without_keys_and_rate_nothing_stands_before_the_api(tmp_path):
    with running_service(tmp_path) as service:
        text = json.dumps(service.document.document)
        assert "securitySchemes" not in text
        assert '"401"' not in text
        assert '"429"' not in text
        assert statuses(service, 30, bearer("whatever")) == [202] * 30
