"""What a Redis promises, looked at before anything is entrusted to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.adapters.redis.answers import RedisAnswered
from payrouter.domain.errors import StoreMisconfigured

if TYPE_CHECKING:
    from payrouter.adapters.redis.connection import RedisLink

_ASKED = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync")


@dataclass(frozen=True, slots=True)
class Promises:
    """Settings of a Redis, empty where it does not tell. `role` is master, slave or sentinel."""

    version: str
    role: str
    config: dict[str, str]

    @property
    def new_enough(self) -> bool:
        """Whether it runs our scripts: they say in their first line that they may run in a full Redis."""
        major = self.version.partition(".")[0]
        return not major.isdecimal() or int(major) >= 7

    def findings(self) -> list[str]:
        """Return why it is no safe place for payments; empty when it is one."""
        config, found = self.config, []
        if not self.new_enough:
            found.append(f"it is version {self.version}; Payrouter needs 7.0 or newer")
        if self.role != "master":
            found.append(f"it is a {self.role}, which takes no writes; name the master in PAYROUTER_REDIS_URL")
        if config.get("appendonly") == "no":
            found.append("it keeps nothing on disk: a restart would lose accepted payments; set appendonly yes")
        if config.get("appendfsync") == "no":
            found.append("it never syncs its log: set appendfsync always, or everysec")
        policy = config.get("maxmemory-policy", "noeviction")
        if policy != "noeviction" and config.get("maxmemory", "0") != "0":
            found.append(f"it evicts when it is full ({policy}): accepted payments would vanish; set noeviction")
        return found

    def in_words(self) -> str:
        """Return what it promises, for people."""
        match self.config.get("appendfsync"):
            case "always":
                kept = "every accepted payment is synced to disk before it is answered"
            case "everysec":
                kept = "synced once a second: a power cut may lose the last one or two"
            case _:
                kept = "it does not tell how it keeps its log"
        return f"Redis {self.version}, {self.role}; {kept}"


async def ask_promises(link: RedisLink) -> Promises:
    """Return what a Redis promises.

    Raises:
        StoreError: if it cannot be asked.
    """
    info = dict(
        line.split(":", 1) for line in (await link.call("INFO")).decode("utf-8", "replace").splitlines() if ":" in line
    )
    config: dict[str, str] = {}
    try:
        for name in _ASKED:
            answer = await link.call("CONFIG", "GET", name)
            config.update({answer[at].decode(): answer[at + 1].decode() for at in range(0, len(answer), 2)})
    except (RedisAnswered, StoreMisconfigured):
        # Hosted ones forbid CONFIG; what INFO says has to do.
        config = {"maxmemory-policy": info.get("maxmemory_policy", ""), "maxmemory": info.get("maxmemory", "0")}
        config["appendonly"] = {"1": "yes", "0": "no"}.get(info.get("aof_enabled", ""), "")
    return Promises(info.get("redis_version", "?"), info.get("role", "?"), config)


async def require_durable(link: RedisLink, *, allow_unsafe: bool) -> Promises:
    """Return what the Redis promises.

    Raises:
        StoreMisconfigured: if it would lose payments, unless that is allowed.
    """
    promises = await ask_promises(link)
    findings = promises.findings()
    may_allow = promises.role == "master" and promises.new_enough
    if findings and not (allow_unsafe and may_allow):
        hint = " (PAYROUTER_ALLOW_UNSAFE_STORES=true takes it all the same)" if may_allow else ""
        raise StoreMisconfigured(f"this Redis is no safe place for payments: {'; '.join(findings)}{hint}")
    return promises
