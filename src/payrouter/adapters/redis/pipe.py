"""One connection to Redis, from its first byte to its last: calls go out at once, answers come back in order.

A pipe is never mended: answers are matched to calls by their order alone, so after a lost or late answer nothing that
still comes could be trusted. It ends then, and its owner opens another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import hiredis

from payrouter.adapters.redis.answers import code_of, error_of
from payrouter.domain.errors import StoreError, StoreMisconfigured, StoreUnavailable, StoreUncertain

if TYPE_CHECKING:
    from collections.abc import Callable

# A call is late after this many sweeps. Counting sweeps instead of seconds forgives a pause of our own process: its
# answers are there when it goes on, but a clock would have run out.
_SWEEPS = 8
# A replica says these.
_DEMOTED = frozenset({"READONLY", "MASTERDOWN"})


class ErrorAnswer(Exception):
    """An error inside an answer, as the parser hands it over. Its text is that of Redis."""


class Pipe(asyncio.Protocol):
    """One connection, made for one event loop.

    `on_end` is called once, when it is of no use any more, with the pipe, the reason and how many calls are left
    without an answer. `on_push` gets what comes without a call having been made: messages of a subscription.
    """

    __slots__ = (
        "_gone",
        "_loop",
        "_marks",
        "_most",
        "_on_end",
        "_on_push",
        "_reader",
        "_sent",
        "_sweep",
        "_sweep_s",
        "_transport",
        "_unwritten",
        "_waiting",
        "ended",
        "fault",
        "reason",
    )

    def __init__(
        self,
        *,
        call_timeout_s: float,
        most_waiting: int,
        on_end: Callable[[Pipe, str, int], None],
        on_push: Callable[[Any], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(replyError=ErrorAnswer, notEnoughData=_MORE)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._most = most_waiting
        self._unwritten: list[bytes] = []
        self._sent = 0
        # How many calls had been sent at each of the last sweeps, oldest first.
        self._marks: deque[int] = deque(maxlen=_SWEEPS)
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_s = call_timeout_s / _SWEEPS
        self._on_end = on_end
        self._on_push = on_push
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.ended = False
        # What Redis, or whatever is there, said of itself when it was not asked.
        self.fault: StoreError | None = None
        self.reason = ""

    # -- calls

    def call(self, args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Send a command; the future gets its answer.

        Raises:
            TypeError: for an argument that is no bytes, str or int.
            ValueError: without arguments: Redis would not answer that.
        """
        if not args:
            raise ValueError("a call needs a command")
        data = hiredis.pack_command(args)
        future = self._loop.create_future()
        if self.ended or self._transport is None:
            fail(future, StoreUnavailable("the connection to Redis is closed"))
        elif len(self._waiting) >= self._most:
            fail(future, StoreUnavailable(f"{self._most} calls to Redis wait for their answers already"))
        else:
            self._waiting.append(future)
            self._sent += 1
            if len(self._waiting) == 1:
                self._transport.write(data)
            else:
                self._write_soon(data)
            if self._sweep is None:
                self._sweep = self._loop.call_later(self._sweep_s, self._look_for_late)
        return future

    def _write_soon(self, data: bytes) -> None:
        """Write together what is called for in one turn of the loop.

        Only while Redis owes us answers: it is busy with another call anyway, and a lone call does not wait.
        """
        if not self._unwritten:
            self._loop.call_soon(self._write_unwritten)
        self._unwritten.append(data)

    def _write_unwritten(self) -> None:
        data, self._unwritten = b"".join(self._unwritten), []
        if self._transport is not None and not self.ended:
            self._transport.write(data)

    def send(self, *args: Any) -> None:
        """Send a command whose answer goes to `on_push`."""
        if self._transport is not None and not self.ended:
            self._transport.write(hiredis.pack_command(args))

    def _look_for_late(self) -> None:
        """End the pipe when a call got no answer in time: 1 to 1.13 times the timeout after it was sent."""
        self._sweep = None
        if not self._waiting:
            return
        if len(self._marks) == self._marks.maxlen and self._sent - len(self._waiting) < self._marks[0]:
            self.end(f"no answer within {self._sweep_s * _SWEEPS:g} s")
            return
        self._marks.append(self._sent)
        self._sweep = self._loop.call_later(self._sweep_s, self._look_for_late)

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if self.ended:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Give answers to the calls they belong to: the oldest that waits."""
        if self.ended:
            return
        demoted = False
        waiting, gets = self._waiting, self._reader.gets
        try:
            self._reader.feed(data)
            while (answer := gets()) is not _MORE:
                if not waiting:
                    self._unasked(answer)
                    continue
                future = waiting.popleft()
                # Cancelled when its caller gave up: the answer is dropped, but it had to be matched.
                if future.done():
                    continue
                if type(answer) is ErrorAnswer:
                    fail(future, error_of(str(answer)))
                    demoted = demoted or code_of(str(answer)) in _DEMOTED
                else:
                    future.set_result(answer)
        except hiredis.ProtocolError:
            self.fault = StoreMisconfigured(f"this is not Redis but says {data[:60]!r}; check the address")
            self.end(str(self.fault))
        if demoted:
            # After a failover the address may lead to the new primary, but only for a new connection.
            self.end("this Redis is a replica")

    def _unasked(self, answer: Any) -> None:
        if self._on_push is not None:
            self._on_push(answer)
        elif type(answer) is ErrorAnswer:
            # Said before it hangs up, for example on one client too many.
            self.fault = error_of(str(answer))
            self.end(str(self.fault))
        else:
            raise hiredis.ProtocolError("an answer without a call")

    def eof_received(self) -> None:
        """Redis sends nothing more, so nothing can be answered any more."""
        self.end("closed by Redis")

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport let go of its socket."""
        self.end(f"connection lost ({exc or 'closed'})")
        if not self._gone.done():
            self._gone.set_result(None)

    # -- the end

    def end(self, reason: str) -> None:
        """Hang up. What waits for an answer gets StoreUncertain. Again: nothing."""
        if self.ended:
            return
        self.ended = True
        self.reason = reason
        if self._sweep is not None:
            self._sweep.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                fail(future, StoreUncertain(f"Redis may or may not have done this: {reason}; repeat it"))
        self._on_end(self, reason, len(waiting))

    async def gone(self) -> None:
        """Wait until the transport let go of its socket."""
        if self._transport is not None:
            await asyncio.wait([self._gone], timeout=1.0)


def fail(future: asyncio.Future[Any], error: StoreError) -> None:
    """Fail a future that nobody may be waiting for.

    asyncio reports errors nobody looked at. What passes by itself needs no such line for every call it struck.
    """
    future.set_exception(error)
    if isinstance(error, StoreUnavailable):
        future.exception()


_MORE = object()
