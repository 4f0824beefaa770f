"""An event loop whose time jumps to the next timer: a minute of routing is tested in milliseconds, repeatably."""

from __future__ import annotations

import asyncio
import functools
import selectors
from typing import Any, TypeVar

T = TypeVar("T")

START_US = 1_752_582_896_000_000
"""UTC microseconds when virtual time is 0."""


class NothingWillHappen(Exception):
    """Every task waits for something that no timer and no other task will bring."""


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for the next timer, moves the loop's time there."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise NothingWillHappen
        self.loop.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop without sockets and without waiting. `now_s` starts at 0."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now_s


class VirtualClock:
    """`Clock` of the virtual loop that runs."""

    def now_us(self) -> int:
        return START_US + round(self.monotonic_s() * 1_000_000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


def run_virtually(work, *, at_most_s: float = 3600.0):
    """Run a coroutine in virtual time, of which it may take `at_most_s`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(asyncio.wait_for(work, at_most_s))


def virtually(test):
    """Make an async test one that pytest can call: it runs in virtual time."""

    @functools.wraps(test)
    def run(*arguments, **named):
        run_virtually(test(*arguments, **named))

    return run
