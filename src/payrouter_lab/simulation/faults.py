"""The catalogue of faults, and the storm that mixes them. Each is a short piece of bad luck that ends by itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.adapters.rows import from_blob
from payrouter_lab.simulator.faults import HealthReport

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from payrouter_lab.simulation.installation import DispatcherProcess, Installation
    from payrouter_lab.simulation.processes import Process
    from payrouter_lab.simulation.processors import SimulatedProcessor

    Fault = Callable[["Storm"], Awaitable[None]]

CATALOGUE: dict[str, Fault] = {}
"""Every fault by name, in words of its group: processor, health, process, clock, redis, postgres."""

STEPS = (
    "redis.accept", "answer", "redis.claim", "redis.begin", "send", "redis.conclude", "redis.release",
    "postgres.settle", "redis.settled", "redis.orphans", "postgres.known", "redis.standing", "prove", "health",
    "redis.join", "redis.beat", "redis.lease", "redis.reserve_health_call", "redis.end_health_call",
    "redis.renew", "redis.held", "redis.give_up",
)  # fmt: skip
"""Steps at which a process may be killed: before one leaves, and after it was done but before that is known."""

MOMENTS = {"send": ("before", "after", "answered"), "prove": ("before", "after", "answered"),
           "health": ("before", "after", "answered"), "answer": ("before",)}  # fmt: skip

LEFT_FOR_DEAD_S = 6.0
"""Longer than a heartbeat and a lease last."""


def fault(name: str) -> Callable[[Fault], Fault]:
    """Put a fault into the catalogue."""

    def put(happens: Fault) -> Fault:
        CATALOGUE[name] = happens
        return happens

    return put


@dataclass(frozen=True, slots=True)
class _Trap:
    """What waits for whoever takes a step: its end, or a pause of so many seconds."""

    step: str
    passes: int
    pause_s: float | None = None


class Storm:
    """Bad luck for one run: some faults of the catalogue, again and again, until it is over.

    `times` counts what happened, by name. `excused` are payments whose last changes Redis has lost.
    """

    def __init__(self, installation: Installation, chance: random.Random, names: list[str], pause_s: float) -> None:
        self.installation = installation
        self.chance = chance
        self.names = names
        self.pause_s = pause_s
        self.times: Counter[str] = Counter()
        self.excused: set[str] = set()
        self._trap: _Trap | None = None
        self._tasks: list[asyncio.Task[None]] = []
        installation.on_step = self._sprung

    async def run(self, for_s: float) -> None:
        """Let faults happen, several at once now and then."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + for_s
        while self.names:
            await asyncio.sleep(self.chance.expovariate(1 / self.pause_s))
            if loop.time() >= until_s:
                return
            name = self.chance.choice(self.names)
            self.times[name] += 1
            self._tasks.append(loop.create_task(self._happen(name)))

    async def _happen(self, name: str) -> None:
        await CATALOGUE[name](self)

    @property
    def over(self) -> bool:
        """Whether every fault has ended."""
        return all(task.done() for task in self._tasks)

    def calm_down(self) -> None:
        """Let no trap be sprung any more."""
        self._trap = None

    # -- what faults are made of

    def some(self) -> SimulatedProcessor:
        """Return one of the processors."""
        return self.chance.choice([*self.installation.processors.values()])

    def seconds(self, least: float, most: float) -> float:
        """Draw a duration."""
        return self.chance.uniform(least, most)

    def trap(self, step: str, passes: int, pause_s: float | None = None) -> None:
        """Kill whichever process takes this step next, after some have passed; or pause it there."""
        self._trap = _Trap(step, passes, pause_s)

    def _sprung(self, process: Process, step: str) -> bool:
        trap = self._trap
        if trap is None or step != trap.step:
            return False
        if trap.passes:
            self._trap = _Trap(step, trap.passes - 1, trap.pause_s)
            return False
        self._trap = None
        if trap.pause_s is not None:
            process.loop.pause()
            self.installation.universe.network.call_later(trap.pause_s, process.loop.resume)
            return False
        self.installation.in_network(self._start_again_later, process.name.startswith("api"))
        return True

    def _start_again_later(self, is_api: bool) -> None:  # noqa: FBT001 - a callback's shape
        installation = self.installation
        start = installation.start_api if is_api else installation.start_dispatcher
        installation.universe.network.call_later(self.chance.choice((0.05, 0.5, 4.0)) * self.chance.random(), start)

    def kill(self, member: object) -> None:
        """Kill a process, and start another one in its place some time later."""
        installation = self.installation
        is_api = member in installation.apis
        self._start_again_later(is_api)
        member.process.doom()  # type: ignore[attr-defined]


async def _for_a_while(storm: Storm, processor: SimulatedProcessor, name: str, chance: float) -> None:
    setattr(processor.mischief, name, chance)
    await asyncio.sleep(storm.seconds(0.1, 4.0))
    setattr(processor.mischief, name, 0.0)


def _mischief(name: str, field: str, *chances: float) -> None:
    @fault(name)
    async def happens(storm: Storm) -> None:
        await _for_a_while(storm, storm.some(), field, storm.chance.choice(chances))


_mischief("processor: answers get lost", "lost", 0.05, 0.5, 1.0)
_mischief("processor: answers break off", "reset", 0.05, 0.5, 1.0)
_mischief("processor: connections break before anything is read", "cut_before", 0.2, 1.0)
_mischief("processor: garbage instead of an answer", "garbage", 0.2, 1.0)
_mischief("processor: odd statuses after charging", "odd_status", 0.2, 1.0)
_mischief("processor: a storm of 429", "storm", 0.5, 1.0)
_mischief("processor: nothing listens", "unreachable", 0.5, 1.0)
_mischief("processor: stale records", "stale", 0.5, 1.0)


@fault("processor: failing")
async def _failing(storm: Storm) -> None:
    state = storm.some().state
    state.failing = True
    await asyncio.sleep(storm.seconds(0.1, 6.0))
    state.failing = False


@fault("processor: all failing at once")
async def _all_failing(storm: Storm) -> None:
    states = [processor.state for processor in storm.installation.processors.values()]
    for state in states:
        state.failing = True
    await asyncio.sleep(storm.seconds(0.1, 3.0))
    for state in states:
        state.failing = False
        await asyncio.sleep(storm.seconds(0.0, 0.2))


@fault("processor: slow")
async def _slow(storm: Storm) -> None:
    state = storm.some().state
    state.delay_ms = storm.chance.choice((20, 200, 900, 1500))
    await asyncio.sleep(storm.seconds(0.2, 6.0))
    state.delay_ms = 0


@fault("processor: answers after our patience")
async def _asleep(storm: Storm) -> None:
    state = storm.some().state
    state.delay_ms = round(1000 * storm.seconds(1.0, 3.0) * storm.installation.shape.attempt_timeout_s)
    await asyncio.sleep(storm.seconds(0.1, 3.0))
    state.delay_ms = 0


@fault("processor: answers straggle")
async def _straggles(storm: Storm) -> None:
    processor = storm.some()
    processor.mischief.late_s = storm.seconds(0.5, 2.0) * storm.installation.shape.attempt_timeout_s
    await _for_a_while(storm, processor, "straggles", storm.chance.choice((0.1, 0.5)))


@fault("processor: killed, what sleeps there is never charged")
async def _restarted(storm: Storm) -> None:
    processor = storm.some()
    processor.mischief.unreachable = 1.0
    processor.restart()
    await asyncio.sleep(storm.seconds(0.1, 2.0))
    processor.mischief.unreachable = 0.0


@fault("processor: refuses some payments as invalid")
async def _rejects(storm: Storm) -> None:
    state = storm.some().state
    state.faults.status = 400
    await asyncio.sleep(storm.seconds(0.02, 0.2))
    state.faults.status = None


@fault("health: lies")
async def _lies(storm: Storm) -> None:
    faults = storm.some().state.faults
    faults.health_lies = HealthReport(storm.chance.random() < 0.5, storm.chance.choice((0, 5, 1000, 60_000)))
    await asyncio.sleep(storm.seconds(1.0, 12.0))
    faults.health_lies = None


@fault("health: hangs")
async def _hangs(storm: Storm) -> None:
    faults = storm.some().state.faults
    faults.health_hangs = True
    await asyncio.sleep(storm.seconds(1.0, 12.0))
    faults.health_hangs = False


@fault("health: garbage")
async def _health_garbage(storm: Storm) -> None:
    faults = storm.some().state.faults
    faults.health_garbage = True
    await asyncio.sleep(storm.seconds(1.0, 12.0))
    faults.health_garbage = False


@fault("health: flaps")
async def _flaps(storm: Storm) -> None:
    state = storm.some().state
    for _ in range(storm.chance.randint(2, 8)):
        state.failing = not state.failing
        await asyncio.sleep(storm.seconds(0.05, 1.0))
    state.failing = False


@fault("process: killed at a step")
async def _killed_at_a_step(storm: Storm) -> None:
    step = storm.chance.choice(STEPS)
    moment = storm.chance.choice(MOMENTS.get(step, ("before", "after")))
    storm.trap(f"{step}:{moment}", storm.chance.choice((0, 0, 1, 5, 20)))


@fault("process: killed while another takes over")
async def _killed_in_recovery(storm: Storm) -> None:
    if not storm.installation.dispatchers:
        return
    storm.kill(storm.chance.choice(storm.installation.dispatchers))
    step = storm.chance.choice(("redis.orphans", "postgres.known", "redis.settled", "redis.join", "send", "redis.held"))
    storm.trap(f"{step}:{storm.chance.choice(('before', 'after'))}", storm.chance.choice((0, 0, 1)))


@fault("process: killed")
async def _killed(storm: Storm) -> None:
    if storm.installation.members:
        storm.kill(storm.chance.choice(storm.installation.members))


@fault("process: all killed at once")
async def _all_killed(storm: Storm) -> None:
    for member in storm.installation.members:
        storm.kill(member)


@fault("process: paused")
async def _paused(storm: Storm) -> None:
    if not storm.installation.members:
        return
    loop = storm.chance.choice(storm.installation.members).process.loop
    loop.pause()
    await asyncio.sleep(storm.chance.choice((0.2, 1.0, LEFT_FOR_DEAD_S)) * storm.seconds(0.5, 1.5))
    loop.resume()


async def _busy_dispatcher(storm: Storm) -> DispatcherProcess | None:
    """Return a dispatcher with attempts under way, as soon as there is one."""
    for _ in range(100):
        busy = [one for one in storm.installation.dispatchers if one.running and one.running.dispatcher.in_flight]
        if busy:
            return storm.chance.choice(busy)
        await asyncio.sleep(0.02)
    return None


@fault("process: paused until it is taken for dead, while its attempts are being refused")
async def _paused_amid_refusals(storm: Storm) -> None:
    states = [processor.state for processor in storm.installation.processors.values()]
    for state in states:
        state.delay_ms = 300
    member = await _busy_dispatcher(storm)
    if member is not None:
        member.process.loop.pause()
        for state in states:
            state.failing = True
        await asyncio.sleep(0.4)
        # Whoever takes over repeats them, and gets no answer for long.
        for state in states:
            state.failing = False
            state.delay_ms = 4000
        await asyncio.sleep(storm.seconds(2.5, 4.0))
        member.process.loop.resume()
    for state in states:
        state.delay_ms = 0


@fault("process: killed while its attempts sleep, and their repeats are refused")
async def _killed_amid_sleepers(storm: Storm) -> None:
    states = [processor.state for processor in storm.installation.processors.values()]
    for state in states:
        state.delay_ms = 6000
    member = await _busy_dispatcher(storm)
    if member is not None:
        storm.kill(member)
    for state in states:
        state.delay_ms = 0
        state.failing = True
    await asyncio.sleep(storm.seconds(2.5, 4.5))
    for state in states:
        state.failing = False


@fault("process: paused at a step until it is taken for dead")
async def _paused_at_a_step(storm: Storm) -> None:
    step = storm.chance.choice(
        ("redis.claim", "redis.claim", "redis.begin", "redis.orphans", "postgres.settle", "prove")
    )
    storm.trap(f"{step}:after", storm.chance.choice((0, 0, 1, 5)), storm.seconds(2.5, 5.0))


@fault("process: stopped and replaced")
async def _replaced(storm: Storm) -> None:
    installation = storm.installation
    if not installation.members:
        return
    member = storm.chance.choice(installation.members)
    start = installation.start_api if member in installation.apis else installation.start_dispatcher
    start()
    await asyncio.sleep(storm.seconds(0.0, 0.5))
    member.stop()


@fault("clock: a host's jumps")
async def _host_clock(storm: Storm) -> None:
    if storm.installation.members:
        clock = storm.chance.choice(storm.installation.members).process.clock
        clock.ahead_us += round(storm.seconds(-5.0, 5.0) * 1_000_000)


@fault("clock: that of Redis jumps")
async def _redis_clock(storm: Storm) -> None:
    storm.installation.redis_clock.ahead_us += round(storm.seconds(-10.0, 10.0) * 1_000_000)


@fault("queue: a living dispatcher is taken for dead")
async def _expired(storm: Storm) -> None:
    data = storm.installation.redis.data
    if data.dispatchers:
        data.dispatchers[storm.chance.choice([*data.dispatchers])] = 0


def _store_faults(store: str) -> None:
    @fault(f"{store}: away")
    async def away(storm: Storm) -> None:
        site = getattr(storm.installation, f"{store}_site")
        site.go_away()
        await asyncio.sleep(storm.chance.choice((0.1, 1.0, 5.0)) * storm.seconds(0.5, 1.5))
        site.come_back()

    @fault(f"{store}: connections are cut")
    async def cut(storm: Storm) -> None:
        getattr(storm.installation, f"{store}_site").cut()

    @fault(f"{store}: answers get lost")
    async def lossy(storm: Storm) -> None:
        site = getattr(storm.installation, f"{store}_site")
        site.lossy = storm.chance.choice((0.02, 0.2, 0.5))
        await asyncio.sleep(storm.seconds(0.2, 3.0))
        site.lossy = 0.0

    @fault(f"{store}: slow")
    async def slow(storm: Storm) -> None:
        site = getattr(storm.installation, f"{store}_site")
        site.slow_s = storm.chance.choice((0.02, 0.2, 1.0, 2.5))
        await asyncio.sleep(storm.seconds(0.2, 4.0))
        site.slow_s = 0.0

    @fault(f"{store}: hangs")
    async def hangs(storm: Storm) -> None:
        site = getattr(storm.installation, f"{store}_site")
        site.hangs_until_s = storm.installation.universe.now_s + storm.chance.choice((0.5, 1.5, 4.0))


for _store in ("redis", "postgres"):
    _store_faults(_store)

LOSES_THE_LAST_SECOND = "redis: restarts without its last second"
"""Only where Redis syncs every second: what it promised meanwhile may be gone."""


@fault(LOSES_THE_LAST_SECOND)
async def _loses(storm: Storm) -> None:
    installation = storm.installation
    kept = installation.redis.snapshot()
    await asyncio.sleep(storm.seconds(0.05, 1.0))
    installation.redis_site.go_away()
    storm.excused |= {from_blob(blob) for blob in installation.redis.changed_since(kept)}
    installation.redis.restart(kept)
    await asyncio.sleep(storm.seconds(0.05, 1.0))
    installation.redis_site.come_back()


HARMLESS = tuple(name for name in CATALOGUE if name != LOSES_THE_LAST_SECOND)
"""Faults under which every promise holds."""
