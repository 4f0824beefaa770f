"""`Prefer: wait=N` (RFC 7240, 4.3): an answer that waits, for so long, until an accepted payment has its end."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.payment import PaymentState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from payrouter.adapters.http.message import Reply, Request
    from payrouter.domain.ledger import PaymentRecord

LONGEST_S = 10
MOST_WAITERS = 256
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 0.01, 0.1, 1.5
_WAIT = re.compile(rb'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE)
_ENDS = frozenset((PaymentState.SETTLED, PaymentState.DEAD_LETTER))


def asked_wait_s(request: Request) -> int | None:
    """Return for how many seconds a client prefers to wait, `LONGEST_S` at most; None when it says nothing of the kind.

    A preference may be ignored, so what cannot be understood is.
    """
    for name, value in request.headers:
        if name == b"prefer":
            for one in value.split(b","):
                found = _WAIT.fullmatch(one)
                if found is not None:
                    return min(int(found[1]), LONGEST_S)
    return None


class Waiters:
    """Clients that wait for the end of a payment. Bounded in number and time; nothing is kept for one that has gone.

    Looks into the books again and again, less and less often: they are the only place where every engine, and whichever
    process had the payment, tells of its end. `find` reads them; it need not hurry anything into them.
    """

    def __init__(self, find: Callable[[str], Awaitable[PaymentRecord | None]], *, most: int = MOST_WAITERS) -> None:
        self._find = find
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tasks)

    def wait(
        self, correlation_id: str, within_s: float, reply: Reply, answer: Callable[[PaymentRecord | None], None]
    ) -> bool:
        """Call `answer` once with the payment at its end, or None if that is not in time; False if nobody may wait."""
        if self._stopping.is_set() or len(self._tasks) >= self._most:
            return False
        task = asyncio.get_running_loop().create_task(self._wait(correlation_id, within_s, reply, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def let_go(self) -> None:
        """Answer everybody now, and let nobody wait from here on."""
        self._stopping.set()

    async def close(self) -> None:
        """Let everybody go and return once they are answered."""
        self.let_go()
        await asyncio.gather(*self._tasks)

    async def _wait(
        self, correlation_id: str, within_s: float, reply: Reply, answer: Callable[[PaymentRecord | None], None]
    ) -> None:
        record = None
        try:
            record = await self._end_of(correlation_id, within_s, reply)
        except Exception:
            # The payment is durable all the same: the client is told just that.
            logging.getLogger(__name__).exception("waiting for %s failed", correlation_id)
        answer(record)

    async def _end_of(self, correlation_id: str, within_s: float, reply: Reply) -> PaymentRecord | None:
        """Return a payment once it has its end; None when time is up, on a stop, or when the client has gone."""
        loop = asyncio.get_running_loop()
        end_s, pause_s = loop.time() + within_s, FIRST_PAUSE_S
        while True:
            try:
                record = await self._find(correlation_id)
            except StoreUnavailable:
                record = None  # it may be back in time
            if record is not None and record.state in _ENDS:
                return record
            left_s = end_s - loop.time()
            if left_s <= 0 or reply.client_gone or self._stopping.is_set():
                return None
            await self._pause(min(pause_s, left_s))
            pause_s = min(pause_s * GROWTH, LONGEST_PAUSE_S)

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return
