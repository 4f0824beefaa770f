"""A client's trace from its POST to the processor's, over real sockets, with and without spans of our own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import uuid
from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from integration.raw_http import read_request, scenario, scripted, until
from integration.router_service import payment_body, post_bytes
from payrouter.domain.processor import Processor
from payrouter.entrypoints.api.serve import serving
from payrouter.settings import Address, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = "00f067aa0ba902b7"
TRACE = f"00-{TRACE_ID}-{CLIENT}-01"
CHARGED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
FAILING = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


class Stand:
    """A router in front of one processor, which answers as `answers` says, by turns; the last one for ever."""

    def __init__(self, address: Address, posts: dict[str, list[str | None]]) -> None:
        self._address = address
        self.posts = posts

    async def pay(self, *headers: str) -> str:
        correlation_id = str(uuid.uuid4())
        reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
        writer.write(post_bytes(payment_body(correlation_id), *headers, "Connection: close"))
        assert b"202" in await reader.readline()
        writer.close()
        return correlation_id

    async def traceparents(self, correlation_id: str, count: int = 1) -> list[str | None]:
        """What the processor was told of a payment, POST by POST, once there were so many."""
        await until(lambda: len(self.posts[correlation_id]) >= count)
        return self.posts[correlation_id]


@asynccontextmanager
async def stand(folder: Path, *answers: bytes, **settings: Any) -> AsyncIterator[Stand]:
    posts: dict[str, list[str | None]] = defaultdict(list)
    left = list(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _, body = (await read_request(reader)).decode().partition("\r\n\r\n")
            if head.startswith("GET"):
                report = b'{"failing":false,"minResponseTime":0}'
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(report), report))
                continue
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
            posts[body.split('"')[3]].append(headers.get("traceparent"))
            answer = left.pop(0) if len(left) > 1 else left[0]
            if not answer:
                return
            writer.write(answer)

    async with scripted(talk) as port:
        processors = (Processor("default", f"http://127.0.0.1:{port}", Decimal("0.05")),)
        chosen = Settings(
            processors=processors,
            data=folder / "payrouter.db",
            bind=Address("127.0.0.1", 0),
            admin_bind=None,
            **settings,
        )
        async with serving(chosen) as (_, address, *_):
            yield Stand(address, posts)


# -- passed on


@scenario
async def test_the_processor_is_told_the_client_s_trace_and_nothing_for_others(tmp_path: Path) -> None:
    async with stand(tmp_path, CHARGED) as here:
        assert await here.traceparents(await here.pay(f"Traceparent: {TRACE}")) == [TRACE]
        assert await here.traceparents(await here.pay()) == [None]


@pytest.mark.parametrize(
    "headers",
    [
        (f"traceparent: {TRACE.upper()}",),
        (f"traceparent: 01{TRACE[2:]}",),
        (f"traceparent: {TRACE}", f"traceparent: {TRACE}"),
        (f"traceparent: {TRACE}, {TRACE}",),
        (f"tracestate: a=1, traceparent={TRACE}",),
    ],
)
@scenario
async def test_what_is_no_traceparent_is_ignored(tmp_path: Path, headers: tuple[str, ...]) -> None:
    async with stand(tmp_path, CHARGED) as here:
        assert await here.traceparents(await here.pay(*headers)) == [None]


@scenario
async def test_a_repeat_after_a_lost_answer_is_told_it_too(tmp_path: Path) -> None:
    async with stand(tmp_path, b"", CHARGED) as here:
        assert await here.traceparents(await here.pay(f"traceparent: {TRACE}"), 2) == [TRACE, TRACE]


@scenario
async def test_the_next_process_tells_it_too(tmp_path: Path) -> None:
    async with stand(tmp_path, FAILING) as here:
        correlation_id = await here.pay(f"traceparent: {TRACE}")
        await here.traceparents(correlation_id)
    async with stand(tmp_path, CHARGED) as here:
        assert await here.traceparents(correlation_id) == [TRACE]


# -- spans of our own


class Receiver:
    """An OTLP receiver: the spans it was sent, by name, as dicts with their ids in hex."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
            ExportTraceServiceRequest,
        )

        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {one.key: one.value.string_value for one in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        {
                            "name": span.name,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "failed": span.status.code == 2,
                            "from": span.start_time_unix_nano,
                            "to": span.end_time_unix_nano,
                            "service": resource["service.name"],
                            **{one.key: one.value.string_value for one in span.attributes},
                        }
                    )

    def of(self, correlation_id: str, name: str) -> list[dict[str, Any]]:
        spans = (one for one in self.spans if one["payrouter.correlation_id"] == correlation_id)
        return [span for span in spans if span["name"] == name]


@contextmanager
def receiving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            encoding = self.headers.get("Content-Encoding")
            assert encoding is None
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@scenario
async def test_accept_attempts_and_settling_are_spans_of_the_client_s_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(monkeypatch) as receiver:
        async with stand(tmp_path, FAILING, CHARGED, tracing=True, patience_s=0.0) as here:
            correlation_id = await here.pay(f"traceparent: {TRACE}")
            told = await here.traceparents(correlation_id, 2)
            await until(lambda: receiver.of(correlation_id, "settle") != [])
        [accept] = receiver.of(correlation_id, "accept")
        refused, charged = receiver.of(correlation_id, "attempt")
        [settle] = receiver.of(correlation_id, "settle")
    assert {one["trace"] for one in (accept, refused, charged, settle)} == {TRACE_ID}
    assert accept["parent"] == CLIENT
    assert {one["parent"] for one in (refused, charged, settle)} == {accept["id"]}
    # The processor's own spans are children of the very POST.
    assert told == [f"00-{TRACE_ID}-{one['id']}-01" for one in (refused, charged)]
    assert [(one["payrouter.outcome"], one["failed"]) for one in (refused, charged)] == [
        ("refused", True),
        ("charged", False),
    ]
    assert (accept["payrouter.result"], accept["payrouter.amount"], accept["service"]) == (
        "accepted",
        "19.90",
        "payrouter",
    )
    assert charged["payrouter.processor"] == settle["payrouter.processor"] == "default"
    assert accept["from"] <= accept["to"] <= refused["from"] <= refused["to"] <= charged["from"] <= charged["to"]
    assert charged["to"] - 2_000_000 <= settle["from"] <= settle["to"]


@scenario
async def test_without_a_client_s_trace_there_is_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(monkeypatch) as receiver:
        # What is left is exported on leaving.
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
        async with stand(tmp_path, CHARGED, tracing=True) as here:
            correlation_id = await here.pay()
            [told] = await here.traceparents(correlation_id)
        [accept] = receiver.of(correlation_id, "accept")
        [attempt] = receiver.of(correlation_id, "attempt")
    assert accept["parent"] == ""
    assert told is not None
    assert told[:-3] == f"00-{accept['trace']}-{attempt['id']}"
    assert int(told[-2:], 16) & 1, "sampled"


@scenario
async def test_what_the_client_does_not_sample_is_not_exported_but_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(monkeypatch) as receiver:
        async with stand(tmp_path, CHARGED, tracing=True) as here:
            correlation_id = await here.pay(f"traceparent: {TRACE[:-2]}00")
            [told] = await here.traceparents(correlation_id)
    assert told is not None
    assert (told[3:35], told[-2:]) == (TRACE_ID, "00")
    assert receiver.spans == []


@scenario
async def test_payments_do_not_wait_for_a_receiver_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(monkeypatch):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        async with stand(tmp_path, CHARGED, tracing=True) as here:
            for _ in range(20):
                assert await here.traceparents(await here.pay()) != [None]


# -- off, and not there

_WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from payrouter.__main__ import main
sys.argv = ["payrouter", sys.argv[1]]
main()
"""
_IMPORTS_NOTHING = """
import sys
import payrouter.entrypoints.api.serve, payrouter.bootstrap.roles, payrouter.entrypoints.cli.serve
assert not any(name.startswith("opentelemetry") for name in sys.modules), "imported though off"
"""


@pytest.mark.parametrize(("command", "code"), [("serve", 2), ("check", 1)])
def test_without_the_package_it_does_not_start_and_says_what_to_install(
    tmp_path: Path, command: str, code: int
) -> None:
    environment = {
        "PAYROUTER_TRACING": "true",
        "PAYROUTER_PROCESSORS": '[{"name":"default","url":"http://127.0.0.1:1","fee":"0.05"}]',
        "PAYROUTER_BIND": "127.0.0.1:0",
        "PAYROUTER_ADMIN_BIND": "off",
        "PYTHONPATH": ":".join(sys.path),
        "COLUMNS": "250",
    }
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT, command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == code
    assert "pip install 'payrouter[tracing]'" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "payrouter.db").exists()


def test_while_it_is_off_nothing_of_it_is_imported() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _IMPORTS_NOTHING], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stderr
