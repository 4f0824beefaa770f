"""What must be true of a server and its schema before the ledger uses them."""

from __future__ import annotations

from typing import Any

from payrouter.domain.errors import StoreIncompatible, StoreMisconfigured

SCHEMA_VERSION = 1
"""The newest migration, which this version of Payrouter needs; it knows none beyond."""

OLDEST_SERVER = 130000
"""PostgreSQL 13: from it on vacuum also comes to tables that only grow."""

_SERVER = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       current_setting('fsync')::boolean AND current_setting('full_page_writes')::boolean AS safe,
       current_setting('synchronous_commit') AS synchronous_commit,
       to_regclass('payrouter.migration') IS NOT NULL AS ours,
       to_regnamespace('payrouter') IS NOT NULL AS has_schema,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('payrouter')) AS has_tables,
       ARRAY(SELECT relname::text FROM pg_class
              WHERE relnamespace = to_regnamespace('payrouter') AND relkind = 'r' AND relpersistence <> 'p'
              ORDER BY relname) AS unlogged
"""
_VERSION = "SELECT coalesce(max(version), 0) FROM payrouter.migration"


async def examine(connection: Any, where: str) -> Any:
    """Return what a server says of itself: the columns of `_SERVER`.

    Raises:
        StoreMisconfigured: if it is too old.
    """
    server = await connection.fetchrow(_SERVER)
    if server["version_number"] < OLDEST_SERVER:
        raise StoreMisconfigured(f"{where} is version {server['version']}; Payrouter needs 13 or newer")
    return server


def require_writable(server: Any, where: str) -> None:
    """Raise `StoreMisconfigured` for a replica, or a server that is set to be only read."""
    if server["read_only"]:
        advice = "PAYROUTER_POSTGRES_URL must lead to the primary, and the user be allowed to write"
        raise StoreMisconfigured(f"{where} can only be read (a replica, or default_transaction_read_only); {advice}")


async def schema_version(connection: Any, server: Any, where: str) -> int:
    """Return the newest migration that was applied; 0 for none.

    Raises:
        StoreIncompatible: if there is a schema of our name that is not ours, or one from a newer version.
    """
    if not server["ours"]:
        if server["has_tables"]:
            raise StoreIncompatible(f"{where} has a schema payrouter that is not ours; choose another database")
        return 0
    found = int(await connection.fetchval(_VERSION))
    if found > SCHEMA_VERSION:
        raise StoreIncompatible(
            f"{where} is from a newer Payrouter: schema version {found}, we know {SCHEMA_VERSION}; update Payrouter"
        )
    return found


async def require_schema(connection: Any, server: Any, where: str) -> None:
    """Raise `StoreIncompatible` unless the tables are those we know."""
    found = await schema_version(connection, server, where)
    if found < SCHEMA_VERSION:
        has = f"schema version {found}" if found else "no tables of Payrouter yet"
        raise StoreIncompatible(f"{where} has {has}, version {SCHEMA_VERSION} is needed; run payrouter migrate")


async def require_durable(connection: Any, server: Any, where: str, *, trusted: bool) -> list[str]:
    """Make sure that what is committed stays: a payment leaves the queue once it is in the ledger (I3).

    `synchronous_commit` is turned on for the connection. Returns what the operator should know, a line each;
    with `trusted` also what may lose payments.

    Raises:
        StoreMisconfigured: if the server may lose payments and is not trusted.
    """
    lossy = [] if server["safe"] else ["fsync or full_page_writes is off"]
    lossy += [f"table {name} is unlogged" for name in server["unlogged"]]
    if lossy and not trusted:
        advice = "correct that, or allow it by PAYROUTER_ALLOW_UNSAFE_STORES"
        raise StoreMisconfigured(f"{where} may lose settled payments in a crash: {', '.join(lossy)}; {advice}")
    notes: list[str] = []
    if server["synchronous_commit"] == "off":
        if trusted:
            lossy.append("synchronous_commit is off")
        else:
            await connection.execute("SET synchronous_commit = on")
            notes.append(f"synchronous_commit is off on {where}; the ledger turns it on for its own connections")
    if lossy:
        notes.append(f"{where} may lose settled payments in a crash: {', '.join(lossy)}")
    return notes
