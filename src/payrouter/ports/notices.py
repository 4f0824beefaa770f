"""Notices that wait to be told, and whoever they are told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.notice import Notice


class Notices(Protocol):
    """Notices, written by the engine together with what they tell of; each is told at least once.

    Who ends or puts off a notice does so with the `at_us` it was claimed with: if the same has happened to the payment
    anew since, that is told too. Every method raises `StoreUnavailable` if the store is away.
    """

    async def claim(self, limit: int) -> list[Notice]:
        """Take up to `limit` notices that are due, those due longest first; empty when none is.

        Nobody else is given them for `notice.LEASE_S`; then they are due again, whatever became of the claimer.
        """
        ...

    async def delivered(self, notices: Sequence[Notice]) -> None:
        """Forget claimed notices: they were told, or given up."""
        ...

    async def failed(self, notice: Notice, again_in_s: float) -> None:
        """Make a claimed notice due in so many seconds, with one failed try more."""
        ...

    async def waiting(self) -> tuple[int, int | None]:
        """Return how many there are, claimed ones included, and since when (UTC us) the oldest waits, None for none."""
        ...

    async def trim(self, keep: int) -> int:
        """Give up those due longest until `keep` are left; return how many. Not for ever in one call: call again."""
        ...


class Receiver(Protocol):
    """Who is told."""

    async def post(self, headers: tuple[tuple[str, str], ...], body: bytes) -> str | None:
        """Hand in one message; return None once the receiver has taken it, else what happened instead, in words."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
