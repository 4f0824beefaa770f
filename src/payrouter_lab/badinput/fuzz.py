"""Many bad requests at one router, burst after burst, and the books afterwards.

What holds whatever is sent: the answer is HTTP or the connection is closed; the status is below 500, or an honest
503; a good payment is taken after every burst; memory stays flat; and nothing is charged that was not answered 202.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvloop

from payrouter.entrypoints.cli.progress import quietly
from payrouter_lab.badinput.memory import growth_mb, limit_mb, take, watched
from payrouter_lab.badinput.oracle import Oracle
from payrouter_lab.badinput.samples import Samples
from payrouter_lab.badinput.talk import SILENCE_S, Talked, talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.entrypoints.cli.progress import Tell
    from payrouter_lab.badinput.samples import Sample
    from payrouter_lab.bench.bed import Bed

AT_ONCE = 384
"""Connections open at a time: less than nginx's `limit_conn`, so that 503 is the exception."""
STALLED_MOST = 100
MOST_FINDINGS = 20
# What nginx words as a problem document for HTTP that it does not speak (deploy/nginx.conf).
_NGINX_MAY_SAY = {501, 503, 505}
_TRACE = "Traceback (most recent call last)"
_GOOD_WITHIN_S = 30.0


@dataclass(slots=True)
class FuzzFigures:
    """What came of a run.

    `statuses`: how often each came, 0 for a connection that got none. `families`: the same by family of flaws.
    `course_mb`: resident memory by process, before the first burst and after each one.
    """

    requests: int
    seed: int
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    families: dict[str, Counter[int]] = field(default_factory=dict)
    accepted: int = 0
    charged: int = 0
    good_taken: int = 0
    course_mb: dict[str, list[float]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.findings

    @property
    def growth_mb(self) -> dict[str, float]:
        """What each process' memory grew by over the second half."""
        return {name: growth_mb(course) for name, course in self.course_mb.items()}


class Fuzzer:
    """One run against a started test bed. `salt` makes the ids: another one for every run on the same router.

    `silence_s`: how long the client waits for an answer before it hangs up. A payment accepted later than that counts
    as charged without an answer, so it is longer than any fsync takes.
    """

    def __init__(  # noqa: PLR0913 - one parameter per option
        self, bed: Bed, *, requests: int, bursts: int, seed: int, salt: int, silence_s: float = SILENCE_S
    ) -> None:
        self._silence_s = silence_s
        self._bed = bed
        self._bursts = bursts
        self._samples = Samples(seed, salt)
        self._oracle = Oracle(self._samples)
        self._allowed = _NGINX_MAY_SAY if bed.cluster is not None else {503}
        self._figures = FuzzFigures(requests, seed)
        self._processes = watched(bed)
        parts = urlsplit(bed.target.url)
        self._place = (parts.hostname or "127.0.0.1", parts.port or 80)

    def run(self, say: Callable[[str], None], tell: Tell = quietly) -> FuzzFigures:
        """Send everything, wait until what was accepted is settled, and compare the books.

        `say` gets a line now and then, `tell` how many were sent.

        Raises:
            ChildError: if the router ends.
            OSError: if it takes no connections.
        """
        figures = self._figures
        self._oracle.begin(self._bed)
        begun_s = time.monotonic()
        uvloop.run(self._attack(say, tell))
        figures.seconds = time.monotonic() - begun_s
        self._oracle.wait_until_settled(self._bed)
        figures.charged, wrong = self._oracle.compare(self._bed)
        figures.accepted = self._oracle.accepted
        for text in wrong:
            self._find(text)
        most_mb = limit_mb(figures.requests)
        for name, grown_mb in figures.growth_mb.items():
            if grown_mb > most_mb:
                self._find(f"{name} grew by {grown_mb:.1f} MB over the second half, {most_mb:g} at most are flat")
        self._look_into_logs()
        return figures

    async def _attack(self, say: Callable[[str], None], tell: Tell) -> None:
        figures = self._figures
        self._note_memory()
        stalled = min(STALLED_MOST, max(5, figures.requests // 200))
        edges = [round(figures.requests * number / self._bursts) for number in range(self._bursts + 1)]
        async with asyncio.TaskGroup() as tasks:
            # They wait for the server's own limits, so they wait beside everything else.
            for number in range(stalled):
                tasks.create_task(self._one(self._samples.stalled(number)))
            for number, (first, end) in enumerate(itertools.pairwise(edges), start=1):
                await self._burst(range(first, end))
                await self._good_payment(number)
                self._bed.check()
                self._note_memory()
                tell(end)
                if number % max(1, self._bursts // 10) == 0:
                    held = ", ".join(f"{name} {course[-1]:.1f}" for name, course in figures.course_mb.items())
                    say(f"  {end} bad requests sent; resident MB: {held}")

    async def _burst(self, numbers: range) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with room:
                await self._one(self._samples.sample(number))

        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(one(number))

    async def _one(self, sample: Sample) -> None:
        talked = await talk(*self._place, sample, silence_s=self._silence_s)
        self._oracle.note(talked)
        self._count(talked)
        where = f"sample {sample.number} ({sample.family}, seed {self._figures.seed})"
        if talked.wrong:
            self._find(f"{where} {talked.wrong}")
        for status in talked.statuses:
            if status >= 500 and status not in self._allowed:
                self._find(f"{where} was answered {status}")

    def _count(self, talked: Talked) -> None:
        seen = Counter(talked.statuses or (0,))
        self._figures.statuses.update(seen)
        self._figures.families.setdefault(talked.sample.family, Counter()).update(seen)

    async def _good_payment(self, number: int) -> None:
        """A good payment is taken, whatever came before it; an honest 503 or 429 may be asked again for a while."""
        sample = self._samples.good(number)
        deadline_s = time.monotonic() + _GOOD_WITHIN_S
        while True:
            talked = await talk(*self._place, sample)
            self._oracle.note(talked)
            if talked.statuses == [202]:
                self._figures.good_taken += 1
                return
            if talked.statuses not in ([503], [429]) or time.monotonic() > deadline_s:
                self._find(f"after burst {number} a good payment was answered {talked.statuses} {talked.wrong}")
                return
            await asyncio.sleep(1.0)

    def _note_memory(self) -> None:
        for name, held_mb in take(self._processes).items():
            self._figures.course_mb.setdefault(name, []).append(held_mb)

    def _find(self, text: str) -> None:
        if len(self._figures.findings) < MOST_FINDINGS:
            self._figures.findings.append(text)

    def _look_into_logs(self) -> None:
        """A defect that no client notices shows in the log, as a trace."""
        for log in self._bed.directory.rglob("*.log"):
            text = log.read_text(errors="replace")
            if _TRACE in text:
                self._find(f"{log.name} has a trace:\n{text[text.index(_TRACE) :][:2000]}")
