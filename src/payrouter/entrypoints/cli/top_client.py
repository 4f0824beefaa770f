"""What `payrouter top` asks of the operator's address: one JSON call at a time, and the stream of events."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from payrouter.entrypoints.cli.common import CommandFailed, reachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from payrouter.settings import Address

SILENCE_S = 5.0
"""Events come twice a second: after this long without one, nobody is there any more."""

_LONGEST_LINE = 4 * 1024 * 1024
_NOT_OURS = "is that the operator's address (PAYROUTER_ADMIN_BIND), not the one that takes payments?"


class Away(Exception):
    """Nobody answers there at the moment; the text says why. Trying again may help."""


class OperatorPages:
    """The operator's pages at one address, as a program sees them. `token` may be empty where none is needed."""

    def __init__(self, where: Address | str, token: str) -> None:
        self._socket = None if isinstance(where, str) else where.path
        self.url = _url(where)
        self._headers = {"Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._token = token

    def get(self, path: str) -> bytes:
        """Return the JSON at a path.

        Raises:
            Away: if nobody answers, or not now.
            CommandFailed: if it answers that we may not, or is something else; the text says what to do.
        """
        connection = self._connection()
        with closing(connection):
            try:
                return self._asked(connection, path).read()
            except (OSError, http.client.HTTPException) as error:
                raise Away(_why(error)) from error

    def events(self) -> Iterator[bytes]:
        """Yield the data of each overview, until the stream ends.

        Raises:
            Away, CommandFailed: as for `get`.
        """
        connection = self._connection()
        with closing(connection):
            try:
                response = self._asked(connection, "/api/events")
                if response.headers.get_content_type() != "text/event-stream":
                    raise CommandFailed(f"{self.url} sends no events; {_NOT_OURS}")
                yield from _data(response, "overview")
            except (OSError, http.client.HTTPException) as error:
                raise Away(_why(error)) from error
        raise Away("it ended the stream")

    def _asked(self, connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
        connection.request("GET", path, headers=self._headers)
        response = connection.getresponse()
        status = response.status
        if status == 200:
            return response
        detail = _detail(response.read(_LONGEST_LINE))
        if status == 401:
            said = "PAYROUTER_ADMIN_TOKEN is not the one it was started with" if self._token else "it needs a token"
            raise CommandFailed(f"{self.url}: {said}; set PAYROUTER_ADMIN_TOKEN here to what the router has")
        if status == 403:
            raise CommandFailed(f"{self.url}: {detail or 'we may not look'}")
        if status in {429, 500, 502, 503, 504}:
            raise Away(detail or f"it answered {status}")
        raise CommandFailed(f"{self.url} answered {status} to {path}; {_NOT_OURS}")

    def _connection(self) -> http.client.HTTPConnection:
        if self._socket is not None:
            return _UnixConnection(self._socket)
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=SILENCE_S)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SILENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SILENCE_S)
        self.sock.connect(str(self._path))


def _url(where: Address | str) -> str:
    """Return where to ask.

    Raises:
        CommandFailed: if that is no URL.
    """
    if not isinstance(where, str):
        return str(where) if where.path is not None else f"http://{reachable(where)}"
    try:
        parts = urlsplit(where)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = None
    if not known:
        raise CommandFailed(f"--url must be like http://127.0.0.1:8080, got {where!r}")
    return f"{parts.scheme}://{parts.netloc}"


def _data(response: http.client.HTTPResponse, wanted: str) -> Iterator[bytes]:
    """Yield the data of events of one kind (HTML standard, server-sent events)."""
    kind, data = "", list[bytes]()
    while line := response.readline(_LONGEST_LINE):
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            kind = value.decode("utf-8", "replace")
        elif name == b"data":
            data.append(value)
        elif not name and not value:
            if data and kind == wanted:
                yield b"\n".join(data)
            kind, data = "", []


def _detail(body: bytes) -> str:
    """Return what a problem document says; empty when it is none."""
    try:
        found: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    return str(found.get("detail", "")) if isinstance(found, dict) else ""


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no word for {SILENCE_S:g} s"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"it hung up ({error})" if str(error) else "it hung up"
