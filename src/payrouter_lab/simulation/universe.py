"""Made-up time for several processes at once: each has an event loop of its own, so it can be paused or killed.

No threads, no sockets, no waiting: the earliest timer of all loops is next. What happens at one instant happens in the
order in which it was asked for, so a run is repeated exactly by repeating what it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextvars import Context

START_US = 1_752_582_896_000_000
"""UTC microseconds when simulated time is 0."""

_COMPACT_ABOVE = 4096


class Defect(Exception):
    """Something raised where nothing may: a bug of the product, or of the simulation."""


class Universe:
    """Simulated time. `now_s` starts at 0; `defects` are exceptions that nobody caught."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.defects: list[str] = []
        self.network = NodeLoop(self, "network")  # type: ignore[abstract]
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = 0
        self._cancelled = 0

    # -- for loops

    def soon(self, handle: asyncio.Handle) -> None:
        """Take what is to be done now."""
        self._ready.append(handle)

    def later(self, handle: asyncio.TimerHandle) -> None:
        """Take what is to be done at its time."""
        self._order += 1
        heapq.heappush(self._timers, (handle.when(), self._order, handle))

    def one_cancelled(self) -> None:
        """A timer will not be needed. They are forgotten once they are many."""
        self._cancelled += 1
        if self._cancelled > _COMPACT_ABOVE and self._cancelled * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if not timer[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def take_due_of(self, loop: NodeLoop) -> list[asyncio.Handle]:
        """Take out what was to be done now by one process."""
        mine = [handle for handle in self._ready if _loop_of(handle) is loop]
        for handle in mine:
            self._ready.remove(handle)
        return mine

    # -- for whoever runs it

    def run(self, for_s: float) -> None:
        """Let time pass.

        Raises:
            Defect: if something raised where nothing may.
        """
        until_s = self.now_s + for_s
        while True:
            self._do_what_is_ready()
            if self.defects:
                raise Defect(self.defects[0])
            if not self._timers or self._timers[0][0] > until_s:
                break
            when, _, handle = heapq.heappop(self._timers)
            if handle.cancelled():
                self._cancelled = max(0, self._cancelled - 1)
                continue
            self.now_s = max(self.now_s, when)
            self._ready.append(handle)
        self.now_s = until_s

    def until(self, condition: Callable[[], bool], within_s: float, *, step_s: float = 0.05) -> float | None:
        """Let time pass until something is so; return how long that took, None when it was not so in time."""
        start_s = self.now_s
        while not condition():
            if self.now_s - start_s >= within_s:
                return None
            self.run(step_s)
        return self.now_s - start_s

    def _do_what_is_ready(self) -> None:
        ready = self._ready
        running: NodeLoop | None = None
        try:
            while ready:
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                loop = _loop_of(handle)
                if loop.dead:
                    continue
                if loop.paused:
                    loop.held.append(handle)
                    continue
                if loop is not running:
                    asyncio._set_running_loop(loop)
                    running = loop
                handle._run()
        finally:
            asyncio._set_running_loop(None)


def _loop_of(handle: asyncio.Handle) -> NodeLoop:
    return handle._loop  # type: ignore[attr-defined, no-any-return]


class NodeLoop(asyncio.AbstractEventLoop):
    """One process's event loop. `dead`: nothing of it happens any more; `paused`: what should happen is held."""

    def __init__(self, universe: Universe, name: str) -> None:
        self._universe = universe
        self.name = name
        self.dead = self.paused = False
        self.held: deque[asyncio.Handle] = deque()
        self._burying: deque[asyncio.Handle] | None = None

    def time(self) -> float:
        """Return seconds of simulated time."""
        return self._universe.now_s

    def get_debug(self) -> bool:
        """Return False: nothing here is slow."""
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Do something next."""
        handle = asyncio.Handle(callback, args, self, context)
        if self._burying is None:
            self._universe.soon(handle)
        else:
            self._burying.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Do something at a second of simulated time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if self._burying is None:
            self._universe.later(handle)
        else:
            # Whoever ends waits for nothing any more.
            self._burying.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Do something after some seconds."""
        return self.call_at(self._universe.now_s + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:  # noqa: ARG002 - asyncio calls it
        self._universe.one_cancelled()

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Begin a task."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Remember what nobody caught."""
        if self._burying is None:
            error = context.get("exception")
            self._universe.defects.append(f"{self.name}: {context.get('message')}: {error!r}")

    def is_running(self) -> bool:
        """Return True: it runs whenever something of it does."""
        return True

    def is_closed(self) -> bool:
        """Return whether the process is no more."""
        return self.dead

    # -- life and death of the process

    def pause(self) -> None:
        """Stop the process where it stands, as SIGSTOP does."""
        self.paused = True

    def resume(self) -> None:
        """Let it go on."""
        self.paused = False
        while self.held:
            self._universe.soon(self.held.popleft())

    def kill(self) -> None:
        """End the process without a word, as SIGKILL does: whatever it still does reaches nobody.

        The caller makes sure of that: what a dead process calls outside must fail or be dropped. Not to be called by a
        task of the process itself.
        """
        self.dead = True
        # A task whose next step is already due hears of its end in that step.
        self._burying = deque([*self.held, *self._universe.take_due_of(self)])
        self.held.clear()
        with _running(self):
            # Coroutines are ended here and now; else the collector would do it in the middle of something else.
            while tasks := [task for task in asyncio.all_tasks(self) if not task.done()]:
                for task in tasks:
                    task.cancel()
                self._end_all()

    def _end_all(self) -> None:
        assert self._burying is not None
        while self._burying:
            handle = self._burying.popleft()
            if not handle.cancelled():
                handle._run()


@contextlib.contextmanager
def _running(loop: NodeLoop) -> Iterator[None]:
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)
