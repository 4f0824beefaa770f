"""What all dispatchers of a cluster, and a restarted one, must agree on; and what they tell each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.health import HealthReport
    from payrouter.domain.lease import Taken, Term
    from payrouter.domain.news import News


class HealthCalls(Protocol):
    """Whose turn it is to ask a processor for its health (I8), kept across restarts and leader changes.

    One clock decides, whoever asks; should it be set back, nobody is silenced for longer than one pause.
    """

    async def reserve(self, processor: str) -> float:
        """Ask for a turn. 0.0: the call is ours, and remembered before it is made; it must leave within
        `LEAVES_WITHIN_S` of now, or not at all. Else the seconds until it is worth asking again.

        Raises:
            StoreUnavailable: if it cannot be remembered; then the call must not be made.
        """
        ...

    async def answered(self, processor: str) -> None:
        """Our call ended just now, with a report or without: the pause counts from here.

        Raises:
            StoreUnavailable: if it cannot be remembered.
        """
        ...


class Lease(Protocol):
    """The right to lead, held by one node at a time, and only while it is renewed."""

    async def acquire(self) -> Term | Taken:
        """Win the lease if it is free, renew it if it is ours.

        Raises:
            StoreUnavailable: if that cannot be found out; a term won before runs on.
        """
        ...

    async def release(self) -> None:
        """Give it up, so that another node can have it at once. Nothing happens when it is not ours.

        Raises:
            StoreUnavailable: if nobody can be told; then it runs out by itself.
        """
        ...


class NewsBoard(Protocol):
    """Where dispatchers hang up what the others should know: of each kind and processor the newest note.

    Nothing is lost by a broken connection but what a newer note has replaced.
    """

    async def post_report(self, processor: str, report: HealthReport) -> bool:
        """Tell a health report that came just now; False, and nothing told, when we do not lead any more.

        Raises:
            StoreUnavailable: if nobody can be told.
        """
        ...

    async def post_hint(self, processor: str, *, up: bool) -> None:
        """Tell that our payments found a processor down, or back.

        Raises:
            StoreUnavailable: if nobody can be told.
        """
        ...

    async def post_purge(self) -> None:
        """Tell that everything was purged just now.

        Raises:
            StoreUnavailable: if nobody can be told.
        """
        ...

    async def post_pause(self, processor: str, *, paused: bool) -> None:
        """Tell that an operator paused a processor, or let it go on; it stays told.

        Raises:
            StoreUnavailable: if nobody can be told.
        """
        ...

    async def news(self) -> list[News]:
        """Return what was told since the last call, in the order told; purges and pauses by everybody, else by others.

        The first call returns the newest report of each processor, its newest hints and pause, however old.

        Raises:
            StoreUnavailable: if the board cannot be read; nothing is missed, ask again.
        """
        ...

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever there may be news, for ever. It may miss some: look at the board now and then."""
        ...
