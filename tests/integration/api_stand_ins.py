"""APIs to put behind nginx: each listens on a unix socket, remembers what it was asked, and answers as it is told."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvloop

from payrouter.adapters.http.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from payrouter.adapters.http.message import Reply, Request

WITHIN_S = 10.0


class ApiStandIn:
    """One API. `manner`: `answer`, `cut` the connection, `hang`, `refuse` with a 503 of its own, or be `well`.

    It listens on the unix socket `path`, and on `port` of loopback.
    """

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self.manner = "answer"
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[int] = set()
        self._loop = loop
        self.port = 0
        self._server: HttpServer | None = None
        self.held: list[Reply] = []

    def start(self) -> None:
        self._server, self._other = HttpServer(self._handle), HttpServer(self._handle)
        self._run(self._server.start_unix(self.path))
        self.port = self._run(self._other.start_tcp("127.0.0.1", 0))

    def stop(self) -> None:
        """Stop as an API does: nothing new, what is being answered is finished."""
        if self._server is not None:
            for server in (self._server, self._other):
                self._run(server.stop(0.5))
            self._server = None

    def let_go(self) -> None:
        """Answer what hangs."""
        for reply in self.held:
            self._loop.call_soon_threadsafe(reply.send, 202)
        self.held.clear()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)

    def _handle(self, request: Request, reply: Reply) -> None:
        assert self._server is not None
        self.asked.append(f"{request.method.decode()} {request.target.decode()} {request.body[:80].decode()}".strip())
        self.headers.append({name.decode(): value.decode() for name, value in request.headers})
        self.connections |= {id(one) for one in self._server.connections}
        match self.manner:
            case "cut":
                reply.abort()
            case "hang":
                self.held.append(reply)
            case "refuse":
                reply.send(503, b'{"detail":"mine"}', content_type=b"application/x-mine", headers=((b"X-Own", b"1"),))
            case "well":
                reply.send(200, b'{"status":"ok"}')
            case _:
                reply.send(202, b'{"message":"payment accepted"}')


@contextmanager
def api_stand_ins(folder: Path) -> Iterator[tuple[ApiStandIn, ApiStandIn]]:
    """Run two, in a thread of their own; `folder` gets their sockets."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    both = (ApiStandIn(folder / "api1.sock", loop), ApiStandIn(folder / "api2.sock", loop))
    try:
        for one in both:
            one.start()
        yield both
    finally:
        for one in both:
            one.let_go()
            one.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WITHIN_S)
        loop.close()
