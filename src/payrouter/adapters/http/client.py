"""An HTTP/1.1 client on the event loop that always knows whether a request may have left.

One `HttpPool` per server: kept-alive connections, callbacks instead of a task per request (figures in
`docs/decisions.md`). The difference between `NeverSent` and `NoAnswer` is what money depends on: a request counts
as sent from the moment its bytes are handed to a connection.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class NeverSent:
    """No byte of the request has left."""

    detail: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request was sent, wholly or in part, and no complete answer came."""

    detail: str


Exchange = Answer | NeverSent | NoAnswer


@dataclass(slots=True, eq=False)
class _Request:
    # It may hold a processor's key, and whatever shows a callback shows its arguments.
    data: bytes = field(repr=False)
    deadline_s: float
    done: Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of one pool. `idle_s` stays below common servers' keep-alive, so we hang up first."""

    connections: int = 512
    connect_s: float = 2.0
    idle_s: float = 20.0
    answer_bytes: int = 256 * 1024


class _Connection(asyncio.Protocol):
    """One connection; at most one request under way."""

    __slots__ = (
        "_answer",
        "_body",
        "_keep",
        "_parser",
        "_pool",
        "_size",
        "idle_since_s",
        "request",
        "transport",
    )

    def __init__(self, pool: HttpPool) -> None:
        self._pool = pool
        self.transport: asyncio.Transport | None = None
        self.request: _Request | None = None
        self.idle_since_s = 0.0
        self._parser: Any = None
        self._body: list[bytes] = []
        self._size = 0
        self._answer: Answer | None = None
        self._keep = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        detail = f"connection lost before the answer ({exc or 'closed by the processor'})"
        self._pool.lost(self)
        self._unanswered(detail)

    def send(self, request: _Request) -> None:
        """Hand a request's bytes to the transport; from here on it may have been sent."""
        if self.transport is None:
            raise RuntimeError("a request needs an open connection")
        self.request = request
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._size = 0
        self._answer = None
        self.transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            # Nothing was asked: whatever this is, the connection cannot be trusted any more.
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.abandon(f"the answer is not HTTP: {error!r}")
            return
        # Here and not in the parser's callback, which would wrap whatever the receiver raises.
        if self._answer is not None:
            answer, self._answer = self._answer, None
            if not self._keep:
                self.close()
            request, self.request = self.request, None
            self._pool.ended(self, request, reusable=self._keep)
            request.done(answer)

    def on_message_begin(self) -> None:
        # One request has one answer; what follows it would pass for the answer to the next.
        if self._answer is not None:
            self._keep = False

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._size > self._pool.limits.answer_bytes:
            raise ValueError(f"larger than {self._pool.limits.answer_bytes} bytes")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and self._answer is None:
            self._keep = self._parser.should_keep_alive()
            self._answer = Answer(status, self._body[0] if len(self._body) == 1 else b"".join(self._body))
        self._body = []

    def abandon(self, detail: str) -> None:
        """Give up on the answer and on the connection."""
        self.close()
        self._unanswered(detail)

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.abort()

    def _unanswered(self, detail: str) -> None:
        request, self.request = self.request, None
        if request is not None:
            self._pool.ended(self, request, reusable=False)
            _tell(request, NoAnswer(detail))


def _tell(request: _Request, exchange: Exchange) -> None:
    """Give bad news on a turn of its own: it comes to many at once, and a defect of one must not cost the others."""
    asyncio.get_running_loop().call_soon(request.done, exchange)


class HttpPool:
    """Connections to one server, `url` being its base. Requests beyond the bound wait unsent until their deadline."""

    def __init__(self, url: str, limits: PoolLimits | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"a processor url looks like http://host:port, got {url!r}")
        self.limits = limits or PoolLimits()
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._base_path = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._tls = trusted_certificates() if parts.scheme == "https" else None
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._unsent: deque[_Request] = deque()
        self._sent: dict[_Request, _Connection] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def head(self, method: str, path: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Return a request head without its `Content-Length` and blank line, to be kept and reused."""
        lines = [f"{method} {self._base_path}{path} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return ("\r\n".join(lines) + "\r\n").encode()

    def request(self, data: bytes, *, within_s: float, done: Callable[[Exchange], None]) -> None:
        """Send a complete request; `done` gets the exchange exactly once, within about `within_s` seconds."""
        self._send_or_wait(_Request(data, asyncio.get_running_loop().time() + within_s, done))

    def _send_or_wait(self, request: _Request) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                self._sent[request] = connection
                connection.send(request)
                break
        else:
            self._unsent.append(request)
            self._connect()
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_S, self._expire)

    async def ask(self, data: bytes, *, within_s: float) -> Exchange:
        """Send a complete request and return the exchange: for what is not on the hot path.

        Cancelled before it was sent, it never leaves; cancelled afterwards, its connection is hung up.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Exchange] = loop.create_future()

        def done(exchange: Exchange) -> None:
            if not future.done():
                future.set_result(exchange)

        request = _Request(data, loop.time() + within_s, done)
        self._send_or_wait(request)
        try:
            return await future
        except asyncio.CancelledError:
            if request in self._unsent:
                self._unsent.remove(request)
            elif request in self._sent:
                self._sent[request].abandon("given up")
            raise

    # -- connections

    def _connect(self) -> None:
        """Open a connection, unless enough are being opened or the bound is reached."""
        if len(self._connecting) >= len(self._unsent):
            return
        if len(self._open) + len(self._connecting) < self.limits.connections:
            task = asyncio.get_running_loop().create_task(self._open_connection())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _open_connection(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            self._fail_unsent(f"no connection within {self.limits.connect_s:g} s")
        except OSError as error:
            self._fail_unsent(f"cannot connect: {_in_words(error)}")
        else:
            if connection.transport is not None:
                self._open.add(connection)
                self._free(connection)

    def _fail_unsent(self, detail: str) -> None:
        """Tell everybody who waits for a connection: the same reason holds for all of them."""
        waiting, self._unsent = self._unsent, deque()
        for request in waiting:
            _tell(request, NeverSent(detail))

    def _free(self, connection: _Connection) -> None:
        if connection.transport is None or connection.transport.is_closing():
            return
        if self._unsent:
            request = self._unsent.popleft()
            self._sent[request] = connection
            connection.send(request)
        else:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def ended(self, connection: _Connection, request: _Request, *, reusable: bool) -> None:
        """A connection is done with a request."""
        self._sent.pop(request, None)
        if reusable:
            self._free(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._unsent:
            self._connect()

    def _expire(self) -> None:
        """End what is past its deadline and hang up what was idle for long."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        # All requests of a pool have about the same patience, so both are close to deadline order.
        for request in [request for request in self._sent if request.deadline_s <= now_s]:
            self._sent[request].abandon("no answer in time")
        for request in [request for request in self._unsent if request.deadline_s <= now_s]:
            self._unsent.remove(request)
            _tell(request, NeverSent("no free connection in time"))
        for connection in [one for one in self._idle if now_s - one.idle_since_s > self.limits.idle_s]:
            self._idle.remove(connection)
            connection.close()
        if self._sent or self._unsent or self._idle:
            self._sweep = loop.call_later(_SWEEP_S, self._expire)

    async def close(self) -> None:
        """Hang up everything; what is under way ends as `NoAnswer`, what waits as `NeverSent`."""
        if self._sweep is not None:
            self._sweep.cancel()
        connecting = list(self._connecting)
        for task in connecting:
            task.cancel()
        self._fail_unsent("closing")
        for connection in list(self._open):
            connection.abandon("closing")
        await asyncio.gather(*connecting, return_exceptions=True)
        await asyncio.sleep(0)


_SWEEP_S = 0.1


def trusted_certificates() -> ssl.SSLContext:
    """Return what connections by TLS must prove: a certificate for the very host, by somebody this machine trusts.

    Those are the system's, or what SSL_CERT_FILE and SSL_CERT_DIR name instead.
    """
    return _trusting(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _trusting(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    # One for all pools: reading the system's certificates takes 1 MB and tens of milliseconds. OpenSSL reads the names.
    return ssl.create_default_context()


def _in_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {error.verify_message.rstrip('.')} (a CA of your own is trusted if "
            "SSL_CERT_FILE names its file)"
        )
    return str(error.strerror or error)
