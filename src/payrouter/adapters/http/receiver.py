"""`Receiver` over HTTP: one address that webhooks are posted to."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from payrouter.adapters.http.client import Answer, HttpPool, NeverSent, NoAnswer, PoolLimits

if TYPE_CHECKING:
    from payrouter.adapters.http.client import Exchange

ANSWER_WITHIN_S = 10.0

_SHOWN = 80


class HttpReceiver:
    """Posts to `url`, certificates verified. Redirects are not followed: a message goes where the operator said."""

    def __init__(self, url: str, *, connections: int, within_s: float = ANSWER_WITHIN_S) -> None:
        parts = urlsplit(url)
        login, _, place = parts.netloc.rpartition("@")
        # What is said back is for people, and little of it is shown.
        limits = PoolLimits(connections=connections, answer_bytes=64 * 1024)
        self._pool = HttpPool(f"{parts.scheme}://{place}", limits)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        user, _, password = login.partition(":")
        code = b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        self._login = (("Authorization", f"Basic {code}"),) if login else ()
        self._within_s = within_s

    async def post(self, headers: tuple[tuple[str, str], ...], body: bytes) -> str | None:
        """Hand in one message; return None once the receiver has taken it (any 2xx), else what happened instead."""
        head = self._pool.head("POST", self._target, (*headers, *self._login))
        request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        return _failure(await self._pool.ask(request, within_s=self._within_s))

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()


def _failure(exchange: Exchange) -> str | None:
    match exchange:
        case Answer(status) if 200 <= status < 300:
            return None
        case Answer(status) if 300 <= status < 400:
            return f"answered {status}: redirects are not followed, set the url it should go to"
        case Answer(status, body):
            return f"answered {status}: {body[:_SHOWN].decode('utf-8', 'backslashreplace')!r}"
        case NeverSent(detail) | NoAnswer(detail):
            return detail
