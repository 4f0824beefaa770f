"""The way to PostgreSQL: a few connections, opened as needed, and an answer or an error within bounded time.

Nothing here repeats a statement by itself: whoever asked knows whether that is right.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from payrouter.adapters.log_lines import fact
from payrouter.adapters.postgres.connection import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Access,
    Connection,
    open_connection,
    patiently,
)
from payrouter.adapters.postgres.errors import translate
from payrouter.domain.errors import StoreError, StoreUnavailable, StoreUncertain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = logging.getLogger("payrouter")


class PostgresStore:
    """At most `connections` to one database; further calls wait for their turn.

    Connections that break are replaced by the next call. While none can be opened, calls fail at once, but for
    one that tries again after 50 ms, 100 ms and so on up to every second.
    """

    def __init__(self, access: Access, *, connections: int = 2) -> None:
        self._access = access
        self._most = connections
        self._turns = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._said: set[str] = set()
        self._away: str | None = None
        self._pause_s = 0.0
        self._try_again_s = 0.0
        self._trying = False
        self._closed = False

    async def open(self, within_s: float) -> None:
        """Connect, waiting up to `within_s` for a server that is still starting.

        Raises:
            StoreUnavailable: it did not come in time.
            StoreMisconfigured, StoreIncompatible: at once; waiting would not help.
        """
        while len(self._idle) < self._most:
            connection = await patiently(self._connect, within_s, per_try_s=self._access.call_timeout_s)
            self._idle.append(connection)

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Run one statement, which is one transaction, and return its rows.

        Raises:
            StoreUnavailable: it was not run.
            StoreUncertain: it may or may not have been run: no answer came.
        """
        deadline_s = asyncio.get_running_loop().time() + self._access.call_timeout_s
        async with self._connection(deadline_s) as connection:
            return await self._run(connection, deadline_s, sql, values)

    async def _run(self, connection: Connection, deadline_s: float, sql: str, values: tuple[object, ...]) -> list[Any]:
        # Not asyncpg's own timeout: it asks the server to cancel and waits for that, which a stopped one never does.
        timer = asyncio.get_running_loop().call_at(deadline_s, connection.terminate)
        try:
            rows: list[Any] = await connection.fetch(sql, *values)
        except asyncio.CancelledError:
            connection.terminate()
            raise
        except Exception as error:
            meaning = translate(error, str(self._access))
            if meaning is None:
                raise
            if asyncio.get_running_loop().time() >= deadline_s:
                text = f"{self._access} did not answer within {self._access.call_timeout_s:g} s"
                raise StoreUncertain(text) from error
            if connection.is_closed():
                raise StoreUncertain(str(meaning)) from error
            # It could be used before: whatever is wrong now, the caller does well to try again later.
            raise StoreUnavailable(str(meaning)) from error
        finally:
            timer.cancel()
        return rows

    @asynccontextmanager
    async def _connection(self, deadline_s: float) -> AsyncIterator[Connection]:
        await self._turn(deadline_s)
        try:
            connection = await self._take(deadline_s)
            self._busy.add(connection)
            try:
                yield connection
            finally:
                self._busy.discard(connection)
                if self._closed:
                    connection.terminate()
                elif not connection.is_closed():
                    self._idle.append(connection)
        finally:
            self._turns.release()

    async def _turn(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._turns.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"all {self._most} connections to {self._access} are busy") from None

    async def _take(self, deadline_s: float) -> Connection:
        """Return an idle connection, or a new one."""
        if self._closed:
            raise StoreUnavailable(f"the connections to {self._access} were closed")
        while self._idle:
            # The newest: with little to do one connection serves, and the other does not keep two backends warm.
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        now_s = asyncio.get_running_loop().time()
        if self._away is not None and (self._trying or now_s < self._try_again_s):
            raise StoreUnavailable(self._away)
        self._trying = True
        try:
            connection = await self._connect(max(deadline_s - now_s, 0.1))
        except StoreError as error:
            self._away = str(error)
            self._pause_s = min(max(FIRST_PAUSE_S, 2 * self._pause_s), LONGEST_PAUSE_S)
            self._try_again_s = asyncio.get_running_loop().time() + self._pause_s
            # As in `_run`: only at the start is a wrong setting the end.
            raise StoreUnavailable(self._away) from error
        finally:
            self._trying = False
        self._away, self._pause_s = None, 0.0
        return connection

    async def _connect(self, within_s: float) -> Connection:
        connection, notes = await open_connection(self._access, within_s)
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                _log.warning(note, extra=fact("store_note"))
        return connection

    async def close(self) -> None:
        """Let go of all connections; calls under way are broken off."""
        self._closed = True
        for connection in self._busy:
            connection.terminate()
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=1.0)
            except Exception as error:  # noqa: BLE001 - it is gone either way
                _log.debug("closing a connection: %s", error, extra=fact("connection_closed"))
