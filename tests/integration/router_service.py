"""A whole router with two simulated processors, on an event loop in a thread of its own, for blocking clients.

Every answer that `Service.call` gets is held against the OpenAPI document that the router serves.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import uvloop
from jsonschema import Draft202012Validator

from integration.raw_http import Answer
from payrouter.domain.processor import Processor
from payrouter.entrypoints.api.serve import serving
from payrouter.settings import Address, Settings
from payrouter_lab.simulator import ProcessorSimulator, SimulatorOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from payrouter.bootstrap import Router

JSON = {"Content-Type": "application/json"}


@dataclass
class Service:
    """A running router as its clients see it, and the processors behind it."""

    router: Router
    address: Address
    default: ProcessorSimulator
    fallback: ProcessorSimulator
    loop: asyncio.AbstractEventLoop
    pages: Address | None = None

    # -- calls

    def call(self, method: str, path: str, body: bytes | str = b"", headers: dict[str, str] | None = None) -> Answer:
        """Call on a connection of its own and hold the answer against the OpenAPI document."""
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=5)
        try:
            body = body.encode() if isinstance(body, str) else body
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, given, response.read())
        finally:
            connection.close()
        if method != "HEAD":
            self.document.check(method, path, answer)
        return answer

    def post(self, body: bytes | str) -> Answer:
        return self.call("POST", "/payments", body, JSON)

    def pay(self, correlation_id: str | None = None, amount: object = "19.90") -> Answer:
        return self.post(payment_body(correlation_id or str(uuid.uuid4()), amount))

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def raw(self, data: bytes, *, within_s: float = 5.0) -> bytes:
        """Send bytes on a connection of their own and return everything that came until the server closed."""
        with socket.create_connection((self.address.host, self.address.port), timeout=within_s) as client:
            client.sendall(data)
            received = b""
            while piece := client.recv(65536):
                received += piece
            return received

    @cached_property
    def document(self) -> Document:
        answer = http.client.HTTPConnection(self.address.host, self.address.port, timeout=5)
        answer.request("GET", "/openapi.json")
        read = answer.getresponse().read()
        answer.close()
        return Document(json.loads(read))

    # -- what came of it

    def charges(self) -> list[str]:
        """The correlationIds charged by either processor, once per charge."""
        return [charge.correlation_id for one in (self.default, self.fallback) for charge in one.charges]

    def settled(self, correlation_id: str) -> dict[str, Any]:
        """Wait until a payment is settled and return its view."""
        view: dict[str, Any] = {}

        def is_settled() -> bool:
            view.update(self.get(f"/payments/{correlation_id}").json())
            return bool(view["state"] == "settled")

        wait_until(is_settled)
        return view

    def goes_on(self) -> None:
        """A good payment is accepted, charged once and settled."""
        correlation_id = str(uuid.uuid4())
        assert self.pay(correlation_id).status == 202
        assert self.settled(correlation_id)["state"] == "settled"
        assert self.charges().count(correlation_id) == 1

    def on_loop(self, function: Callable[..., Any], **named: Any) -> None:
        """Call something on the router's loop and wait until it was."""
        done = threading.Event()

        def call() -> None:
            function(**named)
            done.set()

        self.loop.call_soon_threadsafe(call)
        assert done.wait(5)


class Document:
    """The OpenAPI document, and whether an answer is what it promises."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def check(self, method: str, target: str, answer: Answer) -> None:
        """Hold an answer against the documented status codes, media types and schemas."""
        operation = self._operation(method, target.partition("?")[0])
        media_type = answer.headers["content-type"]
        if answer.status >= 400:
            assert media_type == "application/problem+json"
            self.validate({"$ref": "#/components/schemas/Problem"}, answer.body)
            problem = answer.json()
            assert (problem["type"], problem["status"]) == ("about:blank", answer.status)
            assert problem["title"]
            assert problem["detail"]
        if operation is not None:
            response = operation["responses"][str(answer.status)]
            self.validate(response["content"][media_type]["schema"], answer.body)
            promised = {
                name.lower() for name, header in response.get("headers", {}).items() if header.get("required", True)
            }
            assert promised <= set(answer.headers)

    def validate(self, schema: dict[str, Any], body: bytes) -> None:
        """Hold a JSON text against a schema of the document; formats count."""
        full = {**schema, "components": self.document["components"]}
        Draft202012Validator(full, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(json.loads(body))

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        paths = self.document["paths"]
        if path.startswith("/payments/"):
            path = "/payments/{correlationId}"
        found = paths.get(path, {}).get(method.lower())
        return found if found is None else dict(found)


def payment_body(correlation_id: str, amount: object = "19.90") -> str:
    """Return the body of a payment, the amount as the text given."""
    return f'{{"correlationId": "{correlation_id}", "amount": {amount}}}'


def post_bytes(body: bytes | str, *headers: str, path: str = "/payments") -> bytes:
    """Return a whole `POST` as bytes."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("Content-Type: application/json")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def wait_until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something that is about to happen in the router's thread."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, f"did not happen within {within_s} s"
        time.sleep(0.002)


@contextmanager
def running_service(folder: Path, *, delay_ms: int = 0, failing: bool = False, **settings: Any) -> Iterator[Service]:
    """Run a router with two simulated processors; `settings` are fields of `Settings`."""
    started: list[Service] = []
    problems: list[BaseException] = []
    ready, finish = threading.Event(), asyncio.Event()

    async def serve() -> None:
        simulators = [
            ProcessorSimulator(SimulatorOptions(name, Decimal(fee), delay_ms=delay_ms, failing=failing))
            for name, fee in (("default", "0.05"), ("fallback", "0.15"))
        ]
        processors = [
            Processor(one.options.name, f"http://127.0.0.1:{await one.start()}", one.options.fee) for one in simulators
        ]
        given = {"bind": Address("127.0.0.1", 0), "stop_timeout_s": 2.0, "admin_bind": None, **settings}
        chosen = Settings(processors=tuple(processors), data=folder / "payrouter.db", **given)
        try:
            async with serving(chosen) as (router, address, pages):
                loop = asyncio.get_running_loop()
                loop.set_exception_handler(lambda _, context: problems.append(context.get("exception") or OSError()))
                started.append(Service(router, address, *simulators, loop, pages))
                ready.set()
                await finish.wait()
        finally:
            for one in simulators:
                await one.stop()

    def run() -> None:
        try:
            uvloop.run(serve())
        except BaseException as error:  # noqa: BLE001 - told to the test below
            problems.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(5)
    try:
        if started:
            yield started[0]
    finally:
        if started and thread.is_alive():
            started[0].loop.call_soon_threadsafe(finish.set)
        thread.join(10)
    assert problems == []
