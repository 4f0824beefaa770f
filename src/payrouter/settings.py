"""Settings: read once at the edge from the environment, `.env` and a TOML file, then plain values inward.

Later sources win: defaults, `payrouter.toml` (or the file that PAYROUTER_CONFIG names), `.env`, the environment.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from payrouter.domain.errors import InvalidSettings
from payrouter.domain.processor import Processor
from payrouter.domain.urls import HIDDEN, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "PAYROUTER_"
_CONFIG = "PAYROUTER_CONFIG"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: `host:port` or `unix:/path`."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can choose. Names in the environment: PAYROUTER_ and the field in capitals.

    `redis_url` and `postgres_url` together choose the cluster engine; without them it is the SQLite file.
    `redis_prefix`: what this installation's keys begin with, so that several can share a Redis.
    `remember_settled`: how many settled payments Redis still knows, for telling a repeat at once.
    `poll_s`: how often a dispatcher looks for new payments when there are none.
    `gather_s`: how long outcomes gather before they are written in one batch.
    `allow_unsafe_stores`: accept a Redis that evicts or keeps nothing on disk, or a PostgreSQL without fsync.

    `processors`: JSON list of name, url, fee (a decimal), and optionally admin_token.
    `data`: the SQLite file. `bind`: where the public API listens. `policy`: least-cost or latency-ratio.
    `patience_s`: how long payments may wait for the end of an outage of a cheaper processor, from its beginning.
    `last_resort_s`: the age from which a payment goes to a slow processor when no other is left.
    `latency_ceiling_ms`: above it a processor counts as slow and is passed over.
    `attempt_timeout_s`: after it an attempt's outcome is unknown and the payment is pinned.
    `max_in_flight`: most attempts under way per processor; the adaptive limit stays below.
    `queue_limit`: most payments waiting before new ones are answered 503.
    `stop_timeout_s`: how long a graceful stop waits for what is in flight.
    `allow_purge`: whether POST /purge-payments empties everything.
    """

    processors: tuple[Processor, ...] = ()
    data: Path = Path("payrouter.db")
    bind: Address = Address("127.0.0.1", 9999)
    policy: str = "least-cost"
    patience_s: float = 10.0
    last_resort_s: float = 10.0
    latency_ceiling_ms: float = 1000.0
    attempt_timeout_s: float = 15.0
    max_in_flight: int = 256
    queue_limit: int = 10_000_000
    stop_timeout_s: float = 5.0
    allow_purge: bool = False
    redis_url: str = ""
    postgres_url: str = ""
    redis_prefix: str = "payrouter"
    remember_settled: int = 1_000_000
    poll_s: float = 0.02
    gather_s: float = 0.02
    allow_unsafe_stores: bool = False

    @property
    def clustered(self) -> bool:
        """True for the cluster engine."""
        return bool(self.redis_url)


def load_settings(environ: Mapping[str, str], folder: Path) -> Settings:
    """Return the settings in force for a process started in `folder`.

    Raises:
        InvalidSettings: with every finding, worded for whoever has to mend it.
    """
    findings: list[str] = []
    given: dict[str, Any] = {}
    dotenv = _from_dotenv(folder / ".env", findings)
    given.update(_from_toml(environ.get(_CONFIG) or dotenv.get(_CONFIG), folder, findings))
    for source in (dotenv, environ):
        given.update({name: value for name, value in source.items() if name.startswith(PREFIX) and name != _CONFIG})
    values: dict[str, Any] = {}
    for name, value in given.items():
        key = name.removeprefix(PREFIX).lower()
        parse = _PARSERS.get(key)
        if parse is None:
            findings.append(_unknown(name))
            continue
        try:
            values[key] = parse(value)
        except ValueError as error:
            findings.append(f"{name} {error}")
    if bool(values.get("redis_url")) != bool(values.get("postgres_url")):
        missing = "postgres_url" if values.get("redis_url") else "redis_url"
        findings.append(f"{PREFIX}{missing.upper()} must be set too: the cluster engine needs Redis and PostgreSQL")
    if findings:
        raise InvalidSettings(findings)
    return Settings(**values)


# Imports inside functions: most processes have neither file nor a wrong name, and little memory.
# ruff: noqa: PLC0415


def _unknown(name: str) -> str:
    import difflib

    known = {key.upper(): PREFIX + key.upper() for key in _PARSERS}
    close = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
    hint = f"did you mean {known[close[0]]}?" if close else f"known are {', '.join(known.values())}"
    return f"{name} is not a setting ({hint})"


def _from_dotenv(path: Path, findings: list[str]) -> Mapping[str, str | None]:
    """Return what `.env` sets; empty when there is none."""
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        return dotenv_values(path)
    except UnicodeDecodeError as error:
        findings.append(f"{path} is not UTF-8 text: {error}")
        return {}


def _from_toml(named: str | None, folder: Path, findings: list[str]) -> dict[str, Any]:
    """Return what the TOML file sets, under the environment's names; `named` is the operator's choice of file."""
    path = folder / (named or "payrouter.toml")
    if not path.is_file():
        if named:
            findings.append(f"{_CONFIG} names {named}, which is not there")
        return {}
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        findings.append(f"{path} is not TOML: {error}")
        return {}
    return {PREFIX + key.upper(): value for key, value in table.items()}


# -- one parser per setting: text from the environment, or a value from TOML


def _number(least: float, most: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        # TOML's true would pass for 1.
        if math.isnan(number) or isinstance(value, bool):
            raise ValueError(f"must be a number, got {value!r}")
        if not least <= number <= most:
            raise ValueError(
                f"must be at {'least' if number < least else 'most'} {_bound(number, least, most)}, got {value}"
            )
        return number

    return parse


def _bound(number: float, least: float, most: float) -> str:
    return f"{least if number < least else most:.12g}"


def _whole(least: int, most: int) -> Callable[[Any], int]:
    number = _number(least, most)

    def parse(value: Any) -> int:
        if not number(value).is_integer():
            raise ValueError(f"must be a whole number, got {value}")
        return int(number(value))

    return parse


def _flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"must be true or false, got {value!r}")


def _policy(value: Any) -> str:
    if value not in ("least-cost", "latency-ratio"):
        raise ValueError(f"must be least-cost or latency-ratio, got {value!r}")
    return str(value)


def _path(value: Any) -> Path:
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


def _url(*schemes: str) -> Callable[[Any], str]:
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


def _prefix(value: Any) -> str:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise ValueError(f"must be letters, digits, dot, dash and underscore, 40 at most, got {value!r}")
    return value


class _ProcessorItem(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    url: str
    fee: str | float
    admin_token: str = "123"  # noqa: S105 - the processors' documented initial token


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def _processors(value: Any) -> tuple[Processor, ...]:
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
    processors = tuple(_processor(item) for item in items)
    names = [one.name for one in processors]
    if len(set(names)) < len(names):
        raise ValueError(f"must have different names, got {', '.join(names)}")
    return processors


def _processor(item: _ProcessorItem) -> Processor:
    if _NAME.fullmatch(item.name) is None:
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
    return Processor(item.name, item.url.rstrip("/"), fee, item.admin_token)


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


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "processors": _processors,
    "data": _path,
    "bind": parse_address,
    "policy": _policy,
    "patience_s": _number(0, 86_400),
    "last_resort_s": _number(0, 86_400),
    "latency_ceiling_ms": _number(1, 600_000),
    "attempt_timeout_s": _number(0.1, 600),
    "max_in_flight": _whole(1, 10_000),
    "queue_limit": _whole(1, 1_000_000_000),
    "stop_timeout_s": _number(0, 600),
    "allow_purge": _flag,
    "redis_url": _url("redis", "rediss", "unix"),
    "postgres_url": _url("postgresql", "postgres"),
    "redis_prefix": _prefix,
    "remember_settled": _whole(1000, 1_000_000_000),
    "poll_s": _number(0.001, 1),
    "gather_s": _number(0, 1),
    "allow_unsafe_stores": _flag,
}

if {field.name for field in fields(Settings)} != set(_PARSERS):
    raise AssertionError("every setting has a parser, and every parser a setting")
