"""A client of the operator's pages, as a browser or a program would be."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.settings import Address


@dataclass(frozen=True, slots=True)
class Got:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Operator:
    """Calls the operator's address; `headers` go with every call."""

    address: Address
    headers: dict[str, str] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Got:
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=5)
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        try:
            connection.request(method, path, data, given)
            response = connection.getresponse()
            return Got(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Got:
        return self.call("GET", path, **headers)

    def json(self, path: str) -> Any:
        got = self.get(path)
        assert got.status == 200, got.body
        return got.json()

    def change(self, path: str, body: Any = None) -> Got:
        """Post as our own page does."""
        return self.call("POST", path, body, X_CSRF_Token=self.json("/api/session")["csrf"])

    def sign_in(self, token: str) -> Got:
        """Sign in as a browser does, and keep the session."""
        got = self.call("POST", "/login", f"token={token}", Content_Type="application/x-www-form-urlencoded")
        if cookie := got.headers.get("set-cookie"):
            self.headers["Cookie"] = cookie.partition(";")[0]
        return got

    def until(self, condition: Callable[[dict[str, Any]], bool], within_s: float = 5.0) -> dict[str, Any]:
        """Return the first overview for which something is so."""
        end_s = time.monotonic() + within_s
        while True:
            overview: dict[str, Any] = self.json("/api/overview")
            if condition(overview):
                return overview
            assert time.monotonic() < end_s, overview
            time.sleep(0.05)


def processor(overview: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one processor of an overview."""
    [found] = [one for one in overview["processors"] if one["name"] == name]
    return dict(found)
