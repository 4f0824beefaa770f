"""The model of `bench policy` against the dispatcher itself, over the same schedule in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from application.virtual_time import run_virtually
from application.world import CHEAP, DEAR, World, failing, ok
from payrouter.domain.health import HealthReport
from payrouter_lab.bench.policy_model import (
    FIRST_HEALTH_S,
    HEALTH_EVERY_S,
    TICK_S,
    Profile,
    accepted_per_tick,
    forecast,
)
from payrouter_lab.bench.schedule import ProcessorState, Schedule, parse

HEAD = """
name = "small"
length_s = 50
users = { from = 20, to = 60 }
amount = "19.90"
fees = { default = "0.05", fallback = "0.15" }
"""
OUTAGES = """
[[stages]]
at_s = 5
default = { delay_ms = 20, failing = true }
[[stages]]
at_s = 14
default = { delay_ms = 20, failing = true }
fallback = { delay_ms = 300, failing = true }
[[stages]]
at_s = 20
default = { delay_ms = 400 }
fallback = { delay_ms = 50 }
[[stages]]
at_s = 28
default = { delay_ms = 2500 }
fallback = { delay_ms = 50 }
[[stages]]
at_s = 40
default = { delay_ms = 10 }
"""
DRAWN = "[random]\nseed = {seed}\nshortest_s = 2\nlongest_s = 12\nslow_ms = [200, 2500]\n"


def state_of(schedule: Schedule, processor: str, second: float) -> ProcessorState:
    stage = schedule.stage_at(second)
    return stage.default if processor == CHEAP else stage.fallback


async def dispatched(schedule: Schedule, profile: Profile) -> dict[str, int]:
    """Return what the real dispatcher had settled at the end, by processor."""
    loop = asyncio.get_running_loop()

    def fate(processor: str):
        def at_arrival(_intent, _times):
            now_s = loop.time()
            delay_s = state_of(schedule, processor, now_s).delay_ms / 1000
            fails = state_of(schedule, processor, now_s + delay_s).failing
            return (failing if fails else ok)(after_s=delay_s + TICK_S)

        return at_arrival

    async def report(processor: str, first_s: float) -> None:
        await asyncio.sleep(first_s)
        while True:
            state = state_of(schedule, processor, loop.time())
            world.boards[processor].reported(HealthReport(state.failing, state.delay_ms), loop.time())
            world.dispatcher.wake()
            await asyncio.sleep(HEALTH_EVERY_S)

    async with World(policy=profile.policy(), most=profile.max_in_flight, commit_s=0.0) as world:
        for name, processor in world.processors.items():
            processor.script = fate(name)
        reports = [asyncio.create_task(report(*one)) for one in zip(world.processors, FIRST_HEALTH_S, strict=True)]
        due = [(tick * TICK_S, count) for tick, count in enumerate(accepted_per_tick(schedule)) if count]
        for (at_s, count), (next_s, _) in pairwise([*due, (schedule.length_s, 0)]):
            await asyncio.sleep(max(0.0, at_s - loop.time()))
            await world.pay(count)
            assert next_s > at_s
        await asyncio.sleep(max(0.0, schedule.length_s - loop.time()))
        for one in reports:
            one.cancel()
        return {name: len(processor.books) for name, processor in world.processors.items()}


@pytest.mark.parametrize(
    ("text", "patience_s"),
    [
        (HEAD + OUTAGES, 0.0),
        (HEAD + OUTAGES, 10.0),
        (HEAD + DRAWN.format(seed=1), 3.0),
        (HEAD + DRAWN.format(seed=2), 3.0),
    ],
    ids=["outages, none", "outages, 10 s", "seed 1, 3 s", "seed 2, 3 s"],
)
def test_the_model_sends_what_the_dispatcher_sends(text: str, patience_s: float) -> None:
    schedule, profile = parse(text.encode()), Profile(patience_s=patience_s)
    modelled = forecast(schedule, profile)
    real = run_virtually(dispatched(schedule, profile))
    print(f"of {modelled.accepted}: modelled {modelled.settled}, dispatched {real}")
    # A probe a moment sooner or later moves what was accepted meanwhile.
    near = 0.04 * modelled.accepted
    assert real[CHEAP] == pytest.approx(modelled.settled[CHEAP], abs=near)
    assert real[DEAR] == pytest.approx(modelled.settled[DEAR], abs=near)
