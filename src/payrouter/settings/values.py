"""From what an operator wrote to a value: numbers, flags, addresses, and their errors."""

from __future__ import annotations

import math
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from payrouter.domain.urls import HIDDEN, without_secrets
from payrouter.settings.fields import Address, ApiKey

if TYPE_CHECKING:
    from collections.abc import Callable

# One parser per kind of setting: text from the environment, or a value from TOML.

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def number(least: float, most: float) -> Callable[[Any], float]:
    """Return a parser of a number within bounds."""

    def parse(value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        # TOML's true would pass for 1.
        if math.isnan(found) or isinstance(value, bool):
            raise ValueError(f"must be a number, got {value!r}")
        if not least <= found <= most:
            raise ValueError(
                f"must be at {'least' if found < least else 'most'} {_bound(found, least, most)}, got {value}"
            )
        return found

    return parse


def _bound(found: float, least: float, most: float) -> str:
    return f"{least if found < least else most:.12g}"


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Return a parser of a whole number within bounds."""
    parse_number = number(least, most)

    def parse(value: Any) -> int:
        if not parse_number(value).is_integer():
            raise ValueError(f"must be a whole number, got {value}")
        return int(parse_number(value))

    return parse


def flag(value: Any) -> bool:
    """Return true or false; raise `ValueError` for anything else."""
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"must be true or false, got {value!r}")


def one_of(*known: str) -> Callable[[Any], str]:
    """Return a parser of one of some words."""

    def parse(value: Any) -> str:
        if value not in known:
            raise ValueError(f"must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}")
        return str(value)

    return parse


def path(value: Any) -> Path:
    """Return the path of a file; raise `ValueError` for an empty text."""
    if not value:
        raise ValueError("must name a file, got an empty text")
    return Path(str(value)).expanduser()


def parse_address(value: Any) -> Address:
    """Return an address to listen on.

    Raises:
        ValueError: if it is neither `host:port` nor `unix:/path`.
    """
    text = str(value)
    if text.startswith("unix:") and len(text) > 5:
        return Address(path=Path(text[5:]))
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"must be host:port or unix:/path, got {text!r}")
    return Address(host.strip("[]"), int(port))


def url(*schemes: str) -> Callable[[Any], str]:
    """Return a parser of an address with one of some schemes."""

    def parse(value: Any) -> str:
        text = str(value).strip()
        scheme, found, _ = text.partition("://")
        if text and (scheme not in schemes or not text.isprintable() or " " in text):
            wanted = " or ".join(f"{one}://" for one in schemes)
            # What follows may hold a password; without :// there is no telling where it begins.
            raise ValueError(
                f"must begin with {wanted} and have no spaces, got {f'{scheme[:20]}://…' if found else 'another text'}"
            )
        if without_secrets(text) == f"{scheme}://{HIDDEN}":
            raise ValueError(
                f"must look like {scheme}://user:password@host:port/name, with special characters of user and password "
                "%-encoded (@ is %40, / is %2F); it is not shown, as it cannot be told what the password is"
            )
        return text

    return parse


def http_url(value: Any) -> str:
    """Return where requests are sent, empty for nowhere; raise `ValueError` for what no request can be sent to."""
    text = url("http", "https")(value)
    if text:
        try:
            parts = urlsplit(text)
            sound = bool(parts.hostname) and parts.port != 0 and not parts.fragment
        except ValueError:
            sound = False
        if not sound or not text.isascii():
            raise ValueError(f"must look like https://host/path, in ASCII, got {without_secrets(text)!r}")
    return text


def name(value: Any) -> str:
    """Return a name that may be part of a key, a label and a header; raise `ValueError` for any other text."""
    if not isinstance(value, str) or NAME.fullmatch(value) is None:
        raise ValueError(f"must be letters, digits, dot, dash and underscore, 40 at most, got {value!r}")
    return value


def admin_address(value: Any) -> Address | None:
    """Return where operators are served, None for `off`; raise `ValueError` for what is no address."""
    if value is False or str(value).strip().lower() == "off":
        return None
    try:
        return parse_address(value)
    except ValueError as error:
        raise ValueError(str(error).replace(", got", " or off, got")) from None


LEAST_SECRET = 16


def secret(value: Any) -> str:
    """Return a secret, empty for none; raise `ValueError` for one that is easily guessed or cannot be sent."""
    text = str(value)
    if text and (len(text) < LEAST_SECRET or not text.isascii() or not text.isprintable() or " " in text):
        raise ValueError(
            f"must be at least {LEAST_SECRET} printable ASCII characters without spaces, got {len(text)} that are not "
            "shown; `openssl rand -hex 24` makes one"
        )
    return text


def api_keys(value: Any) -> tuple[ApiKey, ...]:
    """Return the clients of `name:key, …`, or of a TOML list of such; only digests are kept.

    A key may be given as `sha256:` and its 64 hex digits.

    Raises:
        ValueError: if one is no such pair, or a name comes twice.
    """
    items = [str(one) for one in value] if isinstance(value, list) else str(value).split(",")
    keys = tuple(_api_key(item.strip()) for item in items if item.strip())
    names = [one.name for one in keys]
    if len(set(names)) < len(names):
        raise ValueError(f"must have different names, got {', '.join(names)}")
    return keys


def _api_key(item: str) -> ApiKey:
    client, colon, key = item.partition(":")
    if not colon or NAME.fullmatch(client) is None:
        raise ValueError("must be name:key pairs separated by commas (keys are not shown here)")
    if key.startswith("sha256:"):
        try:
            digest = bytes.fromhex(key.removeprefix("sha256:"))
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise ValueError(f"must have 64 hex digits after sha256:, unlike that of {client}")
        return ApiKey(client, digest)
    try:
        return ApiKey(client, sha256(secret(key).encode()).digest() if key else _no_key(client))
    except ValueError as error:
        raise ValueError(f"{error} (for {client})") from None


def _no_key(client: str) -> bytes:
    raise ValueError(f"must have a key after the colon, unlike {client}")
