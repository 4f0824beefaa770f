"""What an operator can choose, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payrouter.domain.processor import Processor


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: `host:port` or `unix:/path`."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.path}" if self.path else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A client of the public API: its name for people, and the SHA-256 of its key."""

    name: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can choose. Names in the environment: PAYROUTER_ and the field in capitals.

    `redis_url` and `postgres_url` together choose the cluster engine; without them it is the SQLite file.
    `redis_prefix`: what this installation's keys begin with, so that several can share a Redis.
    `remember_settled`: how many settled payments Redis still knows, for telling a repeat at once.
    `poll_s`: how often a dispatcher looks for new payments when there are none.
    `gather_s`: how long outcomes gather before they are written in one batch.
    `allow_unsafe_stores`: accept a Redis that evicts or keeps nothing on disk, or a PostgreSQL without fsync.

    `processors`: JSON list of name, url, fee (a decimal), and optionally admin_token and headers.
    `data`: the SQLite file. `bind`: where the public API listens. `policy`: least-cost or latency-ratio.
    `patience_s`: how long payments may wait for the end of an outage of a cheaper processor, from its beginning.
    `last_resort_s`: the age from which a payment goes to a slow processor when no other is left.
    `latency_ceiling_ms`: above it a processor counts as slow and is passed over.
    `attempt_timeout_s`: after it an attempt's outcome is unknown and the payment is pinned.
    `max_in_flight`: most attempts under way per processor; the adaptive limit stays below.
    `queue_limit`: most payments waiting before new ones are answered 503.
    `stop_timeout_s`: how long a graceful stop waits for what is in flight.
    `allow_purge`: whether POST /purge-payments empties everything.

    `admin_bind`: where dashboard, metrics and the operator's API listen, None for nowhere. `admin_token`: what an
    operator signs in with; needed wherever that is not loopback.
    `api_keys`: who may use the public API; everybody when empty. `rate_limit_per_s`: payments per second of one client
    at one process; 0 for no limit.
    `webhook_url`: who is told of each settled payment and each dead letter; nobody when empty. `webhook_secret`: what
    such messages are signed with.
    `audit_every_s`: how often the operator's process holds the books against the processors'; 0 for never.
    `log_level`: debug, info, warning or error. `log_format`: text, json, or auto (text on a terminal).
    `tracing`: whether spans are exported with OpenTelemetry.
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
    redis_url: str = field(default="", repr=False)
    postgres_url: str = field(default="", repr=False)
    redis_prefix: str = "payrouter"
    remember_settled: int = 1_000_000
    poll_s: float = 0.02
    gather_s: float = 0.02
    allow_unsafe_stores: bool = False
    admin_bind: Address | None = Address("127.0.0.1", 8080)
    admin_token: str = field(default="", repr=False)
    api_keys: tuple[ApiKey, ...] = ()
    rate_limit_per_s: float = 0.0
    webhook_url: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    audit_every_s: float = 60.0
    log_level: str = "info"
    log_format: str = "auto"
    tracing: bool = False

    @property
    def clustered(self) -> bool:
        """True for the cluster engine."""
        return bool(self.redis_url)
