"""Posting webhooks over real sockets: what counts as taken, and what everything else is called."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess

import pytest

from integration.raw_http import on_both_loops, read_request, scenario, scripted
from integration.test_http_client import answering, refused_port, reset
from payrouter.adapters.http.receiver import HttpReceiver

HEADERS = (("Content-Type", "application/json"), ("webhook-id", "settled_1"))
BODY = b'{"type":"payment.settled"}'


async def post_to(url: str, *, within_s: float = 2.0, headers=HEADERS) -> str | None:
    receiver = HttpReceiver(url, connections=2, within_s=within_s)
    try:
        return await receiver.post(headers, BODY)
    finally:
        await receiver.close()


def status(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    lines = [b"HTTP/1.1 " + line, *headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@on_both_loops
@pytest.mark.parametrize("line", [b"200 OK", b"201 Created", b"202 Accepted", b"299 Fine"])
async def test_every_2xx_means_taken(line):
    async with scripted(answering(status(line, body=b"thanks"))) as port:
        assert await post_to(f"http://127.0.0.1:{port}/hook") is None


@scenario
async def test_a_204_without_a_body_means_taken():
    async with scripted(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as port:
        assert await post_to(f"http://127.0.0.1:{port}/hook") is None


@scenario
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(b"500 Internal Server Error", body=b"oh \x1b no"), "answered 500: 'oh \\x1b no'"),
        (status(b"410 Gone"), "answered 410"),
        (status(b"404 Not Found", body=b"x" * 5000), "answered 404: '" + "x" * 80 + "'"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "connection lost before the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000, "the answer is not HTTP"),
        (b"", "connection lost before the answer"),
    ],
)
async def test_everything_else_is_a_failure_and_says_what_came(answer, said):
    async with scripted(answering(answer)) as port:
        failure = await post_to(f"http://127.0.0.1:{port}/hook")
    assert failure is not None
    assert said in failure


@scenario
@pytest.mark.parametrize("line", [b"301 Moved Permanently", b"302 Found", b"307 Temporary Redirect", b"308 Moved"])
async def test_a_redirect_is_not_followed(line):
    visits = []

    async def elsewhere(reader, writer):
        visits.append(await read_request(reader))
        writer.write(status(b"200 OK"))

    async with scripted(elsewhere) as other:
        location = b"Location: http://127.0.0.1:%d/stolen" % other
        async with scripted(answering(status(line, location))) as port:
            failure = await post_to(f"http://127.0.0.1:{port}/hook")
            await asyncio.sleep(0.05)
    assert visits == []
    assert failure is not None
    assert "redirects are not followed" in failure


@scenario
async def test_a_receiver_that_does_not_answer_is_given_up_in_time():
    async def silent(reader, writer):
        await reader.read()

    async with scripted(silent) as port:
        assert await post_to(f"http://127.0.0.1:{port}/", within_s=0.2) == "no answer in time"


@scenario
async def test_a_receiver_that_dribbles_is_given_up_in_time():
    async def dribbling(reader, writer):
        await read_request(reader)
        for byte in b"HTTP/1.1 200 OK\r\n" * 10:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with scripted(dribbling) as port:
        assert await post_to(f"http://127.0.0.1:{port}/", within_s=0.3) == "no answer in time"


@scenario
async def test_a_reset_and_a_refused_connection_are_failures():
    async def resetting(reader, writer):
        await read_request(reader)
        reset(writer)

    async with scripted(resetting) as port:
        assert "connection lost" in (await post_to(f"http://127.0.0.1:{port}/") or "")
    assert "cannot connect" in (await post_to(f"http://127.0.0.1:{refused_port()}/") or "")


@scenario
async def test_the_message_goes_to_the_url_as_it_is_with_its_query_and_login():
    got = []

    async def keep(reader, writer):
        got.append(await read_request(reader))
        writer.write(status(b"200 OK"))

    async with scripted(keep) as port:
        assert await post_to(f"http://us%40er:se%3Acret@127.0.0.1:{port}/a/b/?team=1&x=%20") is None
    [request] = got
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a/b/?team=1&x=%20 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in lines
    assert "webhook-id: settled_1" in lines
    assert "Authorization: Basic " + base64.b64encode(b"us@er:se:cret").decode() in lines
    assert f"Content-Length: {len(BODY)}" in lines
    assert body == BODY


@scenario
async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "2"]  # fmt: skip
    await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    got = []

    async def keep(reader, writer):
        got.append(await reader.read(10))
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await post_to(f"https://localhost:{port}/hook")
    assert not any(got)
    assert failure is not None
    assert "self-signed certificate" in failure
