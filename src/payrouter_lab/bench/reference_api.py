"""One of several do-nothing APIs behind a load balancer: `reference`, on a unix socket, sharing its summary.

Each keeps its own counts in memory, and sends what it accepted itself. Asked for the summary, it asks the others for
theirs and adds them up; a purge goes to all.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
import uvicorn
import uvloop
from pyreqwest.client import ClientBuilder

from payrouter_lab.bench.reference import SENDERS, Reference

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]
    Summary = dict[str, dict[str, float]]

# What one API asks another: the same path, answered from its own memory only.
OWN = "/own"
ASK_WITHIN_S = 5.0


class SharedReference(Reference):
    """A reference whose summary and purge are those of all; `others` are the sockets of the rest."""

    def __init__(self, processor: str, others: Sequence[str]) -> None:
        super().__init__(processor)
        self._others = tuple(others)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        query = scope["query_string"].decode()
        if path.startswith(OWN):
            scope = {**scope, "path": path.removeprefix(OWN)}
        elif path == "/payments-summary":
            asked = [ask(other, "GET", f"{OWN}{path}?{query}") for other in self._others]
            theirs = [msgspec.json.decode(answer) for answer in await asyncio.gather(*asked)]
            await _answer(send, add_up([self._summary(parse_qs(query)), *theirs]))
            return
        elif path == "/purge-payments":
            await asyncio.gather(*(ask(other, "POST", f"{OWN}{path}") for other in self._others))
        await super().__call__(scope, receive, send)


def add_up(summaries: Sequence[Summary]) -> Summary:
    """Return the sum of summaries, exact to the cent."""
    return {
        name: {
            "totalRequests": sum(one[name]["totalRequests"] for one in summaries),
            "totalAmount": sum(round(one[name]["totalAmount"] * 100) for one in summaries) / 100,
        }
        for name in summaries[0]
    }


async def ask(path: str, method: str, target: str) -> bytes:
    """Return the body of what the API on a unix socket answers.

    Raises:
        OSError: if it does not answer, in time or at all.
    """
    async with asyncio.timeout(ASK_WITHIN_S):
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"{path} answers {head[:40]!r}")
    return body


async def _answer(send: Send, summary: Summary) -> None:
    body = msgspec.json.encode(summary)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve(path: str, others: Sequence[str], processor: str) -> None:
    reference = SharedReference(processor, others)
    config = uvicorn.Config(reference, uds=path, access_log=False, lifespan="off", log_level="warning", backlog=2048)
    async with ClientBuilder().build() as client, asyncio.TaskGroup() as tasks:
        senders = [tasks.create_task(reference.send_all(client)) for _ in range(SENDERS)]
        await uvicorn.Server(config).serve()
        for sender in senders:
            sender.cancel()


def main() -> None:
    """Run one API until it is told to stop."""
    parser = argparse.ArgumentParser(description="One of several do-nothing payment routers behind a load balancer.")
    parser.add_argument("--socket", required=True, help="unix socket to listen on")
    parser.add_argument("--other", action="append", default=[], help="socket of another one; once for each")
    parser.add_argument("--processor", required=True, help="address of the only processor it uses")
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.socket, arguments.other, arguments.processor))


if __name__ == "__main__":
    main()
