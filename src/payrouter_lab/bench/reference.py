"""The do-nothing reference: how fast can this machine go when nothing is promised?

One process, everything in memory, nothing durable, no dedupe, always the cheaper processor, each attempt
with a new instant. It accepts before anything is stored, so its latency and CPU are a floor for a router
built on an ordinary server and client (uvicorn, pyreqwest); its books are not a model for anything.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import uvicorn
import uvloop
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import PyreqwestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyreqwest.client import Client

SENDERS = 64
RETRY_S = 0.1
_JSON = [(b"content-type", b"application/json")]
_JSON_HEADER = {"Content-Type": "application/json"}
_EMPTY = {"type": "http.response.body", "body": b""}


class Payment(msgspec.Struct):
    """What a client sends."""

    correlation_id: str = msgspec.field(name="correlationId")
    amount: float


class Reference:
    """The whole of it: an ASGI application, a queue and a list."""

    def __init__(self, processor: str) -> None:
        self._url = processor.rstrip("/") + "/payments"
        self._decode = msgspec.json.Decoder(Payment).decode
        self._queue: deque[Payment] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._settled: list[tuple[datetime, int]] = []
        self._cents = 0

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        path = scope["path"]
        if path == "/payments":
            message = await receive()
            body = message["body"]
            while message["more_body"]:
                message = await receive()
                body += message["body"]
            status, answer = self._accept(body), b""
        elif path == "/payments-summary":
            status, answer = 200, msgspec.json.encode(self._summary(parse_qs(scope["query_string"].decode())))
        elif path == "/purge-payments":
            self._queue.clear()
            self._settled.clear()
            self._cents = 0
            status, answer = 200, b""
        else:
            status, answer = (200 if path == "/health" else 404), b""
        headers = [*_JSON, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer} if answer else _EMPTY)

    def _accept(self, body: bytes) -> int:
        try:
            payment = self._decode(body)
        except msgspec.DecodeError:
            return 400
        self._queue.append(payment)
        if self._idle:
            self._idle.popleft().set_result(None)
        return 202

    def _summary(self, query: dict[str, list[str]]) -> dict[str, dict[str, float]]:
        count, cents = len(self._settled), self._cents
        if query:
            start = datetime.fromisoformat(query.get("from", ["0001-01-01T00:00:00Z"])[0])
            end = datetime.fromisoformat(query.get("to", ["9999-12-31T00:00:00Z"])[0])
            found = [amount for instant, amount in self._settled if start <= instant <= end]
            count, cents = len(found), sum(found)
        default = {"totalRequests": count, "totalAmount": cents / 100}
        return {"default": default, "fallback": {"totalRequests": 0, "totalAmount": 0.0}}

    async def send_all(self, client: Client) -> None:
        """Send what is queued, one payment at a time, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._queue:
                idle = loop.create_future()
                self._idle.append(idle)
                await idle
            payment = self._queue.popleft()
            if not await self._charge(client, payment):
                await asyncio.sleep(RETRY_S)
                self._queue.append(payment)

    async def _charge(self, client: Client, payment: Payment) -> bool:
        """Make one attempt; True when the processor has the payment."""
        instant = datetime.now(UTC)
        body = b'{"correlationId":"%b","amount":%b,"requestedAt":"%b"}' % (
            payment.correlation_id.encode(),
            b"%.2f" % payment.amount,
            instant.isoformat().replace("+00:00", "Z").encode(),
        )
        try:
            response = await client.post(self._url).headers(_JSON_HEADER).body_bytes(body).build().send()
        except PyreqwestError:
            return False
        if response.status not in {200, 422}:
            return False
        cents = round(payment.amount * 100)
        self._settled.append((instant, cents))
        self._cents += cents
        return True


async def _serve(port: int, processor: str) -> None:
    reference = Reference(processor)
    config = uvicorn.Config(reference, port=port, access_log=False, lifespan="off", log_level="warning", backlog=2048)
    async with ClientBuilder().build() as client, asyncio.TaskGroup() as tasks:
        senders = [tasks.create_task(reference.send_all(client)) for _ in range(SENDERS)]
        await uvicorn.Server(config).serve()
        for sender in senders:
            sender.cancel()


def main() -> None:
    """Run the reference until it is told to stop."""
    parser = argparse.ArgumentParser(description="A do-nothing payment router, to measure beside ours.")
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("--processor", default="http://127.0.0.1:8001", help="address of the only processor it uses")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.port, arguments.processor))


if __name__ == "__main__":
    main()
