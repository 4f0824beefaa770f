"""News from Redis: one channel, listened to over a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Self

from payrouter.adapters.redis.address import parse_address
from payrouter.adapters.redis.opening import Attempts, connect
from payrouter.adapters.redis.pipe import ErrorAnswer, Pipe
from payrouter.domain.errors import StoreError

_MOST_UNREAD = 1_000
# Redis is asked this often whether it is still there; a connection that was silent for twice as long counts as lost.
_PING_S = 2.0


class Subscription:
    """`async for message in subscription`: what is published on a channel, as bytes, for one reader.

    None comes first, and again whenever messages may have been missed (the connection was lost, the reader was too
    slow): then take a fresh snapshot of what the messages are about. It was subscribed before None is given, so
    nothing is lost between the snapshot and the next message. Ends after `close()`, never by itself.
    """

    def __init__(
        self,
        url: str,
        channel: str | bytes,
        *,
        name: str = "payrouter-news",
        ping_s: float = _PING_S,
        most_unread: int = _MOST_UNREAD,
    ) -> None:
        self._address = parse_address(url)
        self._channel = channel
        self._name = name
        self._ping_s = ping_s
        self._most_unread = most_unread
        self._attempts = Attempts()
        self._pipe: Pipe | None = None
        self._up_since_s = 0.0
        self._unread: deque[bytes | None] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._pinger: asyncio.TimerHandle | None = None
        self._silent_pings = 0
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | None:
        while True:
            if self._closed:
                raise StopAsyncIteration
            if self._unread:
                return self._unread.popleft()
            # Whoever waits for news does the connecting: no task of ours could be left behind.
            if self._pipe is None:
                await self._woken(self._attempts.next_pause_s())
                if not self._closed:
                    await self._connect()
            else:
                await self._woken(None)

    async def close(self) -> None:
        """Hang up for good; the reader's loop ends."""
        self._closed = True
        self._unread.clear()
        self._rouse()
        pipe = self._pipe
        if pipe is not None:
            pipe.end("the subscription was closed")
            await pipe.gone()

    # -- waiting

    async def _woken(self, within_s: float | None) -> None:
        """Return when there is something new, or after `within_s`."""
        self._wake = asyncio.get_running_loop().create_future()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake, within_s)
        finally:
            self._wake = None

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # -- the connection

    async def _connect(self) -> None:
        """Connect and ask for the channel, once; a failure is only logged."""
        self._pipe = pipe = Pipe(
            call_timeout_s=self._ping_s, most_waiting=10, on_end=self._ended, on_push=self._received
        )
        try:
            await connect(pipe, self._address, self._name, self._ping_s)
        except StoreError as error:
            if not self._closed:
                self._attempts.warn(str(error), f"no news from Redis: {error}")
            return
        self._up_since_s = asyncio.get_running_loop().time()
        # Not a call: the answer takes its place in the order of messages, so that None cannot come after one of them.
        pipe.send("SUBSCRIBE", self._channel)
        self._silent_pings = 0
        self._ping()

    def _ping(self) -> None:
        """Ask whether Redis is still there, and end a connection that was silent for two questions."""
        if self._pipe is None:
            return
        if self._silent_pings >= 2:
            self._pipe.end(f"silent for {2 * self._ping_s:g} s")
            return
        self._silent_pings += 1
        self._pipe.send("PING")
        self._pinger = asyncio.get_running_loop().call_later(self._ping_s, self._ping)

    def _received(self, answer: Any) -> None:
        self._silent_pings = 0
        match answer:
            case [b"message", _, message]:
                self._remember(message)
            case [b"subscribe", *_]:
                self._remember(None)
            case ErrorAnswer() if self._pipe is not None:
                self._pipe.end(f"Redis refuses the channel: {answer}")

    def _remember(self, message: bytes | None) -> None:
        if message is None or len(self._unread) >= self._most_unread:
            # What was not read yet is part of the snapshot that None asks for.
            self._unread.clear()
            message = None
        self._unread.append(message)
        self._rouse()

    def _ended(self, pipe: Pipe, reason: str, _unanswered: int) -> None:
        if pipe is not self._pipe:
            return
        self._pipe = None
        if self._pinger is None:
            return  # it had never been opened: the reader sees that for itself
        self._pinger.cancel()
        self._pinger = None
        self._attempts.ended(asyncio.get_running_loop().time() - self._up_since_s)
        if not self._closed:
            self._attempts.warn(reason, f"lost the news of Redis at {self._address}: {reason}")
        self._rouse()
