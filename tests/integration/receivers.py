"""Receivers of webhooks on free ports: they answer what a test says and keep what they got."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Hook:
    """One message: `headers` have lower-case names."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class WebhookServer:
    """What arrived, in order; `status` is what the next are answered with, `headers` come with it."""

    port: int = 0
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    hooks: list[Hook] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def taken(self, kind: str = "payment.settled") -> list[str]:
        """The correlationIds of what was taken, as often as it was."""
        told = [one.json() for one in list(self.hooks) if 200 <= one.status < 300]
        return [one["data"]["correlationId"] for one in told if one["type"] == kind]


@contextmanager
def webhook_server(port: int = 0) -> Iterator[WebhookServer]:
    """Run a receiver; port 0 picks one."""
    state = WebhookServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.hooks.append(Hook(self.path, headers, body, state.status))
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            if state.status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
