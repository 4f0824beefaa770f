"""Wrong input at the public API: the right status, a message that says what was wrong, nothing sent, and it goes on."""

from __future__ import annotations

import json
import uuid

import pytest

from integration.raw_http import split_answers
from integration.router_service import JSON, Service, payment_body, post_bytes, running_service

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("router")) as service:
        yield service


@pytest.fixture
def service(running: Service):
    """A service that, after the test, has sent nothing and still works."""
    before = len(running.charges())
    yield running
    assert len(running.charges()) == before
    running.goes_on()


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ("", 400, "the body is empty; send"),
        ("{", 400, "the body is not JSON"),
        ('{"correlationId": "', 400, "the body is not JSON"),
        (f'{{"correlationId": "{ID}", "amount": 19.90', 400, "the body is not JSON"),
        (f'{{"correlationId": "{ID}", "amount": 19.90}} x', 400, "the body is not JSON"),
        (f"{{'correlationId': '{ID}', 'amount': 19.90}}", 400, "the body is not JSON"),
        (f'{{"correlationId": "{ID}", "amount": 19.90,}}', 400, "the body is not JSON"),
        (f'\ufeff{{"correlationId": "{ID}", "amount": 19.90}}', 400, "the body is not JSON"),
        ("payment", 400, "the body is not JSON"),
        ("\x00", 400, "the body is not JSON"),
        ("[" * 30_000, 422, "Expected `object`, got `array`"),
        ('{"amount":' + "[" * 30_000, 400, "nested too deeply"),
        ('{"amount":' + '{"a":' * 10_000, 400, "nested too deeply"),
        ("[]", 422, "Expected `object`, got `array`"),
        (f'[{{"correlationId": "{ID}", "amount": 1}}]', 422, "Expected `object`, got `array`"),
        ("null", 422, "Expected `object`, got `null`"),
        ("19.90", 422, "Expected `object`, got `float`"),
        (f'"{ID}"', 422, "Expected `object`, got `str`"),
        ("{}", 422, "missing required field `correlationId`"),
        (f'{{"correlationId": "{ID}"}}', 422, "missing required field `amount`"),
        ('{"amount": 19.90}', 422, "missing required field `correlationId`"),
        (f'{{"correlationid": "{ID}", "amount": 1}}', 422, "unknown field `correlationid`"),
        (f'{{"correlationId": "{ID}", "amount": 1, "fee": 0}}', 422, "unknown field `fee`"),
        ('{"correlationId": 17, "amount": 19.90}', 422, "Expected `str`, got `int` - at `$.correlationId`"),
        ('{"correlationId": null, "amount": 19.90}', 422, "Expected `str`, got `null` - at `$.correlationId`"),
    ],
)
def test_a_body_that_is_no_payment_is_refused_with_what_is_wrong_with_it(service, body, status, detail):
    answer = service.post(body)
    assert (answer.status, detail in answer.detail) == (status, True), answer.detail


@pytest.mark.parametrize(
    "correlation_id",
    [
        "",
        "17",
        ID.replace("-", ""),
        "{" + ID + "}",
        f"urn:uuid:{ID}",
        ID[:-1],
        ID + "0",
        ID[:-1] + "g",
        f" {ID}",
        f"{ID}\\n",
        ID.replace("4a79", "\uff14a79"),
    ],
)
def test_a_correlation_id_that_is_no_uuid_is_refused_by_name(service, correlation_id):
    answer = service.post(payment_body(correlation_id))
    assert answer.status == 422
    assert answer.detail.startswith("correlationId must be a UUID like 4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3, got ")


@pytest.mark.parametrize(
    ("amount", "status", "detail"),
    [
        ('"19.90"', 422, 'amount must be a JSON number such as 19.90, got "19.90"'),
        ("true", 422, "amount must be a JSON number such as 19.90, got true"),
        ("null", 422, "amount must be a JSON number such as 19.90, got null"),
        ("[19.90]", 422, "amount must be a JSON number such as 19.90, got [19.90]"),
        ('{"value": 19.90}', 422, 'amount must be a JSON number such as 19.90, got {"value": 19.90}'),
        ('"1:2"', 422, 'amount must be a JSON number such as 19.90, got "1:2"'),
        ("0", 422, "amount must be above 0, got 0"),
        ("0.00", 422, "amount must be above 0, got 0.00"),
        ("-0", 422, "amount must be above 0, got -0"),
        ("-0.0", 422, "amount must be above 0, got -0.0"),
        ("-19.90", 422, "amount must be above 0, got -19.90"),
        ("0e10", 422, "amount must be above 0, got 0e10"),
        ("19.901", 422, "amount must have at most 2 decimals, got 19.901"),
        ("0.001", 422, "amount must have at most 2 decimals, got 0.001"),
        ("1e-3", 422, "amount must have at most 2 decimals, got 1e-3"),
        ("1000000000.01", 422, "amount must be at most 1000000000.00, got 1000000000.01"),
        ("1e400", 422, "amount must be at most 1000000000.00, got 1e400"),
        ("1e-400", 422, "amount must have at most 2 decimals, got 1e-400"),
        ("1e999999999999999999999", 422, "amount has an exponent which no amount needs"),
        ("9" * 5000, 422, "amount has 5000 characters, which no amount needs"),
        ("0." + "9" * 5000, 422, "amount has 5002 characters, which no amount needs"),
        ("NaN", 400, "the body is not JSON"),
        ("Infinity", 400, "the body is not JSON"),
        ("-Infinity", 400, "the body is not JSON"),
        ("+1", 400, "the body is not JSON"),
        (".5", 400, "the body is not JSON"),
        ("1.", 400, "the body is not JSON"),
        ("01", 400, "the body is not JSON"),
        ("0x10", 400, "the body is not JSON"),
        ("1_000", 400, "the body is not JSON"),
        ("1,5", 400, "the body is not JSON"),
    ],
)
def test_an_amount_that_is_no_amount_is_refused_by_name(service, amount, status, detail):
    answer = service.pay(ID, amount)
    assert (answer.status, detail in answer.detail) == (status, True), answer.detail


@pytest.mark.parametrize(
    "body",
    [
        f'{{"correlationId": "{ID}", "amount": 1, "amount": 2}}',
        f'{{"amount": 1, "correlationId": "{ID}", "amount": 1}}',
        f'{{"correlationId": "{uuid.UUID(int=1)}", "correlationId": "{ID}", "amount": 1}}',
        f'{{"correlationId": "{ID}", "amount": "a:b", "amount": 1}}',
        f'{{"correlationId": "{ID}", "\\u0061mount": 2, "amount": 1}}',
    ],
)
def test_a_field_given_twice_is_refused_because_which_one_counts_would_be_a_guess(service, body):
    answer = service.post(body)
    assert answer.status == 422
    assert answer.detail.startswith(f"a field is given twice for payment {ID}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"correlationId": "\xff\xfe", "amount": 1}',
        b'{"\xff": "", "amount": 1}',
        payment_body(ID).encode("utf-16"),
        b"\xff\xff\xff",
        b'{"correlationId": "\\ud800", "amount": 1}',
    ],
)
def test_a_body_that_is_not_utf8_is_refused_as_not_json(service, body):
    answer = service.post(body)
    assert (answer.status, answer.detail[:21]) == (400, "the body is not JSON:")


def test_an_amount_that_is_not_utf8_is_refused_as_no_number(service):
    answer = service.post(b'{"correlationId": "%b", "amount": "\xff"}' % ID.encode())
    assert (answer.status, answer.detail) == (422, 'amount must be a JSON number such as 19.90, got "�"')


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        (None, "none"),
        ("", "none"),
        ("text/plain", "text/plain"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("application/jsonp", "application/jsonp"),
        ("application/json-patch+json", "application/json-patch+json"),
        ("x" * 1000, "x" * 60),
    ],
)
def test_another_content_type_is_refused_and_named(service, content_type, shown):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = service.call("POST", "/payments", payment_body(ID), headers)
    assert (answer.status, answer.detail) == (415, f"send Content-Type: application/json, got {shown}")


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json;"]
)
def test_json_is_known_with_parameters_and_in_any_case(running, content_type):
    correlation_id = str(uuid.uuid4())
    answer = running.call("POST", "/payments", payment_body(correlation_id), {"Content-Type": content_type})
    assert answer.status == 202
    running.settled(correlation_id)  # before the next test counts charges


def test_a_body_of_a_megabyte_is_refused_and_the_client_gets_to_read_why(service):
    answer = service.post(b" " * 1024 * 1024)
    assert (answer.status, answer.detail) == (413, "body of 1048576 bytes exceeds 65536")


def test_a_chunked_body_of_a_megabyte_is_refused_and_the_client_gets_to_read_why(service):
    head = b"POST /payments HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    (answer,) = split_answers(service.raw(head + b"1000\r\n%b\r\n" % (b" " * 4096) * 256 + b"0\r\n\r\n"))
    assert (answer.status, answer.detail) == (413, "body exceeds 65536 bytes")


@pytest.mark.parametrize("path", ["/", "/payment", "/payments/x/y", "/admin", "//payments", "/payments-summary/"])
def test_an_unknown_path_is_not_found_and_a_payment_path_needs_a_uuid(service, path):
    answer = service.get(path)
    if path.startswith("/payments/"):
        assert (answer.status, "must be a UUID" in answer.detail) == (400, True)
    else:
        assert answer.status == 404
        assert answer.detail == f"nothing is at {path}; GET /openapi.json lists what is"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/payments", "POST"),
        ("PUT", "/payments", "POST"),
        ("DELETE", "/payments", "POST"),
        ("OPTIONS", "/payments", "POST"),
        ("POST", "/payments-summary", "GET"),
        ("GET", "/purge-payments", "POST"),
        ("POST", "/health", "GET"),
        ("POST", "/openapi.json", "GET"),
        ("DELETE", f"/payments/{ID}", "GET"),
        ("POST", f"/payments/{ID}", "GET"),
    ],
)
def test_another_method_is_refused_and_told_the_right_one(service, method, path, allowed):
    answer = service.call(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert answer.detail == f"{method} is not possible here, only {allowed}"


def test_a_head_request_is_refused_without_a_body(service):
    answer = service.call("HEAD", "/health")
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET", b"")
    received = service.raw(b"HEAD /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert received.endswith(b"\r\n\r\n")


def test_bytes_that_are_not_http_get_a_problem_document(service):
    (answer,) = split_answers(service.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "not an HTTP/1.1 request",
    }


def test_a_payment_with_both_lengths_is_refused_whole(service):
    """Two servers reading such a request differently is how requests are smuggled."""
    inner = post_bytes(payment_body(str(uuid.uuid4())))
    for first, second in (
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
    ):
        head = f"POST /payments HTTP/1.1\r\nContent-Type: application/json\r\n{first}\r\n{second}\r\n\r\n"
        answers = split_answers(service.raw(head.encode() + b"0\r\n\r\n" + inner))
        assert [answer.status for answer in answers] == [400]


def test_every_problem_has_type_title_status_and_detail(service):
    answer = service.pay(ID, "-1")
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "amount must be above 0, got -1",
    }
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_hundred_wrong_requests_on_one_connection_leave_it_usable(service):
    wrong = post_bytes(payment_body(ID, "-1")) * 100
    answers = split_answers(service.raw(wrong + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n"))
    assert [answer.status for answer in answers] == [422] * 100 + [200]


def test_headers_of_json_are_asked_for_before_the_body_is_read(service):
    answer = service.call("POST", "/payments", "{", {"Content-Type": "text/plain"})
    assert answer.status == 415
    assert service.call("POST", "/payments", "{", JSON).status == 400
