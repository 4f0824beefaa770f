"""What the server speaks of: requests, where they are answered, and what one client may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.adapters.http.connection import ServerConnection


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

    def __init__(self, connection: ServerConnection, *, keep_alive: bool, head_only: bool) -> None:
        self._connection = connection
        self.keep_alive = keep_alive
        self.head_only = head_only
        self.answered = False

    @property
    def client_gone(self) -> bool:
        """True once the client has closed the connection."""
        return self._connection.transport is None

    @property
    def peer(self) -> str | None:
        """The address the connection comes from; empty on a unix socket, None once the client has gone."""
        return self._connection.peer

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

    def stream(self, head: bytes, closed: Callable[[], None]) -> Stream:
        """Begin an answer without an end, as server-sent events are; `closed` is called once when it has ended.

        `head` is as for `send_raw`, without a length. The connection is not used for anything after it.
        """
        if self.answered:
            raise RuntimeError("a request is answered once")
        self.answered = True
        stream = Stream(self._connection, closed)
        self._connection.begin_stream(head, stream)
        return stream

    def abort(self) -> None:
        """Cut the connection without an answer."""
        self.answered = True
        self._connection.abort()


class Stream:
    """An answer that goes on. A client that does not read in time misses what comes meanwhile: nothing piles up."""

    __slots__ = ("_closed", "_connection")

    def __init__(self, connection: ServerConnection, closed: Callable[[], None]) -> None:
        self._connection = connection
        self._closed = closed

    def write(self, data: bytes) -> bool:
        """Send some more; False when the client is too slow for it or gone, and it was left out."""
        return self._connection.write_stream(data)

    def close(self) -> None:
        """End the answer, and the connection with it."""
        self._connection.end_stream()

    def ended(self) -> None:
        """The connection is gone: called by it, once."""
        self._closed()


STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
