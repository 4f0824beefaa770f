"""An admin server with scripted numbers, for states of the page that a real router comes into only with effort.

It speaks the JSON API of `payrouter.entrypoints.admin`, with its content security policy, and serves the real page.
`admin.overview`, `admin.letters`, … are what it answers with; `admin.away` hangs up on everybody.
"""

from __future__ import annotations

import copy
import json
import mimetypes
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import payrouter.entrypoints.admin as package
from payrouter.domain.window import format_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

STATIC = Path(package.__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAYMENT = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"


def processor(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "feePercent": "5 %",
        "standing": "usable",
        "breaker": "closed",
        "paused": False,
        "reportedMs": 5,
        "reportedFailing": False,
        "observedMs": 7.1,
        "inFlight": 3,
        "limit": 256,
        "pinned": 0,
        "settledPerSecond": 500.0,
        "failedPerSecond": 0.0,
        "share": 0.93,
        "settled": 12345,
        "amount": "245665.50",
        "fees": "12283.28",
    } | changes


OVERVIEW: dict[str, Any] = {
    "version": "1.0",
    "engine": "payrouter.db",
    "clustered": False,
    "rates": {"accepted": 549.0, "settled": 548.2, "failed": 0.0},
    "backlog": {"waiting": 12, "oldestAgeSeconds": 0.4, "reason": None},
    "processors": [
        processor("default"),
        processor("fallback", feePercent="15 %", settledPerSecond=48.2, share=0.07, settled=930, fees="2776.05"),
    ],
    "money": {
        "settled": 13275,
        "amount": "264172.50",
        "fees": "15059.33",
        "savedAgainstDearest": "24566.55",
        "lostAgainstCheapest": "1850.70",
    },
    "nodes": [
        {
            "name": "router-1",
            "role": "router",
            "host": "myhost",
            "pid": 123,
            "leads": True,
            "seenSecondsAgo": 0.2,
            "uptimeSeconds": 3712.0,
            "memoryMb": 48.1,
            "cpu": 0.21,
        }
    ],
    "unknown": {"count": 0, "oldestAgeSeconds": None},
    "deadLetters": {"count": 0},
    "webhooks": None,
    "audit": {"state": "agree", "at": "2026-11-22T21:00:00.000Z", "text": "13 275 payments agree", "differences": 0},
    "problems": [],
}


def letter(
    number: int, reason: str = "answered 400: the amount is not allowed", pinned: str | None = None
) -> dict[str, Any]:
    return {
        "correlationId": f"00000000-0000-4000-8000-{number:012d}",
        "amount": "19.90",
        "acceptedAt": "2026-11-22T21:00:00.123456Z",
        "reason": reason,
        "pinnedTo": pinned,
    }


NEVER: dict[str, Any] = {
    "state": "never",
    "text": "not compared yet",
    "at": None,
    "from": None,
    "to": None,
    "processors": [],
    "differences": [],
    "differencesInAll": 0,
}


@dataclass
class FakeAdmin:
    """What the server says, and what it was asked to do."""

    token: str = ""
    url: str = ""
    overview: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(OVERVIEW))
    payments: dict[str, dict[str, Any]] = field(default_factory=dict)
    letters: list[dict[str, Any]] = field(default_factory=list)
    poison: list[dict[str, str]] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(NEVER))
    done: list[tuple[str, Any]] = field(default_factory=list)
    away: bool = False
    sessions_end: bool = False
    event_every_s: float = 0.2

    def now(self) -> dict[str, Any]:
        self.overview["deadLetters"]["count"] = len(self.letters)
        return {"at": format_instant(time.time_ns() // 1000), **self.overview}

    def history(self, points: int = 300) -> dict[str, Any]:
        """Minutes with waves, an outage of `default` and a gap."""
        start = int(time.time()) - points
        down = [120 <= index < 180 for index in range(points)]
        accepted = [500.0 + 40 * ((index // 7) % 3) for index in range(points)]
        mine = [0.0 if gone else rate - 40 for gone, rate in zip(down, accepted, strict=True)]
        other = [120.0 if gone else 40.0 for gone in down]
        waiting = [max(0, index - 120) * 8 if gone else 12 for index, gone in enumerate(down)]
        seen = [None if 40 <= index < 55 else 1 for index in range(points)]

        def cut(values: list[Any]) -> list[Any]:
            return [None if one is None else value for one, value in zip(seen, values, strict=True)]

        return {
            "stepSeconds": 1,
            "at": [start + index for index in range(points)],
            "accepted": cut(accepted),
            "settled": cut([a + b for a, b in zip(mine, other, strict=True)]),
            "waiting": cut(waiting),
            "oldestAgeSeconds": cut([0.4] * points),
            "processors": {
                "default": {"settled": cut(mine), "observedMs": cut([7.0] * points)},
                "fallback": {"settled": cut(other), "observedMs": cut([9.0] * points)},
            },
        }

    def dead_letters(self, contains: str, limit: int) -> dict[str, Any]:
        found = [one for one in self.letters if contains in one["correlationId"] or contains in one["reason"]]
        return {
            "count": len(self.letters),
            "found": len(found),
            "shown": found[:limit],
            "poison": self.poison[:limit],
            "poisonCount": len(self.poison),
        }

    def retry(self, body: dict[str, Any]) -> dict[str, Any]:
        chosen = {one["correlationId"] for one in self.letters} if body.get("all") else set(body["correlationIds"])
        before = len(self.letters)
        self.letters = [one for one in self.letters if one["correlationId"] not in chosen]
        return {"retried": before - len(self.letters)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    admin: FakeAdmin

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self._refused():
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/":
            self._file(STATIC / "index.html")
        elif url.path == "/login":
            self._file(STATIC / "login.html")
        elif url.path.startswith("/assets/"):
            self._file(STATIC / url.path.removeprefix("/assets/"))
        elif url.path == "/api/events":
            self._events()
        else:
            self._json(*self._answer(url.path, query))

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        admin = self.admin
        if path.startswith("/api/payments/"):
            payment = admin.payments.get(unquote(path.removeprefix("/api/payments/")))
            return (404, {"detail": "no such payment"}) if payment is None else (200, payment)
        answers = {
            "/api/session": lambda: {"csrf": "c5rf", "signedIn": True, "needsToken": bool(admin.token)},
            "/api/overview": admin.now,
            "/api/history": admin.history,
            "/api/dead-letters": lambda: admin.dead_letters(query.get("contains", ""), int(query["limit"])),
            "/api/audit": lambda: admin.audit,
        }
        return (200, answers[path]()) if path in answers else (404, {"detail": "no such path"})

    def do_POST(self) -> None:
        if self._refused():
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        if self.path == "/login":
            right = parse_qs(body).get("token") == [self.admin.token]
            self._see_other("/" if right else "/login?wrong=1", "payrouter_session=s3ss10n" if right else "")
        elif self.headers["X-CSRF-Token"] != "c5rf":
            self._json(403, {"detail": "the token against forged requests is missing or old"})
        elif self.path == "/logout":
            self._see_other("/login", "payrouter_session=")
        else:
            self.admin.done.append((self.path, json.loads(body or "{}")))
            self._json(*self._did(json.loads(body or "{}")))

    def _did(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.path == "/api/dead-letters/retry":
            return 200, self.admin.retry(body)
        if self.path == "/api/audit":
            self.admin.audit["at"] = format_instant(time.time_ns() // 1000)
            return 202, {"message": "comparing"}
        _, _, kind, name, verb = self.path.split("/")
        assert kind == "processors"
        for one in self.admin.overview["processors"]:
            if one["name"] == name:
                one["paused"] = verb == "pause"
        return 200, {"processor": name, "paused": verb == "pause"}

    def _refused(self) -> bool:
        admin = self.admin
        if admin.away:
            self.close_connection = True
            return True
        signed_in = "payrouter_session=s3ss10n" in self.headers.get("Cookie", "") and not admin.sessions_end
        if not admin.token or signed_in or self.path.startswith(("/login", "/assets/")):
            return False
        if self.path.startswith("/api/"):
            self._json(401, {"detail": "sign in first"})
        else:
            self._see_other("/login")
        return True

    def _events(self) -> None:
        self.close_connection = True
        self._head(200, "text/event-stream", None)
        try:
            while not self.admin.away and not self.admin.sessions_end:
                self.wfile.write(f"event: overview\ndata: {json.dumps(self.admin.now())}\n\n".encode())
                self.wfile.flush()
                time.sleep(self.admin.event_every_s)
        except (BrokenPipeError, ConnectionResetError):
            return  # the page was closed

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._json(404, {"detail": "no such file"})
            return
        body = path.read_bytes()
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        self._head(200, f"{kind}; charset=utf-8", len(body))
        self.wfile.write(body)

    def _json(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self._head(status, "application/json" if status < 400 else "application/problem+json", len(body))
        self.wfile.write(body)

    def _see_other(self, where: str, cookie: str = "") -> None:
        self.send_response(303)
        self.send_header("Location", where)
        if cookie:
            self.send_header("Set-Cookie", f"{cookie}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _head(self, status: int, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-cache")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser hangs up as it likes; a defect in here fails the test that waits for an answer."""


@contextmanager
def fake_admin(token: str = "") -> Iterator[FakeAdmin]:
    """Give a server that listens; it is ended on leaving."""
    admin = FakeAdmin(token)
    handler = type("Handler", (_Handler,), {"admin": admin})
    server = _Server(("127.0.0.1", 0), handler)
    admin.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield admin
    finally:
        admin.away = True
        server.shutdown()
        server.server_close()
        thread.join(5)
