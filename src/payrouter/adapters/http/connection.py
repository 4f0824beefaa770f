"""One client's connection to the server: from bytes to requests in order, and back."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import httptools

from payrouter.adapters.http.message import Reply, Request

if TYPE_CHECKING:
    from payrouter.adapters.http.message import Stream
    from payrouter.adapters.http.server import HttpServer


class ServerConnection(asyncio.Protocol):
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
        "_stream",
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
        self._stream: Stream | None = None

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
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.ended()

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
        """Write the answer to the request being handled; then it is the next one's turn."""
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

    def begin_stream(self, head: bytes, stream: Stream) -> None:
        """Write the head of an answer that goes on. Requests behind it are never answered."""
        transport = self.transport
        if transport is None:
            asyncio.get_running_loop().call_soon(stream.ended)
            return
        self._stream = stream
        self.closing = True
        transport.write(b"%bDate: %b\r\nConnection: close\r\n\r\n" % (head, self.server.date))
        if self.server.stopping:
            self.end_stream()

    def write_stream(self, data: bytes) -> bool:
        """Write some more of it, unless what was written before has not been read yet."""
        if self.transport is None or self._writing_paused:
            return False
        self.transport.write(data)
        return True

    def end_stream(self) -> None:
        """End an answer that goes on, if one does."""
        if self._stream is not None and self.transport is not None:
            self._busy = False
            self.transport.close()

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

    @property
    def peer(self) -> str | None:
        """The address the connection comes from; empty on a unix socket, None once it is gone."""
        if self.transport is None:
            return None
        name = self.transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    def abort(self) -> None:
        """Cut the connection."""
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
