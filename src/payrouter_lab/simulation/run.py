"""One run: a seed is all it takes, and the same seed lives the same life twice."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from payrouter.domain.window import Window, format_instant
from payrouter_lab.simulation import checks
from payrouter_lab.simulation.checks import Conduct, Violation
from payrouter_lab.simulation.clients import Clients
from payrouter_lab.simulation.faults import HARMLESS, LOSES_THE_LAST_SECOND, Storm
from payrouter_lab.simulation.installation import Installation, Shape, instant_us
from payrouter_lab.simulation.sites import STRAYS_FOR_S
from payrouter_lab.simulation.universe import Defect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENDS_WITHIN_S = 120.0
"""Once faults have stopped, everything that was promised is settled or a dead letter within so long."""

TOLD_WITHIN_S = 120.0
"""So much longer until the receiver of webhooks was told: claims, pauses, and a clock of Redis that was set back."""

SLEEPS_FOR_S = 30.0
"""Afterwards: longer than anything sleeps at a processor."""


@dataclass(frozen=True)
class Options:
    """What a run is made of, beside its seed. `faults`: those to choose from.

    `webhooks`: whether a receiver is told what becomes of payments, through a storm of its own.
    """

    payments: int = 250
    storm_s: float = 20.0
    faults: tuple[str, ...] = HARMLESS
    shape: Shape | None = None
    webhooks: bool = False


@dataclass
class Result:
    """What a run came to. `settled_within_s`: after the faults stopped. `wall_s`: seconds of real time."""

    seed: int
    violations: list[Violation]
    payments: int = 0
    charged: int = 0
    excused: int = 0
    """Payments of which a promise was broken because Redis had lost their last change, as it may with everysec."""
    dead_letters: int = 0
    webhooks: int = 0
    windows: int = 0
    settled_within_s: float = 0.0
    simulated_s: float = 0.0
    wall_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    killed_at: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    fingerprint: str = ""
    """The same for the same life: every step that was taken, and every charge with its instant, in order."""

    @property
    def sound(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations


def shape_of(chance: random.Random) -> Shape:
    """Draw how an installation is built."""
    return Shape(
        apis=chance.choice((1, 2, 2, 3)),
        dispatchers=chance.choice((1, 2, 2, 3)),
        attempt_timeout_s=chance.choice((0.5, 1.5, 3.0)),
        patience_s=chance.choice((0.0, 1.0, 10.0)),
        max_in_flight=chance.choice((2, 16, 64)),
        queue_limit=chance.choice((40, 100_000, 100_000)),
        remember_settled=chance.choice((30, 1_000_000, 1_000_000)),
        poll_s=chance.choice((0.05, 0.2)),
        gather_s=chance.choice((0.0, 0.02, 0.2)),
        policy=chance.choice(("least-cost", "least-cost", "least-cost", "latency-ratio")),
        host_clocks_s=chance.choice((0.0, 0.05, 5.0)),
    )


class Run:
    """One life of an installation under a storm. `watch` is given it before it starts, to listen in."""

    def __init__(self, seed: int, options: Options, watch: Callable[[Run], None] | None = None) -> None:
        self.seed = seed
        self.options = options
        self._chance = chance = random.Random(seed)
        shape = options.shape or shape_of(chance)
        if options.webhooks:
            shape = replace(shape, webhooks=True)
        self.installation = Installation(shape, random.Random(chance.getrandbits(64)))
        self.clients = Clients(
            self.installation, random.Random(chance.getrandbits(64)), options.payments, options.storm_s * 0.9
        )
        chosen = chance.sample(options.faults, chance.randint(min(1, len(options.faults)), min(8, len(options.faults))))
        self.storm = Storm(
            self.installation, random.Random(chance.getrandbits(64)), chosen, chance.choice((0.3, 1.0, 3.0))
        )
        self.conduct = Conduct()
        self.violations: list[Violation] = []
        self.windows = 0
        for processor in self.installation.processors.values():
            processor.on_send = self.conduct.sent
            processor.on_refused = self.conduct.refused
        if watch is not None:
            watch(self)

    def live(self) -> Result:
        """Live through it, and look at what is left."""
        started_s = time.perf_counter()
        result = Result(self.seed, self.violations)
        enabled = gc.isenabled()
        gc.disable()
        try:
            result.settled_within_s = self._live()
            self.violations += checks.books(self.installation, self.clients, self.conduct)
            excused = [one for one in self.violations if self._is_excused(one)]
            result.excused = len({one.correlation_id for one in excused if one.correlation_id})
            self.violations[:] = [one for one in self.violations if one not in excused]
        except Defect as defect:
            self.violations.append(Violation("no defect", "", str(defect)))
        finally:
            self.installation.finish()
            if enabled:
                gc.enable()
        result.payments = len(self.clients.asked)
        result.charged = sum(len(entries) for entries in checks.theirs(self.installation).values())
        result.webhooks = len(self.installation.receiver.told) if self.installation.receiver is not None else 0
        result.dead_letters = len(checks.dead_letters(self.installation))
        result.windows = self.windows
        result.faults, result.killed_at = self.storm.times, self.installation.killed_at
        result.answers = Counter(self.clients.answers)
        result.simulated_s = self.installation.universe.now_s
        result.fingerprint = self._fingerprint()
        result.wall_s = time.perf_counter() - started_s
        return result

    def _is_excused(self, violation: Violation) -> bool:
        """Return whether it is what a Redis may do that does not sync every write, and promises no more."""
        forgot_calls = violation.check == checks.POLITE and self.storm.times[LOSES_THE_LAST_SECOND] > 0
        return forgot_calls or violation.correlation_id in self.storm.excused

    def _fingerprint(self) -> str:
        one = self.installation
        books = [list(processor.state.books.payments.items()) for processor in one.processors.values()]
        told = (list(one.steps.items()), books, list(one.rows.rows), one.universe.now_s)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def _live(self) -> float:
        one, universe, options = self.installation, self.installation.universe, self.options
        one.start()
        universe.run(0.3)
        one.begin(self.clients.run())
        one.begin(self.storm.run(options.storm_s))
        looking = one.begin(self._look(options.storm_s))
        weather = one.begin(one.receiver.live(self.storm, options.storm_s)) if one.receiver is not None else None
        universe.run(options.storm_s + 0.1)
        storm_s = universe.until(
            lambda: self.storm.over and looking.done() and (weather is None or weather.done()), 60.0
        )
        assert storm_s is not None, "every fault ends by itself"
        self.storm.calm_down()
        calm_s = universe.now_s
        universe.until(lambda: self.clients.done, 60.0)
        retried = one.begin(self._retry_dead_letters()) if self._chance.random() < 0.5 else None

        def ended() -> bool:
            return (retried is None or retried.done()) and checks.all_ended(one, self.clients, self.storm.excused)

        within_s = ENDS_WITHIN_S + (TOLD_WITHIN_S if options.webhooks else 0.0)
        ended_s = universe.until(ended, within_s)
        settled_within_s = universe.now_s - calm_s
        # What is still on its way to a store arrives, and may be there twice.
        universe.run(STRAYS_FOR_S + 1.0)
        if ended_s is None or universe.until(ended, within_s) is None:
            self.violations.append(Violation("everything ends (I3)", "", f"not within {within_s:g} s of calm"))
        # What still sleeps over there wakes up, and must find its payment charged.
        one.end_processes()
        universe.run(SLEEPS_FOR_S)
        return settled_within_s

    async def _look(self, for_s: float) -> None:
        """Compare closed windows at random instants, and look at bounds."""
        chance, universe = self._chance, self.installation.universe
        while universe.now_s < for_s:
            await asyncio.sleep(chance.uniform(0.5, 4.0))
            window = self._closed_window()
            self.windows += 1
            self.violations += checks.closed_window(self.installation, window, self.storm.excused)
            self.violations += checks.bounds(self.installation)
            self._ask_for_summary(window)

    def _closed_window(self) -> Window:
        """Draw a window long past; its bounds are the instants of payments more often than chance would have it."""
        chance = self._chance
        last_s = self.installation.universe.now_s - checks.CLOSED_AFTER_S - self.installation.shape.host_clocks_s
        first_us, last_us = instant_us(chance.uniform(-1.0, max(last_s, 0.0))), instant_us(last_s)
        inside = [
            entry.requested_us for entry in checks.ours(self.installation).values() if entry.requested_us <= last_us
        ]
        if inside and chance.random() < 0.5:
            first_us, last_us = sorted((chance.choice(inside), chance.choice(inside)))
        return Window(first_us, last_us)

    def _ask_for_summary(self, window: Window) -> None:
        """Ask an API as clients do, when no attempt in the window is without an outcome."""
        standing = checks.unresolved(self.installation).values()
        late = {one for entries in checks.theirs(self.installation).values() for one in entries}
        late -= set(checks.ours(self.installation).values())
        if any(entry.requested_us in window for entry in (*standing, *late)) or not self.installation.apis:
            return
        target = f"/payments-summary?from={format_instant(window.first_us)}&to={format_instant(window.last_us)}"

        expected = checks.charged_in(self.installation, window)

        def answered(status: int, said: bytes) -> None:
            # A host whose clock is behind may just have sent a payment into a window long past.
            if checks.charged_in(self.installation, window) == expected:
                self.violations += checks.summary_answer(window, expected, status, said)

        self._chance.choice(self.installation.apis).ask(b"GET", target.encode(), b"", answered)

    async def _retry_dead_letters(self) -> None:
        """Do as an operator does."""
        self.installation.redis.run("retry", [])


def run_seed(seed: int, options: Options | None = None, watch: Callable[[Run], None] | None = None) -> Result:
    """Live through one seed."""
    return Run(seed, options or Options(), watch).live()


def fewer_faults(seed: int, options: Options, names: Sequence[str]) -> Options | None:
    """Return options with as few faults as still break a promise with this seed; None when none does."""
    kept = list(names)
    for name in list(kept):
        fewer = replace(options, faults=tuple(one for one in kept if one != name))
        if not run_seed(seed, fewer).sound:
            kept.remove(name)
    found = replace(options, faults=tuple(kept))
    return found if not run_seed(seed, found).sound else None
