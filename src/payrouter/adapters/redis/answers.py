"""Error answers of Redis as our errors: one table. Redis starts them with a word in capitals, the code."""

from __future__ import annotations

from payrouter.domain.errors import StoreError, StoreMisconfigured, StoreUnavailable


class RedisAnswered(StoreError):
    """Redis answered with an error that has no meaning for every caller. `code` is its first word."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Redis answered: {text}")
        self.text = text
        self.code = code_of(text)


# Redis answers these before it runs a command, so nothing was written.
_UNAVAILABLE = {
    "OOM": "Redis is full; let the dispatchers catch up or raise its maxmemory",
    "LOADING": "Redis is still reading its data from disk; it will serve when it is done",
    "READONLY": "this Redis is a read-only replica; connect to its primary",
    "MISCONF": "Redis cannot save to its disk and therefore takes no writes; see its log",
    "CLUSTERDOWN": "the Redis cluster is down; see CLUSTER INFO",
    "NOREPLICAS": "Redis has too few replicas to take writes (min-replicas-to-write)",
    "MASTERDOWN": "this Redis is a replica that has lost its primary",
    "TRYAGAIN": "Redis is moving these keys to another node",
    "BUSY": "Redis is busy with a script that has run for too long",
}
_MISCONFIGURED = {
    "WRONGPASS": "Redis refuses this user and password; correct them in the url",
    "NOAUTH": "Redis asks for a password; give it in the url, like redis://user:password@host:port/0",
    "NOPERM": "the Redis user lacks a permission; extend its ACL",
    "DENIED": "Redis runs in protected mode; give it a password or bind it to a safe address",
    "MOVED": "these keys live on another node of a Redis cluster; connect to that node",
    "ASK": "these keys live on another node of a Redis cluster; connect to that node",
}
# These have no code of their own. The first is said to a new connection, which is then closed.
_TOO_MANY_CLIENTS = "ERR max number of clients reached"
_SCRIPT_LACKS_PERMISSION = ("ERR The user executing the script", "ERR ACL failure in script")


def code_of(text: str) -> str:
    """Return the first word of an error answer; empty when there is none."""
    return text.split(" ", 1)[0]


def error_of(text: str) -> StoreError:
    """Return the error that an error answer stands for."""
    code = code_of(text)
    if code in _UNAVAILABLE:
        return StoreUnavailable(f"{_UNAVAILABLE[code]} (it said: {text})")
    if code in _MISCONFIGURED:
        return StoreMisconfigured(f"{_MISCONFIGURED[code]} (it said: {text})")
    if text.startswith(_TOO_MANY_CLIENTS):
        return StoreUnavailable(f"Redis has too many connections; raise its maxclients (it said: {text})")
    if text.startswith(_SCRIPT_LACKS_PERMISSION):
        return StoreMisconfigured(f"{_MISCONFIGURED['NOPERM']} (it said: {text})")
    return RedisAnswered(text)
