"""The processor's admission rules: so many payments at once, one health call per window.

Pure: time is an argument.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Caller = TypeVar("Caller")


class Admission(Enum):
    """What becomes of a caller: goes on at once, waits for its turn, or is sent away (`429`)."""

    NOW = "now"
    WAITS = "waits"
    REFUSED = "refused"


class ConcurrencyLimiter(Generic[Caller]):
    """At most `running_limit` callers at once; `waiting_limit` more wait, first come first served."""

    def __init__(self, running_limit: int, waiting_limit: int) -> None:
        self.running = 0
        self._running_limit = running_limit
        self._waiting_limit = waiting_limit
        self._waiting: deque[Caller] = deque()

    @property
    def waiting(self) -> int:
        """How many callers wait for a place."""
        return len(self._waiting)

    def admit(self, caller: Caller) -> Admission:
        """Let a caller run, wait or go."""
        if self.running < self._running_limit:
            self.running += 1
            return Admission.NOW
        if len(self._waiting) < self._waiting_limit:
            self._waiting.append(caller)
            return Admission.WAITS
        return Admission.REFUSED

    def release(self) -> Caller | None:
        """Give back one caller's place; return who has it now, None when nobody waits."""
        if self._waiting:
            return self._waiting.popleft()
        self.running -= 1
        return None


class HealthWindow(Generic[Caller]):
    """One caller per fixed window of `window_s`; `waiting_limit` more are held until a coming window.

    The windows follow one another from the first call on, whether or not anybody calls (as in .NET's
    FixedWindowRateLimiter): two calls may be close together when a window's end lies between them.
    """

    def __init__(self, window_s: float, waiting_limit: int = 2) -> None:
        self._window_s = window_s
        self._waiting_limit = waiting_limit
        self._held: deque[Caller] = deque()
        self._opened_s: float | None = None
        self._spent = -1

    def arrive(self, caller: Caller, now_s: float) -> Admission:
        """Let a caller go on, hold it until `renewal_s`, or refuse it."""
        if self._opened_s is None:
            self._opened_s = now_s
        current = self._window(now_s)
        if current > self._spent and not self._held:
            self._spent = current
            return Admission.NOW
        if len(self._held) < self._waiting_limit:
            self._held.append(caller)
            return Admission.WAITS
        return Admission.REFUSED

    def renew(self, now_s: float) -> Caller | None:
        """Return the held caller whom the current window serves, oldest first; None if there is none."""
        current = self._window(now_s)
        if not self._held or current <= self._spent:
            return None
        self._spent = current
        return self._held.popleft()

    def renewal_s(self) -> float | None:
        """Return when `renew` will serve a held caller; None when none is held."""
        if not self._held or self._opened_s is None:
            return None
        return self._opened_s + (self._spent + 1) * self._window_s

    def forget(self, gone: Callable[[Caller], bool]) -> None:
        """Drop the held callers who have hung up: they take no window."""
        self._held = deque(caller for caller in self._held if not gone(caller))

    def _window(self, now_s: float) -> int:
        return int((now_s - (self._opened_s or 0.0)) / self._window_s)
