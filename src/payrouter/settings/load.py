"""Where settings come from: `.env`, a TOML file, the environment."""

from __future__ import annotations

from binascii import a2b_base64
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from payrouter.domain.errors import InvalidSettings
from payrouter.settings import values
from payrouter.settings.fields import Settings
from payrouter.settings.processors import processors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PREFIX = "PAYROUTER_"
_CONFIG = "PAYROUTER_CONFIG"

_PARSERS: dict[str, Callable[[Any], Any]] = {
    "processors": processors,
    "data": values.path,
    "bind": values.parse_address,
    "policy": values.one_of("least-cost", "latency-ratio"),
    "patience_s": values.number(0, 86_400),
    "last_resort_s": values.number(0, 86_400),
    "latency_ceiling_ms": values.number(1, 600_000),
    "attempt_timeout_s": values.number(0.1, 600),
    "max_in_flight": values.whole(1, 10_000),
    "queue_limit": values.whole(1, 1_000_000_000),
    "stop_timeout_s": values.number(0, 600),
    "allow_purge": values.flag,
    "redis_url": values.url("redis", "rediss", "unix"),
    "postgres_url": values.url("postgresql", "postgres"),
    "redis_prefix": values.name,
    "remember_settled": values.whole(1000, 1_000_000_000),
    "poll_s": values.number(0.001, 1),
    "gather_s": values.number(0, 1),
    "allow_unsafe_stores": values.flag,
    "admin_bind": values.admin_address,
    "admin_token": values.secret,
    "api_keys": values.api_keys,
    "rate_limit_per_s": values.number(0, 1_000_000),
    "webhook_url": values.http_url,
    "webhook_secret": values.secret,
    "audit_every_s": values.number(0, 86_400),
    "log_level": values.one_of("debug", "info", "warning", "error"),
    "log_format": values.one_of("auto", "text", "json"),
    "tracing": values.flag,
}

if {field.name for field in fields(Settings)} != set(_PARSERS):
    raise AssertionError("every setting has a parser, and every parser a setting")


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
    parsed: dict[str, Any] = {}
    for name, value in given.items():
        key = name.removeprefix(PREFIX).lower()
        parse = _PARSERS.get(key)
        if parse is None:
            findings.append(_unknown(name))
            continue
        try:
            parsed[key] = parse(value)
        except ValueError as error:
            findings.append(f"{name} {error}")
    if not findings:
        findings = _together(Settings(**parsed))
    if findings:
        raise InvalidSettings(findings)
    return Settings(**parsed)


def _together(settings: Settings) -> list[str]:
    """Return what is wrong with settings that are right one by one."""
    findings = []
    if bool(settings.redis_url) != bool(settings.postgres_url):
        missing = "postgres_url" if settings.redis_url else "redis_url"
        findings.append(f"{PREFIX}{missing.upper()} must be set too: the cluster engine needs Redis and PostgreSQL")
    bind = settings.admin_bind
    if bind is not None and not bind.is_loopback and not settings.admin_token:
        findings.append(
            f"{PREFIX}ADMIN_TOKEN must be set where others can reach the operator's pages, as on {bind}; "
            "`openssl rand -hex 24` makes one"
        )
    if settings.webhook_url and not settings.webhook_secret:
        findings.append(
            f"{PREFIX}WEBHOOK_SECRET must be set too: whoever gets webhooks must be able to tell that they are ours"
        )
    findings += _webhook_secret(settings.webhook_secret)
    return findings


def _webhook_secret(secret: str) -> list[str]:
    if not secret.startswith("whsec_"):
        return []
    try:
        key = a2b_base64(secret.removeprefix("whsec_"), strict_mode=True)
    except ValueError:
        key = b""
    if len(key) >= values.LEAST_SECRET:
        return []
    return [
        f"{PREFIX}WEBHOOK_SECRET must have base64 of {values.LEAST_SECRET} bytes or more after whsec_; "
        "it is not shown; `echo whsec_$(openssl rand -base64 24)` makes one"
    ]


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
