"""Whose turn it is to ask for health, over every engine (I8)."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from contracts.stores import Store, contract
from payrouter.adapters.clock import SystemClock
from payrouter.adapters.memory_coordination import MemoryHealthCalls
from payrouter.adapters.sqlite.health_calls import SqliteHealthCalls
from payrouter.adapters.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

A_PAUSE_AND_WHAT_A_CALL_MAY_TAKE_TO_LEAVE = 6.05


@contract
async def test_a_processor_never_asked_may_be_asked_at_once(store: Store) -> None:
    assert await store.health_calls.reserve("default") == 0.0


@contract
async def test_a_second_caller_waits_also_while_the_first_is_not_known_to_have_ended(store: Store) -> None:
    assert await store.health_calls.reserve("default") == 0.0
    assert 5.05 < await store.health_calls.reserve("default") <= A_PAUSE_AND_WHAT_A_CALL_MAY_TAKE_TO_LEAVE


@contract
async def test_the_pause_counts_from_the_end_of_a_call(store: Store) -> None:
    await store.health_calls.reserve("default")
    await store.health_calls.answered("default")
    assert 4.9 < await store.health_calls.reserve("default") <= 5.05


@contract
async def test_each_processor_has_a_pause_of_its_own(store: Store) -> None:
    await store.health_calls.reserve("default")
    assert await store.health_calls.reserve("fallback") == 0.0
    assert await store.health_calls.reserve("fallback") > 0.0


@contract
async def test_a_restarted_router_knows_the_last_call(store: Store) -> None:
    await store.health_calls.reserve("default")
    await store.restart()
    assert await store.health_calls.reserve("default") > 4.9


@contract
async def test_a_purge_of_payments_does_not_make_us_impolite(store: Store) -> None:
    await store.health_calls.reserve("default")
    await store.queue.purge()
    assert await store.health_calls.reserve("default") > 4.9


class MovableClock(SystemClock):
    """A clock that can be set."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_a_clock_that_was_set_back_silences_us_for_one_pause_at_most(engine: str, tmp_path: Path) -> None:
    clock = MovableClock()

    async def scenario(calls: MemoryHealthCalls | SqliteHealthCalls) -> None:
        assert await calls.reserve("default") == 0.0
        clock.ahead_us = -3_600_000_000
        assert 0.0 < await calls.reserve("default") <= 5.05
        clock.ahead_us += 4_000_000
        assert 0.0 < await calls.reserve("default") <= 1.05
        clock.ahead_us += 1_060_000
        assert await calls.reserve("default") == 0.0

    if engine == "memory":
        asyncio.run(scenario(MemoryHealthCalls(clock.now_us)))
    else:
        with closing(SqliteStore(tmp_path / "payrouter.db")) as store:
            asyncio.run(scenario(SqliteHealthCalls(store, clock)))
