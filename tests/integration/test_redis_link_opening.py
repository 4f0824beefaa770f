"""Opening the link to Redis: it waits for a server that is coming, and says at once what waiting will not mend."""

from __future__ import annotations

import asyncio
import http.server
import re
import subprocess
import threading
import time

import pytest

from integration.raw_http import on_both_loops, scenario, scripted
from integration.redis_peer import linked
from payrouter.adapters.redis.answers import RedisAnswered, error_of
from payrouter.adapters.redis.connection import RedisLink
from payrouter.domain.errors import StoreError, StoreMisconfigured, StoreUnavailable
from payrouter_lab.bench.processes import free_port

SECRET = "s3cret"


async def refusal(url: str, *, within_s: float = 5.0, **options) -> StoreError:
    """Return why a link cannot be opened. Nothing secret may be in it, and nothing may be left behind."""
    link = RedisLink(url, **options)
    with pytest.raises(StoreError) as caught:
        await link.open(within_s)
    await link.close()
    assert not link.up
    assert SECRET not in str(caught.value)
    return caught.value


# -- waiting


@on_both_loops
async def test_opening_waits_for_a_server_that_is_coming(own_redis, caplog):
    redis = own_redis()
    redis.stop()
    link = RedisLink(redis.url)
    opening = asyncio.ensure_future(link.open(10.0))
    await asyncio.sleep(0.3)
    assert not opening.done()
    await asyncio.to_thread(redis.start)
    await opening
    assert await link.call("PING") == b"PONG"
    await link.close()
    waiting = [record for record in caplog.records if "waiting for Redis" in record.getMessage()]
    assert len(waiting) == 1


@on_both_loops
async def test_opening_gives_up_when_nothing_came_in_time():
    began_s = time.monotonic()
    error = await refusal(f"redis://127.0.0.1:{free_port()}/0", within_s=0.3)
    assert 0.3 <= time.monotonic() - began_s < 0.6
    assert type(error) is StoreUnavailable
    assert "cannot connect to Redis at redis://127.0.0.1" in str(error)


@on_both_loops
async def test_opening_gives_up_on_a_server_that_says_nothing():
    async def silent(reader, writer):
        await reader.read()

    async with scripted(silent) as port:
        began_s = time.monotonic()
        error = await refusal(f"redis://127.0.0.1:{port}/0", within_s=0.3)
    assert 0.3 <= time.monotonic() - began_s < 0.6
    assert type(error) is StoreUnavailable
    assert "did not answer within" in str(error)


@scenario
async def test_opening_gives_up_on_a_server_that_hangs_up():
    async def hang_up(reader, writer):
        await reader.readexactly(1)

    async with scripted(hang_up) as port:
        error = await refusal(f"redis://127.0.0.1:{port}/0", within_s=0.3)
    assert type(error) is StoreUnavailable
    assert "hung up on our greeting" in str(error)


@on_both_loops
async def test_opening_can_be_cancelled_at_any_time(own_redis):
    redis = own_redis()
    redis.pause()
    for pause_s in (0.0, 0.0005, 0.02):
        link = RedisLink(redis.url)
        opening = asyncio.ensure_future(link.open(10.0))
        await asyncio.sleep(pause_s)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await link.close()
    redis.resume()


@scenario
async def test_a_redis_with_too_many_connections_is_unavailable(own_redis):
    redis = own_redis(config=["maxclients 1"])
    async with linked(redis.url):
        for _ in range(5):
            error = await refusal(redis.url, within_s=0.1)
            assert type(error) is StoreUnavailable
            # What it says before it hangs up may be lost when we write at that moment.
            assert re.search("raise its maxclients|hung up on our greeting.*or has it too many connections", str(error))


@scenario
async def test_a_replica_without_its_primary_is_unavailable(own_redis):
    redis = own_redis()
    redis.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    redis.ask("REPLICAOF", "127.0.0.1", free_port())
    error = await refusal(redis.url, within_s=0.2)
    assert type(error) is StoreUnavailable
    assert "has lost its primary" in str(error)


# -- wrong configuration


@scenario
async def test_a_wrong_password_user_or_database_is_said_at_once(own_redis):
    redis = own_redis(password="right: p@ss/word")
    async with linked(redis.url) as link:
        assert await link.call("PING") == b"PONG"
    wrong = {
        redis.url.replace("right", SECRET): "refuses this user and password",
        redis.url.replace("redis://:", f"redis://nobody:{SECRET}"): "refuses this user and password",
        f"redis://127.0.0.1:{redis.port}/0": "asks for a password",
        redis.url.removesuffix("/0") + "/99": "refuses SELECT",
    }
    for url, words in wrong.items():
        began_s = time.monotonic()
        error = await refusal(url)
        assert time.monotonic() - began_s < 1.0
        assert type(error) is StoreMisconfigured
        assert words in str(error)


@scenario
async def test_a_password_for_a_redis_without_one_is_said_at_once(own_redis):
    redis = own_redis()
    error = await refusal(redis.url.replace("redis://", f"redis://:{SECRET}@"))
    assert type(error) is StoreMisconfigured
    assert "refuses AUTH" in str(error)


@on_both_loops
async def test_a_web_server_is_not_taken_for_redis():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        error = await refusal(f"redis://127.0.0.1:{server.server_port}/0")
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
    assert type(error) is StoreMisconfigured
    assert "this is not Redis but says b'<" in str(error)


@scenario
async def test_a_server_with_another_pong_is_not_taken_for_redis():
    async def agreeable(reader, writer):
        while await reader.read(65536):
            writer.write(b"+OK\r\n+OK\r\n")

    async with scripted(agreeable) as port:
        error = await refusal(f"redis://127.0.0.1:{port}/0")
    assert type(error) is StoreMisconfigured
    assert "answered PING with b'OK'" in str(error)


@scenario
async def test_a_greeting_by_which_a_server_refuses_everybody_is_passed_on():
    async def protected(reader, writer):
        writer.write(b"-DENIED Redis is running in protected mode.\r\n")
        await reader.read(65536)

    async with scripted(protected) as port:
        error = await refusal(f"redis://127.0.0.1:{port}/0")
    assert type(error) is StoreMisconfigured
    assert "protected mode" in str(error)


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost; its key lies beside it as `key.pem`."""
    directory = tmp_path_factory.mktemp("tls")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", "key.pem", "-out", "certificate.pem", "-days", "2"]
    subprocess.run([*request, *files, *subject], cwd=directory, check=True, capture_output=True)
    return directory / "certificate.pem"


@pytest.fixture
def tls_port(own_redis, certificate):
    port = free_port()
    files = [f"tls-cert-file {certificate}", f"tls-key-file {certificate.parent / 'key.pem'}"]
    own_redis(config=[f"tls-port {port}", *files, "tls-auth-clients no"])
    return port


@on_both_loops
async def test_tls_with_a_certificate_that_can_be_checked(tls_port, certificate):
    async with linked(f"rediss://localhost:{tls_port}/2?ssl_ca_certs={certificate}") as link:
        big = b"x" * 1_000_000
        assert await asyncio.gather(*[link.call("ECHO", big), link.call("ECHO", "small")]) == [big, b"small"]


@on_both_loops
async def test_tls_checks_who_signed_and_for_whom_unless_told_not_to(tls_port, certificate):
    for url in [f"rediss://localhost:{tls_port}", f"rediss://127.0.0.1:{tls_port}?ssl_ca_certs={certificate}"]:
        error = await refusal(url)
        assert type(error) is StoreMisconfigured
        assert "certificate verify failed" in str(error)
    async with linked(f"rediss://127.0.0.1:{tls_port}?ssl_cert_reqs=none") as link:
        assert await link.call("PING") == b"PONG"


@on_both_loops
async def test_tls_where_there_is_none_and_none_where_there_is(own_redis, tls_port):
    with_tls = await refusal(f"rediss://127.0.0.1:{own_redis().port}", within_s=0.3)
    without = await refusal(f"redis://127.0.0.1:{tls_port}", within_s=0.3)
    assert "without TLS (redis://), or" in str(with_tls)
    assert "with TLS (rediss://), or" in str(without)


# -- error answers as errors


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", StoreUnavailable, "is full"),
        ("LOADING Redis is loading the dataset in memory", StoreUnavailable, "still reading its data"),
        ("READONLY You can't write against a read only replica.", StoreUnavailable, "connect to its primary"),
        ("MISCONF Redis is configured to save RDB snapshots, but", StoreUnavailable, "cannot save to its disk"),
        ("CLUSTERDOWN The cluster is down", StoreUnavailable, "cluster is down"),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnavailable, "too few replicas"),
        ("MASTERDOWN Link with MASTER is down", StoreUnavailable, "lost its primary"),
        ("BUSY Redis is busy running a script.", StoreUnavailable, "run for too long"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StoreUnavailable, "moving these keys"),
        ("ERR max number of clients reached", StoreUnavailable, "maxclients"),
        ("WRONGPASS invalid username-password pair", StoreMisconfigured, "correct them in the url"),
        ("NOAUTH Authentication required.", StoreMisconfigured, "asks for a password"),
        ("NOPERM this user has no permissions", StoreMisconfigured, "extend its ACL"),
        ("DENIED Redis is running in protected mode", StoreMisconfigured, "protected mode"),
        ("MOVED 3999 127.0.0.1:6381", StoreMisconfigured, "another node"),
        ("ASK 3999 127.0.0.1:6381", StoreMisconfigured, "another node"),
        ("WRONGTYPE Operation against a key", RedisAnswered, "Redis answered: WRONGTYPE"),
        ("ERR OOM is not at the beginning", RedisAnswered, "Redis answered"),
        ("", RedisAnswered, "Redis answered"),
    ],
)
def test_every_error_answer_has_its_kind_and_keeps_its_text(text, kind, words):
    error = error_of(text)
    assert type(error) is kind
    assert words in str(error)
    assert text in str(error)
