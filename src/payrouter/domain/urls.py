"""Addresses of stores and processors as they may be shown: with nothing in them that opens a door."""

from __future__ import annotations

import re

HIDDEN = "***"

_SECRET_OPTION = re.compile(r"(?i)([?&][^=&]*(?:pass|token|secret|key)[^=&]*=)[^&]*")


def without_secrets(url: str) -> str:
    """Return a url with its password hidden: `postgresql://user:***@host/db`.

    Where it cannot be told what is the password, because its special characters were not %-encoded, everything is
    hidden.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return HIDDEN if "@" in url else url
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    after = rest[len(place) :]
    login, at, host = place.rpartition("@")
    port = re.sub(r"^(\[[^\]]*\]|[^:]*)", "", host).split(",")[0]
    if "@" in after or "#" in after or (not at and port and not port[1:].isdecimal()):
        return f"{scheme}://{HIDDEN}"
    user, colon, _ = login.partition(":")
    shown = f"{user}{colon}{HIDDEN if colon else ''}{at}{host}"
    return f"{scheme}://{shown}" + _SECRET_OPTION.sub(lambda found: f"{found[1]}{HIDDEN}", after)
