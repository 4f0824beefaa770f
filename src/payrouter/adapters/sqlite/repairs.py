"""Writing proven charges into the file from outside the router, whether or not one runs."""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from payrouter.adapters.sqlite.books import open_existing
from payrouter.adapters.sqlite.ledger import settle, settle_waiting
from payrouter.adapters.sqlite.rows import ProcessorIds
from payrouter.adapters.sqlite.store import translated

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from payrouter.domain.ledger import Settlement

    Write = Callable[[sqlite3.Connection, Mapping[str, int], Sequence[Settlement]], list[bool]]


class SqliteRepairs:
    """`ChargeWriter` on a data file. Each call is a transaction on a connection of its own, on a thread.

    A router that runs on the file waits meanwhile, and finds what was settled as it was written: its intents and
    outcomes are written under conditions on the payment's row. With `notices` on it writes one of each payment settled.
    """

    def __init__(self, path: Path, *, notices: bool = False) -> None:
        self._path = path
        self._notices = notices

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges whose attempts stand, in the dead letters too."""
        return await asyncio.to_thread(self._write, partial(settle, notices=self._notices), settlements)

    async def settle_waiting(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Write charges of payments that wait and of which no attempt stands."""
        return await asyncio.to_thread(self._write, partial(settle_waiting, notices=self._notices), settlements)

    def _write(self, write: Write, settlements: Sequence[Settlement]) -> list[bool]:
        with closing(open_existing(self._path, read_only=False)) as connection, translated(self._path):
            connection.execute("BEGIN IMMEDIATE")
            names = tuple({one.intent.processor for one in settlements})
            written = write(connection, ProcessorIds(connection, names).by_name, settlements)
            connection.execute("COMMIT")
        return written
