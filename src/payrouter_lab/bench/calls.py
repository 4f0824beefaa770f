"""Small JSON calls, one kept-alive connection per peer: our router, and a simulated processor's books.

For the measuring and comparing around a benchmark; its load comes from k6 or from `generator`.
"""

from __future__ import annotations

import http.client
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from payrouter_lab.bench.score import Charge, Total

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 10_000
_decode = msgspec.json.Decoder().decode


class CallError(Exception):
    """A peer that did not answer, or not as it should; says what was asked and what came back."""


class Peer:
    """One HTTP peer."""

    def __init__(self, url: str, headers: dict[str, str] | None = None, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
        self._headers = {"Content-Type": "application/json"} | (headers or {})

    def ask(self, method: str, target: str, body: object = None) -> tuple[int, bytes]:
        """Return status and body of one call, on a fresh connection if the old one has gone.

        Raises:
            OSError: if nobody answers.
        """
        payload = None if body is None else msgspec.json.encode(body)
        for attempt in (1, 2):
            try:
                self._connection.request(method, target, payload, self._headers)
                response = self._connection.getresponse()
                return response.status, response.read()
            except (http.client.HTTPException, ConnectionError) as error:
                self._connection.close()
                if attempt == 2:
                    raise ConnectionError(f"{method} {self.url}{target}: {error}") from error
        raise AssertionError  # the loop returns or raises

    def send_with(self, **headers: str) -> None:
        """Send further headers from now on, `_` standing for `-`."""
        self._headers |= {name.replace("_", "-"): value for name, value in headers.items()}

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._connection.close()

    def call(self, method: str, target: str, body: object = None) -> Any:
        """Return the JSON answered; None for an empty answer.

        Raises:
            CallError: if the call fails or is refused.
        """
        try:
            status, content = self.ask(method, target, body)
        except OSError as error:
            raise CallError(f"{method} {self.url}{target}: {error}") from error
        if not 200 <= status < 300:
            raise CallError(f"{method} {self.url}{target} was answered {status}: {content[:200]!r}")
        return _decode(content) if content else None


class Processor(Peer):
    """A simulated processor's administration."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url, {"X-Rinha-Token": token})

    def configure(self, *, delay_ms: int, failing: bool) -> None:
        """Set how it behaves from now on."""
        self.call("PUT", "/admin/configurations/delay", {"delay": delay_ms})
        self.call("PUT", "/admin/configurations/failure", {"failure": failing})

    def purge(self) -> None:
        """Empty its books."""
        self.call("POST", "/admin/purge-payments")

    def total(self, **window: str) -> Total:
        """Return what it charged in a window (as for `Target.summary`); without one, everything."""
        return total(self.call("GET", "/admin/payments-summary" + _query(window)))

    def charges(self) -> list[Charge]:
        """Return its books, in its own order; the window is everything."""
        return [Charge(item["correlationId"], _cents(item["amount"])) for item in self.listed()]

    def listed(self, **window: str) -> Iterator[dict[str, Any]]:
        """Yield the payments it charged in a window (as for `Target.summary`), as it lists them, in its own order."""
        query: dict[str, object] = {"limit": PAGE, **window}
        while True:
            page = self.call("GET", "/admin/payments?" + urlencode(query))
            yield from page["payments"]
            if page["next"] is None:
                return
            query["after"] = page["next"]


class Target(Peer):
    """The router under test, or the reference."""

    def summary(self, **window: str) -> dict[str, Total]:
        """Return its books per processor; `**{"from": ..., "to": ...}` as RFC 3339, both optional."""
        answer = self.call("GET", "/payments-summary" + _query(window))
        return {name: total(found) for name, found in answer.items()}

    def purge(self) -> None:
        """Empty its books and its queue."""
        self.call("POST", "/purge-payments")

    def settled(self) -> int:
        """Return how many payments it has settled."""
        return sum(found.count for found in self.summary().values())

    def wait_until_settled(self, expected: int, within_s: float, pause_s: float = 0.2) -> bool:
        """Return whether at least `expected` payments were settled in time."""
        deadline = time.monotonic() + within_s
        while self.settled() < expected:
            if time.monotonic() > deadline:
                return False
            time.sleep(pause_s)
        return True


def _cents(amount: float) -> int:
    return round(amount * 100)


def _query(window: dict[str, str]) -> str:
    return f"?{urlencode(window)}" if window else ""


def total(answer: dict[str, Any]) -> Total:
    """Return the total in a summary's answer, to the cent."""
    return Total(answer["totalRequests"], Decimal(_cents(answer["totalAmount"])) / 100)
