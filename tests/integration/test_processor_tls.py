"""Processors behind TLS: whom the client believes, and that a payment for anybody else never leaves."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from integration.raw_http import on_both_loops, read_request, scenario, scripted, until
from payrouter.adapters.http.books import HttpBooks
from payrouter.adapters.http.client import Answer, Exchange, HttpPool, NeverSent
from payrouter.adapters.http.gateway import HttpGateway
from payrouter.domain.attempt import Charged, Delivery, Intent, Outcome, Refusal, Refused
from payrouter.domain.processor import Processor
from payrouter.ports.books import BooksUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def certificate(folder: Path, *names: str, days: int = 2) -> Path:
    """Make a self-signed certificate for these names, such as `DNS:localhost`; return the file with it and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "both.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    argv += ["-days", str(days), "-subj", "/CN=processor", "-addext", f"subjectAltName={','.join(names)}"]
    argv += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(argv, check=True, capture_output=True)
    made.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return made


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Path:
    return certificate(tmp_path_factory.mktemp("local"), "DNS:localhost", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    return certificate(tmp_path_factory.mktemp("elsewhere"), "DNS:processor.example")


@asynccontextmanager
async def processor(certificate_file: Path) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Run a processor behind TLS; give its port and what it was sent."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_file)
    sent: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                sent.append(await read_request(reader))
                writer.write(OK)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], sent
    finally:
        server.close()
        await asyncio.sleep(0.01)


async def exchange_with(url: str) -> Exchange:
    pool = HttpPool(url)
    try:
        return await pool.ask(pool.head("GET", "/") + b"\r\n", within_s=3.0)
    finally:
        await pool.close()


@on_both_loops
async def test_a_certificate_that_nobody_vouches_for_is_refused_before_a_byte_has_left(local):
    async with processor(local) as (port, sent):
        exchange = await exchange_with(f"https://localhost:{port}")
    assert isinstance(exchange, NeverSent)
    assert "certificate" in exchange.detail
    assert "self-signed" in exchange.detail
    assert "SSL_CERT_FILE" in exchange.detail
    assert sent == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@on_both_loops
async def test_it_is_taken_once_the_operator_vouches_for_it(local, monkeypatch, host):
    monkeypatch.setenv("SSL_CERT_FILE", str(local))
    async with processor(local) as (port, sent):
        assert await exchange_with(f"https://{host}:{port}") == Answer(200, b"{}")
    assert len(sent) == 1


@on_both_loops
async def test_a_certificate_of_another_host_is_refused_whoever_vouches_for_it(elsewhere, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(elsewhere))
    async with processor(elsewhere) as (port, sent):
        exchange = await exchange_with(f"https://localhost:{port}")
    assert isinstance(exchange, NeverSent)
    assert "not valid for 'localhost'" in exchange.detail
    assert sent == []


@on_both_loops
async def test_what_does_not_speak_tls_gets_nothing():
    received = []

    async def talk(reader, writer):
        received.append(await reader.read(3))
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with scripted(talk) as port:
        exchange = await exchange_with(f"https://localhost:{port}")
    assert isinstance(exchange, NeverSent)
    assert received == [b"\x16\x03\x01"]  # a TLS hello, and no request


@on_both_loops
async def test_what_hangs_in_the_middle_of_a_handshake_is_given_up_in_time():
    async def talk(reader, writer):
        await asyncio.sleep(60)

    async with scripted(talk) as port:
        assert await exchange_with(f"https://localhost:{port}") == NeverSent("no connection within 2 s")


@scenario
async def test_a_payment_for_a_processor_nobody_vouches_for_is_refused_and_says_why(local):
    async with processor(local) as (port, sent):
        one = Processor("default", f"https://localhost:{port}", Decimal("0.05"), headers=(("X-Key", "s3cret-value"),))
        gateway = HttpGateway((one,), attempt_timeout_s=3.0, connections=4)
        outcomes: list[Outcome] = []
        gateway.send(Intent(Delivery(ID, 1990, 1, receipt=1), "default", 1, ""), outcomes.append)
        await until(lambda: bool(outcomes))
        (outcome,) = outcomes
        assert isinstance(outcome, Refused)
        assert outcome.refusal is Refusal.UNREACHABLE
        assert "certificate" in outcome.detail
        await gateway.close()
        books = HttpBooks((one,), within_s=3.0)
        with pytest.raises(BooksUnavailable, match="certificate") as raised:
            await books.find("default", ID)
        assert "s3cret-value" not in f"{raised.value!r} {outcome!r} {one!r}"
        await books.close()
    assert sent == []


@scenario
async def test_a_payment_over_tls_is_charged_as_any_other(local, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(local))
    async with processor(local) as (port, sent):
        gateway = HttpGateway(
            (Processor("default", f"https://localhost:{port}", Decimal("0.05")),), attempt_timeout_s=3.0, connections=4
        )
        outcomes: list[Outcome] = []
        gateway.send(Intent(Delivery(ID, 1990, 1, receipt=1), "default", 1, ""), outcomes.append)
        await until(lambda: bool(outcomes))
        await gateway.close()
    assert outcomes == [Charged()]
    assert sent[0].startswith(b"POST /payments HTTP/1.1\r\nHost: localhost:")
