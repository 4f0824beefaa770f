"""What dispatchers of a cluster tell each other, and what each makes of it. News never proves anything: payments do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from payrouter.domain.board import Standing
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import ProcessorPaused, StandingChanged, StoreFailed
from payrouter.domain.news import HINT_FRESH_S, HintNews, PauseNews, PurgeNews, ReportNews, VacancyNews

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.board import ProcessorBoard
    from payrouter.domain.events import Event
    from payrouter.domain.news import News
    from payrouter.ports.clock import Clock
    from payrouter.ports.coordination import NewsBoard
    from payrouter.ports.events import EventSink

LOOK_EVERY_S = 1.0
"""The board is looked at this often even when nobody calls."""

BETWEEN_HINTS_S = 0.25
"""Per processor: whatever flutters here, the others hear of it so often at most."""


class NewsReader:
    """Brings what the others tell onto our boards.

    `on_change` is called when a board may have changed; `on_purge` gets the monotonic second before which everything
    sent is no more; `on_vacancy` is called when there is no leader.
    """

    def __init__(  # noqa: PLR0913 - one callback per kind of news
        self,
        news: NewsBoard,
        boards: dict[str, ProcessorBoard],
        clock: Clock,
        events: EventSink,
        *,
        on_change: Callable[[], None],
        on_purge: Callable[[float], None],
        on_vacancy: Callable[[], None],
    ) -> None:
        self._news = news
        self._boards = boards
        self._clock = clock
        self._events = events
        self._on_change = on_change
        self._on_purge = on_purge
        self._on_vacancy = on_vacancy
        self._heard = asyncio.Event()

    async def run(self) -> None:
        """Read, for ever: what already hangs there first."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._news.listen(self._heard.set))
            while True:
                self._heard.clear()
                await self._look()
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._heard.wait()
                except TimeoutError:
                    continue

    async def _look(self) -> None:
        try:
            news = await self._news.news()
        except StoreUnavailable as error:
            self._events.publish(StoreFailed("reading the others' news", str(error)))
            return
        for one in news:
            self._apply(one)
        if news:
            self._on_change()

    def _apply(self, one: News) -> None:
        match one:
            case ReportNews(processor, report, made_s):
                board = self._boards.get(processor)  # another node's configuration may be newer than ours
                if board is not None:
                    board.reported(report, made_s)
            case HintNews(processor, up, made_s):
                now_s = self._clock.monotonic_s()
                board = self._boards.get(processor)
                if board is not None and now_s - made_s < HINT_FRESH_S:
                    board.told(now_s, up=up)
            case PauseNews(processor, paused):
                board = self._boards.get(processor)
                if board is not None and board.paused is not paused:
                    board.paused = paused
                    self._events.publish(ProcessorPaused(processor, paused))
            case PurgeNews(made_s):
                self._on_purge(made_s)
            case VacancyNews():
                self._on_vacancy()
            case _:
                assert_never(one)


class HintTeller:
    """Tells the others what our payments found out: give it to the dispatcher as its `EventSink`.

    Every event goes on to `events`. Only what our own payments showed is told, so no rumour comes back as news.
    """

    def __init__(self, news: NewsBoard, boards: dict[str, ProcessorBoard], clock: Clock, events: EventSink) -> None:
        self._news = news
        self._boards = boards
        self._clock = clock
        self._events = events
        self._down: set[str] = set()
        self._untold: dict[str, tuple[bool, float]] = {}
        self._told_down: set[str] = set()
        self._next_s: dict[str, float] = {}
        self._wake = asyncio.Event()

    def publish(self, event: Event) -> None:
        """Pass a fact on, and note what the others should know of it."""
        self._events.publish(event)
        if isinstance(event, StandingChanged):
            self._changed(event.processor, Standing(event.after))

    def _changed(self, processor: str, standing: Standing) -> None:
        match standing:
            case Standing.DOWN:
                self._down.add(processor)
                if processor not in self._told_down and self._boards[processor].breaker.first_hand:
                    self._note(processor, up=False)
            case Standing.USABLE | Standing.FULL | Standing.SLOW if processor in self._down:
                # The breaker is closed again, and nothing but an own payment closes it.
                self._down.discard(processor)
                self._note(processor, up=True)
            case _:
                return

    def _note(self, processor: str, *, up: bool) -> None:
        (self._told_down.discard if up else self._told_down.add)(processor)
        self._untold[processor] = (up, self._clock.monotonic_s())
        self._wake.set()

    async def run(self) -> None:
        """Tell, for ever: the newest of each processor, and each not too often."""
        while True:
            self._wake.clear()
            pause_s = await self._tell_what_is_due()
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _tell_what_is_due(self) -> float | None:
        """Tell what may be told now; return after how many seconds more may be, None when nothing waits."""
        for processor, (up, noted_s) in list(self._untold.items()):
            now_s = self._clock.monotonic_s()
            if now_s < self._next_s.get(processor, 0.0):
                continue
            del self._untold[processor]
            self._next_s[processor] = now_s + BETWEEN_HINTS_S
            if now_s - noted_s < HINT_FRESH_S:
                await self._tell(processor, up=up)
        now_s = self._clock.monotonic_s()
        # While one was told, another may have come about which nothing was told yet.
        return min((max(0.0, self._next_s.get(one, 0.0) - now_s) for one in self._untold), default=None)

    async def _tell(self, processor: str, *, up: bool) -> None:
        try:
            await self._news.post_hint(processor, up=up)
        except StoreUnavailable as error:
            # Not told again: by the time it can be, it is no news any more.
            self._events.publish(StoreFailed("telling the others of a processor", str(error)))
