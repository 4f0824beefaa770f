"""The operator's page as a browser loads it: everything it is made of, and the first of what it shows."""

from __future__ import annotations

import gzip
import http.client
import re
import time
from contextlib import closing
from dataclasses import dataclass
from posixpath import join, normpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from payrouter_lab.bench.calls import CallError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a page names: its styles, scripts and icon, and the modules that scripts import.
_IN_HTML = re.compile(rb"(?:src|href)=\"(/assets/[^\"#?]+)\"")
_IN_SCRIPT = re.compile(rb"(?:from|import)\s*\(?\s*[\"'](\.{0,2}/[^\"']+\.js)[\"']")
_EVENT_ENDS = b"\n\n"
_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class FirstView:
    """One load of the page: seconds until the first event was there, bytes of its files and of its figures."""

    seconds: float
    files: dict[str, int]
    """Bytes of each answer's body as sent, by path: the page and its assets."""
    data_bytes: int

    @property
    def file_bytes(self) -> int:
        """Bytes of the page and its assets together."""
        return sum(self.files.values())


def first_view(url: str) -> FirstView:
    """Load the page, all its assets, history and the first event; one thing after the other, nothing cached.

    Raises:
        CallError: if one of them is not there.
    """
    begun_s = time.perf_counter()
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_WITHIN_S)
    with closing(connection):
        files: dict[str, int] = {}
        missing = ["/"]
        while missing:
            path = missing.pop(0)
            response = _answer(connection, url, path)
            body = response.read()
            files[path] = len(body)
            if response.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            missing += [found for found in _named(path, body) if found not in files and found not in missing]
        history = _answer(connection, url, "/api/history").read()
        event = _first_event(connection, url)
    return FirstView(time.perf_counter() - begun_s, files, len(history) + len(event))


def _named(path: str, body: bytes) -> Iterator[str]:
    """Yield the paths that a page or script names."""
    if path == "/":
        yield from (found.decode() for found in _IN_HTML.findall(body))
    elif path.endswith(".js"):
        folder = path.rpartition("/")[0]
        yield from (normpath(join(folder, found.decode())) for found in _IN_SCRIPT.findall(body))


def _answer(connection: http.client.HTTPConnection, url: str, path: str) -> http.client.HTTPResponse:
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise CallError(f"GET {url}{path}: {error}") from error
    if response.status != 200:
        raise CallError(f"GET {url}{path} was answered {response.status}: {response.read(200)!r}")
    return response


def _first_event(connection: http.client.HTTPConnection, url: str) -> bytes:
    response = _answer(connection, url, "/api/events")
    event = b""
    while not event.endswith(_EVENT_ENDS):
        line = response.readline()
        if not line:
            raise CallError(f"GET {url}/api/events ended before its first event")
        event += line
    return event
