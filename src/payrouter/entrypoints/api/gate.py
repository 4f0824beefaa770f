"""Who may use the public API, and how fast: stands before `Api`, and only where there are keys or a limit."""

from __future__ import annotations

import hmac
import math
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from payrouter.domain.events import RequestRefused
from payrouter.entrypoints.api.problems import PROBLEM_TYPE, problem_body
from payrouter.entrypoints.api.rate_limit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from payrouter.adapters.http.message import Reply, Request
    from payrouter.ports.events import EventSink
    from payrouter.settings import ApiKey

OPEN = frozenset((b"/health", b"/openapi.json", b"/docs"))
"""What needs no key. Everything else does, so that a new call cannot be forgotten."""

UNAUTHORIZED = "unauthorized"
RATE_LIMITED = "rate-limited"

_NO_KEY = problem_body(401, "send your key as Authorization: Bearer <key> or X-API-Key: <key>")
_WRONG_KEY = problem_body(401, "this key is not known here; ask the operator for one")
_CHALLENGE = ((b"WWW-Authenticate", b"Bearer"),)


class Gate:
    """Lets requests through to `api` that carry a known key, and payments that do not come too fast.

    Without `keys` everybody may come in, and a client is the address it comes from.
    """

    def __init__(
        self,
        api: Callable[[Request, Reply], None],
        *,
        keys: Sequence[ApiKey],
        rate_limit_per_s: float,
        events: EventSink,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._api = api
        self._keys = tuple(keys)
        self._events = events
        self._rate = RateLimit(rate_limit_per_s, monotonic_s) if rate_limit_per_s else None

    def __call__(self, request: Request, reply: Reply) -> None:
        """Hand one request on, or refuse it."""
        path = request.path
        if path in OPEN:
            self._api(request, reply)
            return
        client = None
        if self._keys:
            key = _key_of(request)
            client = self._name_of(key) if key else None
            if client is None:
                self._refuse(reply, UNAUTHORIZED, address_of(request, reply))
                body = _WRONG_KEY if key else _NO_KEY
                reply.send(401, body, content_type=PROBLEM_TYPE, headers=_CHALLENGE)
                return
        if self._rate is not None and path == b"/payments" and request.method == b"POST":
            client = client or address_of(request, reply)
            missing_s = self._rate.take(client)
            if missing_s:
                self._refuse(reply, RATE_LIMITED, client)
                self._too_fast(reply, math.ceil(missing_s))
                return
        self._api(request, reply)

    def _name_of(self, key: bytes) -> str | None:
        """Return whose key it is, None when it is nobody's. How long that takes tells nothing of the keys."""
        given, name = sha256(key).digest(), None
        for one in self._keys:
            if hmac.compare_digest(one.digest, given):
                name = one.name
        return name

    def _refuse(self, reply: Reply, reason: str, client: str) -> None:
        if not reply.client_gone:
            self._events.publish(RequestRefused(reason, client))

    @staticmethod
    def _too_fast(reply: Reply, wait_s: int) -> None:
        detail = f"more payments than this client may hand in; try again in {wait_s} s"
        headers = ((b"Retry-After", b"%d" % wait_s),)
        reply.send(429, problem_body(429, detail), content_type=PROBLEM_TYPE, headers=headers)


def _key_of(request: Request) -> bytes:
    """Return the key of a request, empty when it has none.

    Another scheme than Bearer may be meant for a proxy: then X-API-Key counts.
    """
    scheme, _, sent = (request.header(b"authorization") or b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return sent.strip()
    return (request.header(b"x-api-key") or b"").strip()


def address_of(request: Request, reply: Reply) -> str:
    """Return the address a request comes from, as one client's: `192.0.2.1`, of IPv6 the network `2001:db8::/64`.

    A proxy on this machine is believed when it says for whom it asks: in X-Real-IP, or as the last of X-Forwarded-For.
    Anybody else could say anything.
    """
    peer = _parsed(reply.peer or "")
    if peer is None or peer.is_loopback:
        told = request.header(b"x-real-ip") or _last(request, b"x-forwarded-for")
        peer = _parsed(told.decode("ascii", "replace").strip()) or peer
    if peer is None:
        return "a unix socket"
    if isinstance(peer, IPv4Address) or peer.is_loopback:
        return str(peer)
    # Whoever has one address of such a network has all of them.
    return f"{IPv6Address(int(peer) >> 64 << 64)}/64"


def _last(request: Request, name: bytes) -> bytes:
    """Return the last element of a list that may stand in several headers; empty when there is none."""
    values = [value for key, value in request.headers if key == name]
    return values[-1].rpartition(b",")[2] if values else b""


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
