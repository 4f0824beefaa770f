"""The link to Redis that everything in a process shares: one pipelined connection, kept up.

It never sends a call a second time: only its caller knows whether that is right.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.address import parse_address
from payrouter.adapters.redis.answers import RedisAnswered
from payrouter.adapters.redis.opening import Attempts, connect
from payrouter.adapters.redis.pipe import Pipe, fail
from payrouter.domain.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.redis.scripts import Script

_log = logging.getLogger("payrouter")
# Beyond this many unanswered calls, Redis is not keeping up and more would only wait longer.
_MOST_WAITING = 10_000


class RedisLink:
    """One connection to Redis, kept up. Calls are written at once, in order, and answered in order.

    For commands that Redis answers at once and exactly once: no SUBSCRIBE, MONITOR or CLIENT REPLY, nothing that blocks
    (everybody's calls would wait behind it), no MULTI (others' calls would fall into it).
    """

    def __init__(
        self, url: str, *, name: str = "payrouter", call_timeout_s: float = 2.0, most_waiting: int = _MOST_WAITING
    ) -> None:
        self._address = parse_address(url)
        self._name = name
        self._call_timeout_s = call_timeout_s
        self._most_waiting = most_waiting
        self._pipe: Pipe | None = None
        self._up_since_s = 0.0
        self.connections = 0
        """How often Redis was connected to. Behind a new connection may be a Redis that was restarted."""
        self._down_because = "not opened yet"
        self._attempts = Attempts()
        self._scripts: dict[str, Script] = {}
        self._reopening: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether calls are being sent."""
        return self._pipe is not None

    async def open(self, within_s: float) -> None:
        """Connect for the first time, trying again for `within_s` seconds; from then on the link keeps itself up.

        Raises:
            StoreUnavailable: if Redis did not serve within that time.
            StoreMisconfigured: at once, if it will not serve us as configured.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while True:
            try:
                await self._connect(max(0.05, min(self._call_timeout_s, deadline_s - loop.time())))
            except StoreUnavailable as error:
                left_s = deadline_s - loop.time()
                if left_s <= 0:
                    raise StoreUnavailable(f"{error}; waited {within_s:g} s, is Redis running there?") from error
                self._attempts.warn(str(error), f"waiting for Redis, {left_s:.0f} s more: {error}")
                await asyncio.sleep(min(self._attempts.next_pause_s(), left_s))
            else:
                return

    def call(self, *args: bytes | str | int) -> asyncio.Future[Any]:
        """Send a command. Its answer is an int, bytes, None or a list of those (simple strings are bytes too).

        Nobody has to wait for the future, and cancelling it does not cancel the call. It fails with:
            StoreUnavailable: not sent (no connection, too many unanswered calls), or Redis said "not now".
            StoreUncertain: sent, but the answer was lost or late.
            StoreMisconfigured: Redis forbids it.
            RedisAnswered: any other error answer.

        Raises:
            TypeError: for an argument of another type; nothing was sent.
        """
        if self._pipe is not None:
            return self._pipe.call(args)
        future = asyncio.get_running_loop().create_future()
        fail(future, StoreUnavailable(f"no connection to Redis at {self._address}: {self._down_because}"))
        return future

    async def eval(self, script: Script, keys: Sequence[str | bytes], args: Sequence[bytes | str | int]) -> Any:
        """Run a script and return its answer. Fails like `call`.

        A Redis that does not know the script has not run anything of it, so it is taught and asked again; one that was
        restarted is taught what it knew before anything is asked. Else a call repeated because its answer was lost
        could be taught, and asked again, behind a later call of somebody else's here.
        """
        self._scripts[script.sha1] = script
        try:
            return await self.call("EVALSHA", script.sha1, len(keys), *keys, *args)
        except RedisAnswered as error:
            if error.code != "NOSCRIPT":
                raise
        await self.call("SCRIPT", "LOAD", script.source)
        return await self.call("EVALSHA", script.sha1, len(keys), *keys, *args)

    async def close(self) -> None:
        """Hang up for good; what still waits for an answer gets StoreUncertain."""
        reopening, self._reopening = self._reopening, None
        if reopening is not None:
            reopening.cancel()
            await asyncio.wait([reopening])
            # One turn for what it was opening to let go of its socket.
            await asyncio.sleep(0)
        pipe, self._pipe = self._pipe, None
        self._down_because = "closed"
        if pipe is not None:
            pipe.end("the link was closed")
            await pipe.gone()

    # -- keeping it up

    async def _connect(self, within_s: float) -> None:
        pipe = Pipe(call_timeout_s=self._call_timeout_s, most_waiting=self._most_waiting, on_end=self._ended)
        try:
            await connect(pipe, self._address, self._name, within_s, list(self._scripts.values()))
        except StoreError as error:
            self._down_because = str(error)
            raise
        self._pipe = pipe
        self.connections += 1
        self._up_since_s = asyncio.get_running_loop().time()

    def _ended(self, pipe: Pipe, reason: str, unanswered: int) -> None:
        """Start to reconnect when it was the connection in use, not one being opened or closed on purpose."""
        if pipe is not self._pipe:
            return
        self._pipe = None
        self._down_because = reason
        loop = asyncio.get_running_loop()
        self._attempts.ended(loop.time() - self._up_since_s)
        self._attempts.warn(
            "lost", f"lost Redis at {self._address}: {reason}; {unanswered} calls are without an answer"
        )
        self._reopening = loop.create_task(self._reopen())

    async def _reopen(self) -> None:
        """Connect again, however long it takes."""
        while True:
            await asyncio.sleep(self._attempts.next_pause_s())
            try:
                await self._connect(self._call_timeout_s)
            except StoreError as error:
                self._attempts.warn(str(error), f"Redis is still away: {error}")
            except Exception:  # noqa: BLE001 - a defect here must not keep the link down for good
                _log.exception("cannot connect to Redis at %s", self._address, extra=fact("store_failed"))
            else:
                _log.info("connected to Redis at %s again", self._address, extra=fact("store_connected"))
                return
