"""The processor gateway over real sockets: what goes over the wire, and what comes of each exchange."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import pytest

from integration.raw_http import on_both_loops, read_request, scenario, scripted, until
from payrouter.adapters.http.books import HttpBooks
from payrouter.adapters.http.gateway import HttpGateway
from payrouter.domain.attempt import Charged, Delivery, Intent, Invalid, Outcome, Refusal, Refused, Unknown
from payrouter.domain.health import HealthReport
from payrouter.domain.processor import Processor
from payrouter.domain.window import Window
from payrouter.ports.books import BooksUnavailable
from payrouter.ports.gateway import GatewayError
from payrouter_lab.simulator import ProcessorSimulator, SimulatorOptions

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
AT_US = 1_752_582_896_123_456


def intent(amount_minor: int = 1990, requested_us: int = AT_US) -> Intent:
    return Intent(Delivery(ID, amount_minor, AT_US, receipt=1), "default", requested_us, "")


@asynccontextmanager
async def gateway_to(port: int, *, attempt_timeout_s: float = 2.0, path: str = ""):
    gateway = HttpGateway(
        (Processor("default", f"http://127.0.0.1:{port}{path}", Decimal("0.05")),),
        attempt_timeout_s=attempt_timeout_s,
        connections=8,
    )
    try:
        yield gateway
    finally:
        await gateway.close()


async def outcome_of(gateway: HttpGateway, attempt: Intent) -> Outcome:
    """Send an attempt; its outcome is told once, and not before `send` has returned."""
    outcomes: list[Outcome] = []
    gateway.send(attempt, outcomes.append)
    assert outcomes == []
    await until(lambda: outcomes != [])
    await asyncio.sleep(0.005)
    (outcome,) = outcomes
    return outcome


def answering(status_line: str, body: bytes):
    async def talk(reader, writer):
        while True:
            await read_request(reader)
            head = f"HTTP/1.1 {status_line}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)

    return talk


# -- on the wire


@pytest.mark.parametrize(
    ("amount_minor", "amount"),
    [(1990, "19.90"), (1, "0.01"), (100, "1.00"), (99_999_999_999, "999999999.99"), (1005, "10.05")],
)
@scenario
async def test_an_attempt_carries_exactly_id_amount_and_instant(amount_minor, amount):
    requests = []

    async def talk(reader, writer):
        requests.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with scripted(talk) as port, gateway_to(port) as gateway:
        assert await outcome_of(gateway, intent(amount_minor)) == Charged()
    body = f'{{"correlationId":"{ID}","amount":{amount},"requestedAt":"2025-07-15T12:34:56.123456Z"}}'
    assert requests == [
        f"POST /payments HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    ]


@scenario
async def test_the_client_s_trace_goes_with_the_attempt_as_a_header():
    requests = []

    async def talk(reader, writer):
        requests.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    plain = intent()
    async with scripted(talk) as port, gateway_to(port) as gateway:
        traced = replace(plain, delivery=replace(plain.delivery, trace=trace))
        assert await outcome_of(gateway, traced) == Charged()
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.decode().endswith(f"\r\nContent-Length: {len(body)}\r\ntraceparent: {trace}")


@pytest.mark.parametrize(
    ("requested_us", "text"),
    [
        (AT_US, "2025-07-15T12:34:56.123456Z"),
        (1_752_582_896_000_000, "2025-07-15T12:34:56.000000Z"),
        (1_752_582_896_000_001, "2025-07-15T12:34:56.000001Z"),
    ],
)
@scenario
async def test_the_instant_has_all_its_microseconds_and_arrives_as_it_was_fixed(requested_us, text):
    simulator = ProcessorSimulator(SimulatorOptions())
    async with gateway_to(await simulator.start()) as gateway:
        assert await outcome_of(gateway, intent(requested_us=requested_us)) == Charged()
        assert simulator.books == {ID: (1990, requested_us)}
    await simulator.stop()
    requests = []

    async def talk(reader, writer):
        requests.append(await read_request(reader))

    async with scripted(talk) as port, gateway_to(port) as gateway:
        await outcome_of(gateway, intent(requested_us=requested_us))
    assert json.loads(requests[0].partition(b"\r\n\r\n")[2])["requestedAt"] == text


OWN = (("Authorization", "Bearer processor-key-1"), ("X-Tenant", "ours"))


@scenario
async def test_a_processors_own_headers_go_with_every_request_to_it_and_to_no_other():
    requests: dict[str, list[bytes]] = {"default": [], "other": []}

    def answering_as(name):
        async def talk(reader, writer):
            while True:
                requests[name].append(await read_request(reader))
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")

        return talk

    async with scripted(answering_as("default")) as port, scripted(answering_as("other")) as other_port:
        processors = (
            Processor("default", f"http://127.0.0.1:{port}/v1", Decimal("0.05"), headers=OWN),
            Processor("other", f"http://127.0.0.1:{other_port}", Decimal("0.15")),
        )
        gateway, books = HttpGateway(processors, attempt_timeout_s=2.0, connections=8), HttpBooks(processors)
        for name in requests:
            attempt = Intent(Delivery(ID, 1990, AT_US, receipt=1), name, AT_US, "")
            await outcome_of(gateway, attempt)
            assert not await proven(gateway, attempt)
            with pytest.raises(GatewayError):
                await gateway.health(name)
            assert await books.find(name, ID) is None
            assert await books.page(name, Window(0, 1), None) is None
            with pytest.raises(BooksUnavailable):
                await books.totals(name, Window(0, 1))
        await gateway.close()
        await books.close()
    for name, prefix in (("default", "/v1"), ("other", "")):
        heads = [request.partition(b"\r\n\r\n")[0].decode().split("\r\n") for request in requests[name]]
        assert [head[0].partition("?")[0] for head in heads] == [
            f"POST {prefix}/payments HTTP/1.1",
            f"GET {prefix}/payments/{ID} HTTP/1.1",
            f"GET {prefix}/payments/service-health HTTP/1.1",
            f"GET {prefix}/payments/{ID} HTTP/1.1",
            f"GET {prefix}/admin/payments",
            f"GET {prefix}/admin/payments-summary",
        ]
        for head in heads:
            own = [line for line in head if line.startswith(("Authorization", "X-Tenant"))]
            assert own == ([f"{key}: {value}" for key, value in OWN] if name == "default" else [])
            names = [line.partition(":")[0].lower() for line in head[1:]]
            assert len(names) == len(set(names))


@scenario
async def test_what_a_processor_is_told_is_in_no_error_and_no_log(caplog):
    caplog.set_level("DEBUG")
    one = Processor("default", "http://127.0.0.1:1", Decimal("0.05"), headers=OWN)
    gateway, books = HttpGateway((one,), attempt_timeout_s=2.0, connections=8), HttpBooks((one,))
    told = [repr(one), repr(await outcome_of(gateway, intent()))]
    with pytest.raises(GatewayError) as failed:
        await gateway.health("default")
    with pytest.raises(BooksUnavailable) as unread:
        await books.find("default", ID)
    await gateway.close()
    await books.close()
    assert "processor-key-1" not in " ".join((*told, repr(failed.value), repr(unread.value), caplog.text))


@scenario
async def test_the_path_of_a_processors_url_comes_before_the_calls_path():
    paths = []

    async def talk(reader, writer):
        paths.append((await read_request(reader)).split()[1])

    async with scripted(talk) as port, gateway_to(port, path="/v1") as gateway:
        await outcome_of(gateway, intent())
        with pytest.raises(GatewayError):
            await gateway.health("default")
    assert paths == [b"/v1/payments", b"/v1/payments/service-health"]


# -- outcomes


@pytest.mark.parametrize(
    ("status_line", "body", "outcome"),
    [
        ("200 OK", b'{"message":"payment processed successfully"}', Charged()),
        ("200 OK", b"<html>", Unknown("answered 200 with a body that is not a JSON object")),
        ("200 OK", b"", Unknown("answered 200 with a body that is not a JSON object")),
        ("422 Unprocessable Entity", b"", Charged(already=True)),
        ("500 Internal Server Error", b"", Refused(Refusal.FAILING, "answered 500")),
        ("429 Too Many Requests", b"", Refused(Refusal.BUSY, "answered 429")),
        ("400 Bad Request", b"no", Invalid("answered 400: no")),
        ("413 Content Too Large", b"\xff" * 500, Invalid("answered 413: " + "�" * 120)),
        ("201 Created", b"{}", Unknown("answered 201")),
        ("302 Found", b"", Unknown("answered 302")),
        ("408 Request Timeout", b"", Unknown("answered 408")),
        ("502 Bad Gateway", b"", Unknown("answered 502")),
        ("503 Service Unavailable", b"", Unknown("answered 503")),
        ("504 Gateway Timeout", b"", Unknown("answered 504")),
        ("599 What", b"", Unknown("answered 599")),
    ],
)
@scenario
async def test_each_answer_means_one_outcome(status_line, body, outcome):
    async with scripted(answering(status_line, body)) as port, gateway_to(port) as gateway:
        assert await outcome_of(gateway, intent()) == outcome


@pytest.mark.parametrize("status_line", ["401 x", "403 x", "404 x", "405 x", "406 x", "415 x"])
@scenario
async def test_an_answer_that_speaks_of_our_settings_is_refused_and_says_so(status_line):
    async with scripted(answering(status_line, b"")) as port, gateway_to(port) as gateway:
        outcome = await outcome_of(gateway, intent())
        assert isinstance(outcome, Refused)
        assert outcome.refusal is Refusal.MISCONFIGURED
        assert "check the processor's url" in outcome.detail


@on_both_loops
async def test_a_processor_that_is_not_there_has_not_charged():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    async with gateway_to(port) as gateway:
        outcome = await outcome_of(gateway, intent())
    assert isinstance(outcome, Refused)
    assert outcome.refusal is Refusal.UNREACHABLE


@on_both_loops
async def test_a_processor_that_charges_and_hangs_up_is_unknown_and_then_says_it_was_charged():
    simulator = ProcessorSimulator(SimulatorOptions())
    async with gateway_to(await simulator.start()) as gateway:
        simulator.faults.answer_lost = True
        assert isinstance(await outcome_of(gateway, intent()), Unknown)
        assert len(simulator.charges) == 1
        assert await outcome_of(gateway, intent()) == Charged(already=True)
    await simulator.stop()


@on_both_loops
async def test_a_processor_slower_than_the_attempt_timeout_is_unknown():
    simulator = ProcessorSimulator(SimulatorOptions(delay_ms=400))
    async with gateway_to(await simulator.start(), attempt_timeout_s=0.1) as gateway:
        assert await outcome_of(gateway, intent()) == Unknown("no answer in time")
        assert simulator.charges == []
        await until(lambda: len(simulator.charges) == 1)
    await simulator.stop()


@scenario
async def test_chunked_answers_are_understood():
    simulator = ProcessorSimulator(SimulatorOptions(chunked=True))
    async with gateway_to(await simulator.start()) as gateway:
        assert await outcome_of(gateway, intent()) == Charged()
    await simulator.stop()


@on_both_loops
async def test_closing_ends_attempts_under_way_as_unknown():
    simulator, outcomes = ProcessorSimulator(SimulatorOptions(delay_ms=5000)), []
    async with gateway_to(await simulator.start()) as gateway:
        gateway.send(intent(), outcomes.append)
        await asyncio.sleep(0.05)
    assert outcomes == [Unknown("closing")]
    await simulator.stop()


# -- health


@pytest.mark.parametrize(
    ("status_line", "body", "report"),
    [
        ("200 OK", b'{"failing":false,"minResponseTime":0}', HealthReport(failing=False, min_response_ms=0)),
        ("200 OK", b'{"failing":true,"minResponseTime":1234}', HealthReport(failing=True, min_response_ms=1234)),
        ("200 OK", b' {"x":[1],"minResponseTime":5,"failing":false} ', HealthReport(failing=False, min_response_ms=5)),
        (
            "503 Service Unavailable",
            b'{"failing":true,"minResponseTime":100}',
            HealthReport(failing=True, min_response_ms=100),
        ),
    ],
)
@scenario
async def test_a_health_report_is_read_also_when_it_comes_with_503(status_line, body, report):
    """One known version of the processor answers 503 while it is failing, with its report as the body."""
    async with scripted(answering(status_line, body)) as port, gateway_to(port) as gateway:
        assert await gateway.health("default") == report


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"[]",
        b"{}",
        b'{"failing":false}',
        b'{"minResponseTime":0}',
        b'{"failing":"no","minResponseTime":0}',
        b'{"failing":0,"minResponseTime":0}',
        b'{"failing":null,"minResponseTime":0}',
        b'{"failing":false,"minResponseTime":-1}',
        b'{"failing":false,"minResponseTime":3600001}',
        b'{"failing":false,"minResponseTime":1e400}',
        b'{"failing":false,"minResponseTime":' + b"9" * 5000 + b"}",
        b'{"failing":false,"minResponseTime":"100"}',
        b'{"failing":false,"minResponseTime":NaN}',
        b'{"failing":false,"minResponseTime":10',
        b'{"x":' + b"[" * 50_000,
        b'{"failing":"\xff\xfe","minResponseTime":1}',
        b'{"failing":false,"minResponseTime":"\xff"}',
        b"\xff\xfe",
        b"\x00" * 1000,
    ],
)
@pytest.mark.parametrize("status_line", ["200 OK", "503 Service Unavailable"])
@scenario
async def test_what_is_no_health_report_is_an_error_that_says_what_came(status_line, body):
    async with scripted(answering(status_line, body)) as port, gateway_to(port) as gateway:
        with pytest.raises(GatewayError, match=r"^health answer (\(\d+\) is no report: |has minResponseTime )"):
            await gateway.health("default")


@pytest.mark.parametrize("status", [204, 301, 401, 404, 429, 500, 502])
@scenario
async def test_another_status_is_no_health_report_whatever_its_body_says(status):
    body = b"" if status == 204 else b'{"failing":false,"minResponseTime":0}'
    async with scripted(answering(f"{status} x", body)) as port, gateway_to(port) as gateway:
        with pytest.raises(GatewayError, match=f"health call answered {status}"):
            await gateway.health("default")


@on_both_loops
async def test_a_health_call_that_cannot_be_made_is_an_error():
    async def talk(reader, writer):
        await read_request(reader)

    async with scripted(talk) as port, gateway_to(port) as gateway:
        with pytest.raises(GatewayError, match="health call got no answer: connection lost"):
            await gateway.health("default")


@scenario
async def test_a_health_call_that_hangs_does_not_hold_up_payments():
    simulator = ProcessorSimulator(SimulatorOptions())
    async with gateway_to(await simulator.start()) as gateway:
        simulator.faults.health_hangs = True
        health = asyncio.ensure_future(gateway.health("default"))
        await until(lambda: simulator.health_calls != [])
        assert await outcome_of(gateway, intent()) == Charged()
        assert not health.done()
        await gateway.close()
        with pytest.raises(GatewayError, match="health call got no answer: closing"):
            await health
    await simulator.stop()


# -- proof of a charge


async def proven(gateway: HttpGateway, attempt: Intent) -> bool:
    """Ask for the record of an attempt; told once."""
    told: list[bool] = []
    gateway.prove(attempt, told.append)
    await until(lambda: told != [])
    (charged,) = told
    return charged


@on_both_loops
async def test_a_record_proves_the_attempt_it_shows_and_no_other():
    simulator = ProcessorSimulator(SimulatorOptions())
    port = await simulator.start()
    try:
        async with gateway_to(port) as gateway:
            assert not await proven(gateway, intent())
            assert await outcome_of(gateway, intent()) == Charged()
            assert await proven(gateway, intent())
            assert not await proven(gateway, intent(amount_minor=1991))
            assert not await proven(gateway, intent(requested_us=AT_US + 1))
    finally:
        await simulator.stop()


@pytest.mark.parametrize("body", [b"", b"[]", b"garbage", b'{"correlationId":"x","amount":"1","requestedAt":"y"}'])
@scenario
async def test_garbage_proves_nothing(body):
    async with scripted(answering("200 OK", body)) as port, gateway_to(port) as gateway:
        assert not await proven(gateway, intent())


@scenario
async def test_a_processor_that_is_gone_proves_nothing():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with gateway_to(port) as gateway:
        assert not await proven(gateway, intent())
