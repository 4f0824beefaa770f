"""A small HTTP client for the simulator's tests, on plain asyncio streams."""

from __future__ import annotations

import asyncio
import functools
import json
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import uvloop

from payrouter_lab.simulator import ProcessorSimulator, SimulatorOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

AT = "2025-07-15T12:34:56.123456Z"
AT_US = 1_752_582_896_123_456


class Cut(Exception):
    """The connection ended without an answer."""


@dataclass(frozen=True)
class Response:
    """One answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)


class Client:
    """Calls one simulator, each time on a connection of its own."""

    def __init__(self, simulator: ProcessorSimulator, port: int) -> None:
        self.simulator = simulator
        self.port = port
        self.token = simulator.options.token

    async def call(self, method: str, path: str, body: str | bytes = b"", **headers: str) -> Response:
        """Call; header names are given with `_` for `-`. Raises `Cut` when there is no answer."""
        body = body.encode() if isinstance(body, str) else body
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: test",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            return await _read(reader)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise Cut from error
        finally:
            writer.close()

    async def pay(
        self, correlation_id: str | None = None, amount: object = "19.90", at: str = AT, **more: str
    ) -> Response:
        correlation_id = correlation_id or str(uuid.uuid4())
        body = f'{{"correlationId":"{correlation_id}","amount":{amount},"requestedAt":"{at}"}}'
        return await self.post(body, **more)

    async def post(self, body: str, **headers: str) -> Response:
        return await self.call("POST", "/payments", body, **({"Content_Type": "application/json"} | headers))

    async def health(self) -> Response:
        return await self.call("GET", "/payments/service-health")

    async def admin(self, method: str, path: str, body: object = None) -> Response:
        text = "" if body is None else json.dumps(body)
        return await self.call(method, f"/admin/{path}", text, X_Rinha_Token=self.token)

    async def faults(self, **changes: object) -> Response:
        return await self.admin("PUT", "configurations/faults", changes)


async def _read(reader: asyncio.StreamReader) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    return Response(int(head[0].split()[1]), headers, body)


@asynccontextmanager
async def simulated(**options: Any) -> AsyncIterator[Client]:
    """Run a simulator on a free port and yield its client."""
    simulator = ProcessorSimulator(SimulatorOptions(**options))
    try:
        yield Client(simulator, await simulator.start())
    finally:
        await simulator.stop()


def scenario(test: Callable[..., Any]) -> Callable[..., None]:
    """Run an async test on the event loop that the product uses; it may take at most 5 s."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(test(*arguments, **named), 5))

    return run


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen; the test's own time limit ends a vain wait."""
    while not condition():  # noqa: ASYNC110 - the simulator has no event for every state a test may await
        await asyncio.sleep(0.002)


class Stopwatch:
    """Measures milliseconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def ms(self) -> float:
        return (time.perf_counter() - self._start) * 1000
