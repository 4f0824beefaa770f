"""Who an operator is, and whether a request was meant: tokens, sessions, and what other sites may not do.

With a token everybody signs in with it. Without one the address is this machine's alone, and the Host header must say
so: a page of another site that points its own name at 127.0.0.1 gets nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.adapters.http.message import Request

COOKIE = "payrouter_session"
LASTS_S = 12 * 3600.0
MOST_SESSIONS = 100
WRONG_COSTS_S = 1.0
MOST_TRIES_AT_ONCE = 4
# A name or an address, of IPv6 in brackets, and perhaps a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::[0-9]*)?")


@dataclass(slots=True)
class Session:
    """One signed-in browser: until when (monotonic seconds), and what its changes must carry."""

    key: str
    until_s: float
    csrf: str


class Sessions:
    """Signed-in operators, in memory: a restart signs everybody out. Bounded; the oldest go first."""

    def __init__(self, token: str, monotonic_s: Callable[[], float]) -> None:
        self._token = token.encode()
        self._monotonic_s = monotonic_s
        self._sessions: dict[str, Session] = {}
        self._trying: Counter[str | None] = Counter()
        self._nobody = Session("", float("inf"), secrets.token_urlsafe(24))

    @property
    def needs_token(self) -> bool:
        """Whether operators have to sign in."""
        return bool(self._token)

    async def sign_in(self, token: str, peer: str | None = "") -> Session | None:
        """Return a new session, None for a wrong token, after the second it costs the address that sent it."""
        if hmac.compare_digest(token.encode(), self._token):
            while len(self._sessions) >= MOST_SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            key = secrets.token_urlsafe(32)
            self._sessions[key] = Session(key, self._monotonic_s() + LASTS_S, secrets.token_urlsafe(24))
            return self._sessions[key]
        await self.guessed(peer)
        return None

    async def guessed(self, peer: str | None) -> None:
        """Let a wrong token cost its sender a second; see `too_many_tries`."""
        self._trying[peer] += 1
        try:
            await asyncio.sleep(WRONG_COSTS_S)
        finally:
            self._trying[peer] -= 1
            if not self._trying[peer]:
                del self._trying[peer]

    def too_many_tries(self, peer: str | None) -> bool:
        """Whether so many wrong tokens of an address are being paid for that its next is not even looked at.

        By address, so that whoever guesses keeps nobody out but those who share it.
        """
        return self._trying[peer] >= MOST_TRIES_AT_ONCE

    def sign_out(self, session: Session) -> None:
        """End a session."""
        self._sessions.pop(session.key, None)

    def of(self, request: Request) -> Session | None:
        """Return the session of a request, None when it has none that counts."""
        if not self.needs_token:
            return self._nobody
        found = self._sessions.get(_cookie(request))
        if found is not None and found.until_s < self._monotonic_s():
            self.sign_out(found)
            return None
        return found

    def lives(self, session: Session) -> bool:
        """Whether a session still counts."""
        return not self.needs_token or (session.key in self._sessions and session.until_s >= self._monotonic_s())

    def bears_token(self, request: Request) -> bool:
        """Return whether a program sent the token itself."""
        scheme, _, sent = (request.header(b"authorization") or b"").partition(b" ")
        return self.needs_token and scheme.lower() == b"bearer" and hmac.compare_digest(sent.strip(), self._token)


def is_meant(request: Request, session: Session) -> bool:
    """Return whether a change was asked for by our own page: it knows the session's word, and no other site sent it."""
    if is_of_another_site(request):
        return False
    return hmac.compare_digest(request.header(b"x-csrf-token") or b"", session.csrf.encode())


def is_of_another_site(request: Request) -> bool:
    """Return whether a browser says that a page of another address sent this."""
    site = request.header(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        return True
    origin = request.header(b"origin")
    return origin is not None and origin.partition(b"://")[2] != (request.header(b"host") or b"")


def is_this_machine(request: Request) -> bool:
    """Return whether a request was addressed to this machine by a name that only means this machine."""
    host = (request.header(b"host") or b"").decode("ascii", "replace").lower()
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = found[1] or found[2]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def cookie_header(session: Session | None, request: Request) -> tuple[bytes, bytes]:
    """Return the header that gives a browser its session, or takes it away."""
    value, age_s = (session.key, round(LASTS_S)) if session is not None else ("", 0)
    secure = "; Secure" if request.header(b"x-forwarded-proto") == b"https" else ""
    text = f"{COOKIE}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"
    return b"Set-Cookie", text.encode()


def _cookie(request: Request) -> str:
    try:
        jar = SimpleCookie((request.header(b"cookie") or b"").decode("ascii", "replace"))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""
