"""Exactly one dispatcher of a cluster leads, and asks the processors for their health. This is the contest for it.

The lease decides; a leader that cannot renew it in time stops by its own clock, before the lease runs out. Work that
must not be done by two is fenced by the term's token besides: a process that was paused notices too late.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import LeadershipChanged, StoreFailed
from payrouter.domain.lease import RENEW_EVERY_S, Taken, Term

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from payrouter.ports.clock import Clock
    from payrouter.ports.coordination import Lease
    from payrouter.ports.events import EventSink

STORE_RETRY_S = 0.25
RELEASE_WITHIN_S = 0.5


class Leadership:
    """Keeps trying for the lease, and runs `lead()` while it is held and can be trusted. `node` is our name."""

    def __init__(
        self, lease: Lease, lead: Callable[[], Coroutine[Any, Any, None]], node: str, clock: Clock, events: EventSink
    ) -> None:
        self._lease = lease
        self._lead = lead
        self._node = node
        self._clock = clock
        self._events = events
        self._vacant = asyncio.Event()
        self._leading = False

    @property
    def leading(self) -> bool:
        """Whether this node leads now."""
        return self._leading

    def try_now(self) -> None:
        """The lease is said to be free."""
        self._vacant.set()

    async def run(self) -> None:
        """Follow or lead, until cancelled; then give the lease up, so that another leads at once."""
        try:
            while True:
                await self._serve(await self._won())
        finally:
            await self._release()

    async def _won(self) -> Term:
        """Return once the lease is ours."""
        while True:
            self._vacant.clear()
            answer = await self._ask()
            if isinstance(answer, Term):
                return answer
            pause_s = STORE_RETRY_S if answer is None else min(answer.for_s, RENEW_EVERY_S)
            try:
                async with asyncio.timeout(pause_s):
                    await self._vacant.wait()
            except TimeoutError:
                continue

    async def _serve(self, term: Term) -> None:
        """Lead for as long as the lease can be trusted."""
        if self._left_s(term) <= 0:
            return
        self._leading = True
        self._events.publish(LeadershipChanged(self._node, leading=True))
        try:
            async with asyncio.timeout(self._left_s(term)) as trust, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lead())
                tasks.create_task(self._renew(trust))
        except TimeoutError:
            pass  # the trust has run out, or somebody else has the lease
        finally:
            self._leading = False
            self._events.publish(LeadershipChanged(self._node, leading=False))

    async def _renew(self, trust: asyncio.Timeout) -> None:
        pause_s = RENEW_EVERY_S
        while True:
            await asyncio.sleep(pause_s)
            answer = await self._ask()
            pause_s = STORE_RETRY_S if answer is None else RENEW_EVERY_S
            now_s = asyncio.get_running_loop().time()
            if isinstance(answer, Term):
                trust.reschedule(now_s + self._left_s(answer))
            elif answer is not None:
                trust.reschedule(now_s)

    async def _ask(self) -> Term | Taken | None:
        """Try for the lease, or renew it; None when it cannot be known."""
        try:
            # Not for as long as the store may take otherwise: one lost answer must not cost the lease.
            async with asyncio.timeout(RENEW_EVERY_S):
                return await self._lease.acquire()
        except (StoreUnavailable, TimeoutError) as error:
            self._events.publish(StoreFailed("trying for the lease", str(error) or "no answer in time"))
            return None

    def _left_s(self, term: Term) -> float:
        return term.trusted_until_s - self._clock.monotonic_s()

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_WITHIN_S):
                await self._lease.release()
        except (StoreUnavailable, TimeoutError) as error:
            self._events.publish(StoreFailed("giving up the lease", str(error) or "no answer in time"))
