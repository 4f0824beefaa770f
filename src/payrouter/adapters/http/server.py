"""An HTTP/1.1 server on the event loop, bounded in time, size and number.

A handler gets a `Request` and a `Reply` and may answer later, from anywhere on the loop: no task and no future
per request, which is what keeps the accept path short (figures in `docs/decisions.md`). Parsing is httptools'
(llhttp). Not here: routes, problem documents, what a request means.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httptools

from payrouter.domain.errors import AddressInUse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one client may cost us.

    `request_s` runs from a request's first byte to its last: a client that dribbles is cut off with `408`.
    `idle_s` is how long a kept-alive connection may stay silent, and how long one may refuse to read answers.
    """

    header_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    request_s: float = 10.0
    idle_s: float = 75.0
    connections: int = 4096
    pipelined: int = 16


@dataclass(slots=True)
class Request:
    """One complete request. `headers` has lower-case names, in the order they came."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows `?` in the target; empty when there is none."""
        return self.target.partition(b"?")[2]

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header, given in lower case."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Reply:
    """Where one request is answered: once, now or later. Answering a client that has gone is harmless."""

    __slots__ = ("_connection", "answered", "head_only", "keep_alive")

    def __init__(self, connection: _Connection, *, keep_alive: bool, head_only: bool) -> None:
        self._connection = connection
        self.keep_alive = keep_alive
        self.head_only = head_only
        self.answered = False

    @property
    def client_gone(self) -> bool:
        """True once the client has closed the connection."""
        return self._connection.transport is None

    def send(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: bytes = b"application/json",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        chunked: bool = False,
    ) -> None:
        """Answer. With `chunked` the body goes out in chunked coding, split in two (clients must cope)."""
        extra = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        if chunked:
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            framing = b"Transfer-Encoding: chunked\r\n"
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            framing = b"Content-Length: %d\r\n" % len(body)
        self.send_raw(b"%bContent-Type: %b\r\n%b%b" % (STATUS_LINES[status], content_type, framing, extra), body)

    def send_raw(self, head: bytes, body: bytes = b"") -> None:
        """Answer with a prepared head: status line and headers, each ended by CRLF, without the blank line."""
        if self.answered:
            raise RuntimeError("a request is answered once")
        self.answered = True
        # To a HEAD a body would be read as the beginning of the next answer.
        self._connection.answer(head, b"" if self.head_only else body, keep_alive=self.keep_alive)

    def abort(self) -> None:
        """Cut the connection without an answer."""
        self.answered = True
        self._connection.abort()


STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}


class _Connection(asyncio.Protocol):
    """One client. Requests are handled one at a time, in order; further ones wait, bounded."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_busy",
        "_parser",
        "_reading_paused",
        "_received_bytes",
        "_receiving",
        "_refusal",
        "_request",
        "_waiting",
        "_writing_paused",
        "closing",
        "deadline",
        "server",
        "transport",
    )

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.deadline = 0.0
        self.closing = False
        self._parser: Any = httptools.HttpRequestParser(self)
        self._request = Request(b"", b"")
        self._body: list[bytes] = []
        self._received_bytes = self._body_bytes = 0
        self._receiving = self._busy = False
        self._refusal: bytes | None = None
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._reading_paused = self._writing_paused = False

    # -- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave as `asyncio.Transport` without deriving from it.
        self.transport = cast("asyncio.Transport", transport)
        server = self.server
        self.deadline = server.now() + server.limits.idle_s
        server.connections.add(self)
        if len(server.connections) > server.limits.connections:
            self._refuse(503, "too many connections", (b"Retry-After: 1\r\n",))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        self._waiting.clear()
        self.server.connections.discard(self)
        self.server.wake_drain()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            return
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            # Raised around our own `_TooLarge`; anything else is a defect and must be seen.
            cause = error.__context__
            if not isinstance(cause, _TooLarge):
                raise
            self._refuse(cause.status, str(cause))
        except httptools.HttpParserError:
            self._refuse(400, "not an HTTP/1.1 request")
        else:
            # What is not body is head, chunk framing or trailers, and bounded together.
            if self._receiving and self._received_bytes - self._body_bytes > self.server.limits.header_bytes:
                self._refuse(431, self._too_much_head())

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read a request again as if it had offered no upgrade (RFC 9110, 7.8), and as the connection's last.

        Java's client offers h2c with its first payment; the parser skips the body of such a request.
        """
        request, self._request = self._request, Request(b"", b"")
        if request.method == b"CONNECT":
            self._refuse(400, "there are no tunnels here")
            return
        dropped = (b"connection", b"expect", b"upgrade")
        headers = b"".join(b"%b: %b\r\n" % header for header in request.headers if header[0] not in dropped)
        self._parser = httptools.HttpRequestParser(self)
        self._received_bytes = 0
        head = b"%b %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (request.method, request.target, headers)
        self.data_received(head + rest)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._writing_paused = True
        self.deadline = self.server.now() + self.server.limits.idle_s

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._next()

    # -- parser

    def on_message_begin(self) -> None:
        self._body = []
        self._body_bytes = 0
        self._receiving = True
        # Further requests are no reason to be patient with a client that does not read.
        if not self._writing_paused:
            self.deadline = self.server.now() + self.server.limits.request_s

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        limits, request = self.server.limits, self._request
        request.method = self._parser.get_method()
        if request.target[:1] != b"/":
            request.target = _origin_form(request.target)
        # Only then can the head be too long, and only then is it worth measuring.
        if self._received_bytes > limits.header_bytes and _head_bytes(request) > limits.header_bytes:
            raise _TooLarge(431, self._too_much_head())
        for name, value in request.headers:
            if name == b"content-length":
                if int(value) > limits.body_bytes:
                    raise _TooLarge(413, f"body of {value.decode()} bytes exceeds {limits.body_bytes}")
            elif name == b"expect" and value.lower() == b"100-continue" and self.transport is not None:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self.server.limits.body_bytes:
            raise _TooLarge(413, f"body exceeds {self.server.limits.body_bytes} bytes")

    def on_message_complete(self) -> None:
        parser, request = self._parser, self._request
        if parser.should_upgrade():
            return
        if self._body:
            request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._receiving = False
        self._received_bytes = 0
        self._request = Request(b"", b"")
        keep_alive = parser.should_keep_alive() and not self.server.stopping
        # Behind those that wait, too: their turn comes on the next pass of the loop, answers go out in order.
        if self._busy or self._writing_paused or self._waiting:
            self._waiting.append((request, keep_alive))
            if len(self._waiting) >= self.server.limits.pipelined and self.transport is not None:
                self._reading_paused = True
                self.transport.pause_reading()
            return
        self._handle(request, keep_alive=keep_alive)

    # -- one request at a time

    def _handle(self, request: Request, *, keep_alive: bool) -> None:
        self._busy = True
        reply = Reply(self, keep_alive=keep_alive, head_only=request.method == b"HEAD")
        self.server.handler(request, reply)

    def answer(self, head: bytes, body: bytes, *, keep_alive: bool) -> None:
        self._busy = False
        transport = self.transport
        if transport is None:
            return
        if not self._receiving:
            self.deadline = self.server.now() + self.server.limits.idle_s
        if keep_alive and not self.server.stopping:
            transport.write(b"%bDate: %b\r\n\r\n%b" % (head, self.server.date, body))
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._next)
            elif self._refusal is not None:
                self._hang_up(self._refusal)
        else:
            self.closing = True
            transport.write(b"%bDate: %b\r\nConnection: close\r\n\r\n%b" % (head, self.server.date, body))
            transport.close()
        self.server.wake_drain()

    def _next(self) -> None:
        if self._waiting and not self._busy and not self._writing_paused and self.transport is not None:
            request, keep_alive = self._waiting.popleft()
            # Not before there is room: one read may hold thousands of small requests.
            if self._reading_paused and len(self._waiting) < self.server.limits.pipelined:
                self._reading_paused = False
                self.transport.resume_reading()
                if self._receiving:
                    self.deadline = self.server.now() + self.server.limits.request_s
            self._handle(request, keep_alive=keep_alive)

    def abort(self) -> None:
        self._busy = False
        if self.transport is not None:
            self.transport.abort()

    def _refuse(self, status: int, detail: str, headers: tuple[bytes, ...] = ()) -> None:
        """Answer what is not a request, or too much of one, and hang up: after the answers still owed."""
        self.closing = True
        self._receiving = False
        head, body = self.server.refusal(status, detail)
        extra = b"".join(headers) + b"Date: %b\r\nConnection: close\r\n\r\n" % self.server.date
        if self._busy or self._waiting:
            self._refusal = head + extra + body
        else:
            self._hang_up(head + extra + body)

    def _hang_up(self, refusal: bytes) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._refusal = None
        transport.write(refusal)
        if len(self.server.connections) > self.server.limits.connections:
            transport.close()
            return
        # Closing with bytes unread resets the connection, and the client may lose the answer that says why:
        # for a moment, what still comes is thrown away (RFC 9112, 9.6).
        self.deadline = self.server.now() + _LINGER_S
        try:
            transport.write_eof()
        except OSError:  # reset by the client in this instant, which asyncio's loop raises
            transport.abort()

    def _too_much_head(self) -> str:
        return f"headers exceed {self.server.limits.header_bytes} bytes"

    def expire(self, now: float) -> None:
        """Close this connection if its time is up. Called about once a second."""
        if now < self.deadline or self.transport is None:
            return
        if self._writing_paused:
            self.transport.abort()
        elif self._receiving and not self._reading_paused:
            self._refuse(408, f"the request did not arrive within {self.server.limits.request_s:g} s")
        elif self._busy or self._waiting:
            return
        elif self.closing:
            self.transport.abort()
        else:
            self.closing = True
            self.transport.close()

    @property
    def idle(self) -> bool:
        """True when nothing is being received or answered."""
        return not (self._busy or self._receiving or self._waiting)


_LINGER_S = 2.0


class _TooLarge(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def _head_bytes(request: Request) -> int:
    """Return the length of a request's head, to within a few bytes."""
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)


def _origin_form(target: bytes) -> bytes:
    """Return the path and query of an absolute target, as servers must accept it (RFC 9112, 3.2.2)."""
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        return target
    authority_ends = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[authority_ends:]
    return path if path.startswith(b"/") else b"/" + path


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
        self.connections: set[_Connection] = set()
        self.stopping = False
        self.date = formatdate(usegmt=True).encode()
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
            self._server = await loop.create_server(lambda: _Connection(self), host, port, backlog=2048)
        except OSError as error:
            self._cancel_sweep()
            raise AddressInUse(f"{host}:{port}", error.strerror or str(error)) from error
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
            self._server = await loop.create_unix_server(lambda: _Connection(self), str(path), backlog=2048)
        except OSError as error:
            self._cancel_sweep()
            raise AddressInUse(f"unix:{path}", error.strerror or str(error)) from error

    async def stop(self, within_s: float) -> None:
        """Stop listening, let what is being answered finish for at most `within_s` seconds, hang up."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
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
        self.date = formatdate(usegmt=True).encode()
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
