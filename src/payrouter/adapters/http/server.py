"""An HTTP/1.1 server on the event loop, bounded in time, size and number.

A handler gets a `Request` and a `Reply` and may answer later, from anywhere on the loop: no task and no future
per request, which is what keeps the accept path short (figures in `docs/decisions.md`). Parsing is httptools'
(llhttp). Not here: routes, problem documents, what a request means.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from payrouter.adapters.http.connection import ServerConnection
from payrouter.adapters.http.message import STATUS_LINES, Reply, Request, ServerLimits
from payrouter.domain.errors import AddressInUse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def plain_refusal(status: int, detail: str) -> tuple[bytes, bytes]:
    """Return head and body of a plain-text refusal."""
    body = detail.encode()
    return STATUS_LINES[status] + b"Content-Type: text/plain\r\nContent-Length: %d\r\n" % len(body), body


class HttpServer:
    """Listens on one address and hands requests to one handler.

    `refusal` words what the server itself refuses (not HTTP, too large, too slow): given status and detail it
    returns head and body as for `Reply.send_raw`.
    """

    def __init__(
        self,
        handler: Callable[[Request, Reply], None],
        *,
        limits: ServerLimits | None = None,
        refusal: Callable[[int, str], tuple[bytes, bytes]] = plain_refusal,
    ) -> None:
        self.handler = handler
        self.limits = limits or ServerLimits()
        self.refusal = refusal
        self.connections: set[ServerConnection] = set()
        self.stopping = False
        self.date = _date()
        self.now: Callable[[], float] = lambda: 0.0
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event = asyncio.Event()

    async def start_tcp(self, host: str, port: int) -> int:
        """Listen on `host:port` (0 picks a free port) and return the port.

        Raises:
            AddressInUse: if the address cannot be bound.
        """
        loop = self._begin()
        try:
            self._server = await loop.create_server(lambda: ServerConnection(self), host, port, backlog=2048)
        except OSError as error:
            self._cancel_sweep()
            raise AddressInUse(f"{host}:{port}", os.strerror(error.errno) if error.errno else str(error)) from error
        bound: tuple[Any, ...] = self._server.sockets[0].getsockname()
        return int(bound[1])

    async def start_unix(self, path: Path) -> None:
        """Listen on a unix socket, replacing one that a dead process left behind.

        Raises:
            AddressInUse: if another process is listening there.
        """
        loop = self._begin()
        try:
            _remove_stale_socket(path)
            self._server = await loop.create_unix_server(lambda: ServerConnection(self), str(path), backlog=2048)
        except OSError as error:
            self._cancel_sweep()
            raise AddressInUse(f"unix:{path}", error.strerror or str(error)) from error

    async def stop(self, within_s: float) -> None:
        """Stop listening, let what is being answered finish for at most `within_s` seconds, hang up."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.end_stream()
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while self.connections:
            for connection in list(self.connections):
                if connection.idle and connection.transport is not None:
                    connection.transport.close()
            left_s = end - loop.time()
            if left_s <= 0:
                break
            self._drained.clear()
            try:
                await asyncio.wait_for(self._drained.wait(), min(left_s, 0.1))
            except TimeoutError:
                continue
        for connection in list(self.connections):
            connection.abort()
        self._cancel_sweep()

    def wake_drain(self) -> None:
        """Tell a waiting `stop` that a connection has finished something."""
        if self.stopping:
            self._drained.set()

    def _begin(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        self.now = loop.time
        self._sweep_once()
        return loop

    def _sweep_once(self) -> None:
        """Refresh the Date header and close connections whose time is up."""
        self.date = _date()
        now = self.now()
        for connection in list(self.connections):
            connection.expire(now)
        self._sweep = asyncio.get_running_loop().call_later(1.0, self._sweep_once)

    def _cancel_sweep(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None


def _remove_stale_socket(path: Path) -> None:
    """Remove a unix socket that nobody listens on.

    Raises:
        OSError: if somebody does.
    """
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, "another process is listening there")


def _date() -> bytes:
    """Return now as a Date header has it (RFC 9110, 5.6.7)."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()
