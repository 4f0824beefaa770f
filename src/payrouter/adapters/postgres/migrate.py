"""Bringing a database's tables up to what this version of Payrouter needs.

One file per step in `migrations/`, applied in order, each in a transaction of its own and written down in
`payrouter.migration`. Several may migrate at once: one does it, the others find it done.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from payrouter.adapters.postgres.connection import Access, Connection, open_session, patiently, translated
from payrouter.adapters.postgres.server import examine, require_writable, schema_version

if TYPE_CHECKING:
    from collections.abc import Callable

_LOCK = 0x50617972  # "Payr"
_LOCK_WITHIN = "60s"
_TABLE = """
CREATE TABLE payrouter.migration (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_APPLIED = "INSERT INTO payrouter.migration (version, name) VALUES ($1, $2)"


def migrations() -> list[tuple[int, str, str]]:
    """Return number, name and SQL of every step, in order."""
    folder = resources.files(__package__).joinpath("migrations")
    names = sorted(file.name.removesuffix(".sql") for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(int(name[:4]), name, folder.joinpath(f"{name}.sql").read_text()) for name in names]


async def migrate(url: str, *, within_s: float = 30.0, tell: Callable[[str], None] | None = None) -> list[str]:
    """Apply what is missing and return its names, in order; empty when nothing was.

    Waits up to `within_s` for a server that is still starting. `tell` gets the name of each step before it begins.

    Raises:
        StoreUnavailable: it did not come, or another migration takes longer than a minute.
        StoreMisconfigured: it cannot be used, or its user may not create tables.
        StoreIncompatible: the database is from a newer version, or its schema payrouter is not ours.
    """
    access = Access(url, name="payrouter migrate")

    async def connect(connect_within_s: float) -> Connection:
        # As PostgreSQL comes: a step may take long, and may need plans that the ledger forbids itself.
        return await open_session(access, connect_within_s, lock_timeout=_LOCK_WITHIN, statement_timeout="0")

    connection = await patiently(connect, within_s, per_try_s=access.call_timeout_s)
    try:
        with translated(access):
            return await _migrate(connection, str(access), tell)
    finally:
        connection.terminate()


async def _migrate(connection: Connection, where: str, tell: Callable[[str], None] | None) -> list[str]:
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)  # until the connection ends
    server = await examine(connection, where)
    require_writable(server, where)
    found = await schema_version(connection, server, where)
    missing = [step for step in migrations() if step[0] > found]
    for number, name, sql in missing:
        if tell is not None:
            tell(name)
        async with connection.transaction():
            if number == 1:
                await _begin(connection, server["has_schema"], server["ours"])
            await connection.execute(sql)
            await connection.execute(_APPLIED, number, name)
    return [name for _, name, _ in missing]


async def _begin(connection: Connection, has_schema: bool, has_table: bool) -> None:  # noqa: FBT001 - as found
    # An operator who grants no more than needed creates the schema for us; `IF NOT EXISTS` would want the right too.
    if not has_schema:
        await connection.execute("CREATE SCHEMA payrouter")
    if not has_table:
        await connection.execute(_TABLE)
