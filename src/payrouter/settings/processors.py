"""From JSON or TOML to processors."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

import msgspec

from payrouter.domain.processor import Processor
from payrouter.domain.urls import without_secrets
from payrouter.settings.values import NAME


class _ProcessorItem(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    url: str
    fee: str | float
    admin_token: str = "123"  # noqa: S105 - the processors' documented initial token
    headers: dict[str, str] = {}


def processors(value: Any) -> tuple[Processor, ...]:
    """Return the processors of a JSON or TOML list; raise `ValueError` for anything else."""
    try:
        if isinstance(value, str):
            items = msgspec.json.decode(value, type=list[_ProcessorItem])
        else:
            items = msgspec.convert(value, type=list[_ProcessorItem])
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(
            f'must be a JSON list like [{{"name":"default","url":"http://host:8001","fee":"0.05"}}]: {error}'
        ) from None
    if not items:
        raise ValueError("must name at least one processor, got an empty list")
    found = tuple(_processor(item) for item in items)
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise ValueError(f"must have different names, got {', '.join(names)}")
    return found


def _processor(item: _ProcessorItem) -> Processor:
    if NAME.fullmatch(item.name) is None:
        raise ValueError(f"names are letters, digits, dot, dash and underscore, 40 at most, got {item.name!r}")
    if not _is_base_url(item.url):
        raise ValueError(f"urls look like http://host:port, got {_shown(item.url)!r} for {item.name}")
    try:
        fee = Decimal(str(item.fee))
    except InvalidOperation:
        fee = Decimal("NaN")
    if not fee.is_finite() or not 0 <= fee < 1:
        raise ValueError(f"fees are shares from 0 to below 1 (0.05 is 5 %), got {item.fee!r} for {item.name}")
    # It becomes a header of a request.
    if not item.admin_token.isprintable():
        raise ValueError(f"admin tokens are one line of printable characters, unlike that of {item.name}")
    return Processor(item.name, item.url.rstrip("/"), fee, item.admin_token, _headers(item))


# What the client itself says about a request; given twice it would mean two things.
_OURS = frozenset(
    ("accept", "connection", "content-length", "content-type", "expect", "host", "keep-alive", "te", "traceparent",
     "tracestate", "trailer", "transfer-encoding", "upgrade", "x-rinha-token")
)  # fmt: skip
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _headers(item: _ProcessorItem) -> tuple[tuple[str, str], ...]:
    for header, value in item.headers.items():
        if _TOKEN.fullmatch(header) is None:
            # It may be the value, in the place of the name: not shown.
            raise ValueError(f"headers of {item.name} must be named by letters, digits and dashes")
        if header.lower() in _OURS:
            raise ValueError(f"headers of {item.name} must not set {header}, which the router sets itself")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"header {header} of {item.name} must be one line of printable ASCII characters")
    if len({header.lower() for header in item.headers}) < len(item.headers):
        raise ValueError(f"headers of {item.name} must have different names; small letters and capitals are the same")
    return tuple(item.headers.items())


def _shown(url: str) -> str:
    return without_secrets(url) if "@" in url else url


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    printable = url.isprintable() and " " not in url
    plain = not (parts.query or parts.fragment)
    return printable and plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
