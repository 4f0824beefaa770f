"""The news board in Redis: notes in the hash `board`, and a channel that says when to look at it.

The notes are what counts; a message that got lost delays them until the next look. Ages are differences of Redis'
clock, taken at the look: the clocks of two hosts never meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.adapters.redis.lease import VACANT
from payrouter.adapters.redis.scripts import load_script
from payrouter.domain.health import HealthReport
from payrouter.domain.news import HintNews, PauseNews, PurgeNews, ReportNews, VacancyNews

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys
    from payrouter.adapters.redis.lease import RedisLease
    from payrouter.adapters.redis.subscription import Subscription
    from payrouter.domain.news import News
    from payrouter.ports.clock import Clock

_POST = load_script("leader", "post_news")
_READ = load_script("leader", "read_news")
_LOOK = b"look"


class RedisNewsBoard:
    """`NewsBoard` of one process; `subscription` listens to `keys.news`."""

    def __init__(
        self, link: RedisLink, subscription: Subscription, keys: Keys, lease: RedisLease, clock: Clock
    ) -> None:
        self._link = link
        self._subscription = subscription
        self._keys = keys
        self._lease = lease
        self._clock = clock
        self._seen: int | None = None
        self._vacant = False

    async def post_report(self, processor: str, report: HealthReport) -> bool:
        """Tell a health report; False when we do not lead any more."""
        says = f"{int(report.failing)} {report.min_response_ms}"
        return await self._post(f"report:{processor}", says, self._lease.token)

    async def post_hint(self, processor: str, *, up: bool) -> None:
        """Tell that our payments found a processor down, or back."""
        # Two notes: who says "down" does not hide who says "back".
        await self._post(f"{'up' if up else 'down'}:{processor}", "-")

    async def post_purge(self) -> None:
        """Tell that everything was purged just now."""
        await self._post("purge", "-")

    async def post_pause(self, processor: str, *, paused: bool) -> None:
        """Tell that an operator paused a processor, or let it go on."""
        await self._post(f"pause:{processor}", str(int(paused)))

    async def _post(self, about: str, says: str, *token: int) -> bool:
        keys = self._keys
        arguments: list[bytes | str | int] = [self._lease.node, about, says, keys.news, _LOOK, *token]
        return bool(await self._link.eval(_POST, [keys.leader, keys.board], arguments))

    async def news(self) -> list[News]:
        """Return what was told since the last call, in the order told."""
        asked_s = self._clock.monotonic_s()
        now_us, *pairs = await self._link.eval(_READ, [self._keys.board], [])
        board = dict(zip(pairs[::2], pairs[1::2], strict=True))
        number = int(board.pop(b"number", 0))
        notes = sorted(_note(about.decode(), text) for about, text in board.items())
        first, seen = self._seen is None, self._seen or 0
        self._seen = number
        news: list[News] = []
        for note in notes:
            # A board whose numbers start from the beginning has lost its notes: those it has are new.
            if note.number > seen or seen > number:
                # Counted from when we asked: rather too old than too young.
                made_s = asked_s - max(0, int(now_us) - note.at_us) / 1_000_000
                news.extend(self._told(note, made_s, first=first))
        if self._vacant:
            self._vacant = False
            news.append(VacancyNews())
        return news

    def _told(self, note: _Note, made_s: float, *, first: bool) -> Iterator[News]:
        kind, _, processor = note.about.partition(":")
        ours = note.by == self._lease.node
        match kind:
            case "report" if not ours:
                failing, min_response_ms = note.says.split()
                yield ReportNews(processor, HealthReport(failing == "1", int(min_response_ms)), made_s)
            case "up" | "down" if not ours:
                yield HintNews(processor, kind == "up", made_s)
            case "pause":
                yield PauseNews(processor, note.says == "1")
            case "purge" if not first:
                yield PurgeNews(made_s)

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever there may be news, for ever, but once only: the subscription ends with it."""
        try:
            async for message in self._subscription:
                if message == VACANT:
                    self._vacant = True
                heard()
        finally:
            await self._subscription.close()


@dataclass(frozen=True, slots=True, order=True)
class _Note:
    number: int
    at_us: int
    by: str
    about: str
    says: str


def _note(about: str, text: bytes) -> _Note:
    number, at_us, by, says = text.decode().split(" ", 3)
    return _Note(int(number), int(at_us), by, about, says)
