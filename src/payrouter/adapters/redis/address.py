"""Where a Redis is and how to introduce oneself: a url, taken apart."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from payrouter.domain.errors import InvalidSettings
from payrouter.domain.urls import without_secrets

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_SHAPES = "redis://[user:password@]host[:port][/db], rediss://… for TLS, or unix:///path/of/socket[?db=0]"
_PORT = 6379


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis server, a database of it and who we are there. `str()` shows no user and no password."""

    shown: str
    host: str
    port: int
    socket_path: str | None
    db: int
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False)

    def __str__(self) -> str:
        return self.shown

    async def connect(self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Connect a protocol.

        Raises:
            OSError: if that fails (also everything TLS finds wrong).
        """
        if self.socket_path is not None:
            await loop.create_unix_connection(protocol, self.socket_path)
        else:
            await loop.create_connection(protocol, self.host, self.port, ssl=self.tls)


def parse_address(url: str) -> RedisAddress:
    """Take a Redis url apart. User, password and socket path may be percent-encoded.

    `rediss://` checks the server's certificate against the system's authorities, or against those in
    `?ssl_ca_certs=FILE`; `?ssl_cert_reqs=none` checks nothing.

    Raises:
        InvalidSettings: if it cannot be one. The text never shows a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
    except ValueError:
        raise _wrong(
            url, "has a port or host that is none (a password's special characters must be %-encoded)"
        ) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    match parts.scheme:
        case "redis" | "rediss":
            if not parts.hostname:
                raise _wrong(url, "names no host")
            db_text = options.pop("db", parts.path.removeprefix("/"))
            host, socket_path = parts.hostname, None
            bracketed = f"[{host}]" if ":" in host else host
            shown = f"{parts.scheme}://{bracketed}:{port}"
        case "unix":
            if parts.hostname or not parts.path.startswith("/"):
                raise _wrong(url, "names no absolute socket path (three slashes: unix:///…)")
            db_text = options.pop("db", "")
            host, socket_path = "", unquote(parts.path)
            shown = f"unix://{socket_path}"
        case _:
            raise _wrong(url, "has an unknown scheme")
    db = _db_of(url, db_text)
    tls = _tls_of(url, options) if parts.scheme == "rediss" else None
    if options:
        raise _wrong(url, f"has unknown options ({', '.join(options)})")
    suffix = f"?db={db}" if socket_path is not None else f"/{db}"
    user, password = _credentials_of(url, parts)
    return RedisAddress(shown + suffix, host, port, socket_path, db, user, password, tls)


def _db_of(url: str, text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise _wrong(url, "has a database that is no number")
    return int(text or 0)


def _credentials_of(url: str, parts: SplitResult) -> tuple[str | None, str | None]:
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if user is not None and password is None:
        raise _wrong(url, "has a user but no password")
    return user, password


def _tls_of(url: str, options: dict[str, str]) -> ssl.SSLContext:
    """Return how to check the server, taking what was used out of `options`."""
    ca_file = options.pop("ssl_ca_certs", None)
    required = options.pop("ssl_cert_reqs", "required")
    if required not in ("required", "none"):
        raise _wrong(url, "has an ssl_cert_reqs that is neither required nor none")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise _wrong(url, f"has an ssl_ca_certs that cannot be read: {error}") from None
    if required == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _wrong(url: str, finding: str) -> InvalidSettings:
    # Cut at the last @: where a url is malformed, that alone surely hides the password.
    scheme, _, rest = url.partition("://")
    hidden = f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else without_secrets(url)
    return InvalidSettings([f"the Redis url {hidden!r} {finding}; it looks like {_SHAPES}"])
