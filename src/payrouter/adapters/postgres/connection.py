"""Opening one connection to PostgreSQL, ready for the ledger's statements."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg

from payrouter.adapters.log_lines import fact
from payrouter.adapters.postgres.errors import translate
from payrouter.adapters.postgres.server import examine, require_durable, require_schema, require_writable
from payrouter.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Connection = Any
"""asyncpg's; it has no types."""

T = TypeVar("T")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
"""Between attempts to connect; each pause is twice the one before."""

QUIET_S = 5.0

_log = logging.getLogger("payrouter")

# Every statement of the ledger finds its rows by an index, whatever the window and however large the table. Plans
# are made once per connection, perhaps while the tables are empty: the planner must not choose by their size.
_PLANS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is used. `url` as libpq writes it; a call takes `call_timeout_s` at most.

    `writes`: False for reading only, which a replica is good enough for.
    `trust_settings`: accept a server that may lose what it has committed.
    """

    url: str
    name: str = "payrouter"
    call_timeout_s: float = 2.5
    writes: bool = True
    trust_settings: bool = False

    def __str__(self) -> str:
        """The address, without user and password."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return "PostgreSQL"
        host = parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["its usual place"])[0]
        return f"PostgreSQL at {host}{parts.path}"


@contextmanager
def translated(access: Access) -> Iterator[None]:
    """Raise what PostgreSQL says inside as our errors."""
    try:
        yield
    except Exception as error:
        meaning = translate(error, str(access))
        if meaning is None:
            raise
        raise meaning from error


async def patiently(connect: Callable[[float], Awaitable[T]], within_s: float, *, per_try_s: float) -> T:
    """Return what `connect` gives, trying for `within_s` while the server is away or still starting.

    Says in the log what it waits for, at once and every few seconds.

    Raises:
        StoreUnavailable: it did not come in time.
        StoreMisconfigured, StoreIncompatible: at once; waiting would not help.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + within_s
    pause_s, quiet_until_s = FIRST_PAUSE_S, 0.0
    while True:
        try:
            return await connect(min(per_try_s, max(end_s - loop.time(), pause_s)))
        except StoreUnavailable as error:
            if loop.time() + pause_s >= end_s:
                raise StoreUnavailable(f"{error}; waited {within_s:g} s, is PostgreSQL running there?") from error
            if loop.time() >= quiet_until_s:
                _log.warning("waiting for PostgreSQL: %s", error, extra=fact("waiting_for_store"))
                quiet_until_s = loop.time() + QUIET_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def open_session(access: Access, within_s: float, **session: str) -> Connection:
    """Return a connection to whatever is there; `session` are settings of PostgreSQL.

    Raises:
        StoreUnavailable, StoreMisconfigured: there is none.
    """
    with translated(access):
        try:
            return await asyncpg.connect(
                access.url,
                timeout=within_s,
                server_settings={"application_name": access.name, **session},
                max_cached_statement_lifetime=0,  # prepared once, for as long as the connection lives
            )
        except ValueError as error:
            raise asyncpg.ClientConfigurationError(str(error)) from error


async def open_connection(access: Access, within_s: float) -> tuple[Connection, list[str]]:
    """Return a connection ready for the ledger's statements, and what the operator should know, a line each.

    Raises:
        StoreUnavailable: not now, perhaps later.
        StoreMisconfigured: not without a change of configuration.
        StoreIncompatible: its tables are not those we know.
    """
    session = _PLANS | {
        "default_transaction_isolation": "read committed",
        # We give up by ourselves; this ends on the server what we gave up.
        "statement_timeout": str(int(access.call_timeout_s * 1000)),
    }
    if not access.writes:
        session["default_transaction_read_only"] = "on"
    with translated(access):
        async with asyncio.timeout(within_s):
            connection = await open_session(access, within_s, **session)
            try:
                return connection, await _checked(connection, access)
            except BaseException:
                connection.terminate()
                raise


async def _checked(connection: Connection, access: Access) -> list[str]:
    where = str(access)
    server = await examine(connection, where)
    await require_schema(connection, server, where)
    if not access.writes:
        return []
    require_writable(server, where)
    return await require_durable(connection, server, where, trusted=access.trust_settings)
