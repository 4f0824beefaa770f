"""Notices in memory: for unit tests and simulations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from payrouter.domain.notice import LEASE_S, Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.payment import PaymentState
    from payrouter.ports.clock import Clock


@dataclass(slots=True)
class _Row:
    notice: Notice
    due_us: int


class MemoryNotices:
    """`Notices` over one dict."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, PaymentState], _Row] = {}

    def note(self, event: PaymentState, correlation_id: str, at_us: int) -> None:
        """Write a notice, in the place of an earlier one of the same."""
        self._rows[correlation_id, event] = _Row(Notice(correlation_id, event, at_us), at_us)

    def clear(self) -> None:
        """Everything was purged."""
        self._rows.clear()

    async def claim(self, limit: int) -> list[Notice]:
        """Take up to `limit` notices that are due, those due longest first."""
        now_us = self._clock.now_us()
        due = sorted((one for one in self._rows.values() if one.due_us <= now_us), key=lambda one: one.due_us)
        claimed = due[: max(limit, 0)]
        for row in claimed:
            row.due_us = now_us + round(LEASE_S * 1_000_000)
        return [row.notice for row in claimed]

    def _row(self, notice: Notice) -> _Row | None:
        row = self._rows.get((notice.correlation_id, notice.event))
        return row if row is not None and row.notice.at_us == notice.at_us else None

    async def delivered(self, notices: Sequence[Notice]) -> None:
        """Forget claimed notices: they were told, or given up."""
        for notice in notices:
            if self._row(notice) is not None:
                del self._rows[notice.correlation_id, notice.event]

    async def failed(self, notice: Notice, again_in_s: float) -> None:
        """Make a claimed notice due in so many seconds, with one failed try more."""
        row = self._row(notice)
        if row is not None:
            row.notice = replace(row.notice, tries=row.notice.tries + 1)
            row.due_us = self._clock.now_us() + round(again_in_s * 1_000_000)

    async def waiting(self) -> tuple[int, int | None]:
        """Return how many there are, and since when (UTC us) the oldest waits."""
        return len(self._rows), min((row.notice.at_us for row in self._rows.values()), default=None)

    async def trim(self, keep: int) -> int:
        """Give up those due longest until `keep` are left; return how many."""
        longest = sorted(self._rows, key=lambda key: self._rows[key].due_us)[: max(len(self._rows) - keep, 0)]
        for key in longest:
            del self._rows[key]
        return len(longest)
