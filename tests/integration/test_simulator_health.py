"""Health calls of the processor simulator: one per window, two held, the rest refused."""

from __future__ import annotations

import asyncio

import pytest

from integration.simulator_client import Stopwatch, scenario, simulated, until
from payrouter_lab.simulator import HealthReport
from payrouter_lab.simulator.limits import Admission, ConcurrencyLimiter, HealthWindow


@scenario
async def test_a_health_call_tells_failure_and_delay():
    async with simulated(delay_ms=100, failing=True) as client:
        response = await client.health()
        assert (response.status, response.json()) == (200, {"failing": True, "minResponseTime": 100})


@scenario
async def test_two_callers_are_held_until_coming_windows_and_answered_in_order():
    async with simulated(health_window_s=0.2) as client, asyncio.TaskGroup() as group:
        watch = Stopwatch()
        assert (await client.health()).status == 200
        first = group.create_task(client.health())
        await until(lambda: len(client.simulator.health_calls) == 2)
        second = group.create_task(client.health())
        await until(lambda: len(client.simulator.health_calls) == 3)
        client.simulator.configure(delay_ms=7)
        assert (await first).json() == {"failing": False, "minResponseTime": 7}
        assert watch.ms >= 190
        assert not second.done()
        assert (await second).status == 200
        assert watch.ms >= 390


@scenario
async def test_a_caller_beyond_the_held_ones_is_refused_with_the_published_wait():
    async with simulated() as client, asyncio.TaskGroup() as group:
        await client.health()
        held = [group.create_task(client.health()) for _ in range(2)]
        await until(lambda: len(client.simulator.health_calls) == 3)
        refused = await client.health()
        assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        stats = (await client.admin("GET", "stats")).json()["health"]
        assert (stats["calls"], stats["refused"], len(stats["instants"])) == (4, 1, 4)
        for call in held:
            call.cancel()


@scenario
async def test_a_held_caller_who_hangs_up_leaves_the_place_to_another():
    async with simulated(health_window_s=0.3) as client:
        await client.health()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.health(), 0.03)
        watch = Stopwatch()
        assert (await client.health()).status == 200
        assert watch.ms < 500


@scenario
async def test_health_calls_are_counted_with_their_instants():
    async with simulated(health_window_s=0.05) as client:
        for _ in range(3):
            await client.health()
        calls = client.simulator.health_calls
        assert len(calls) == 3
        assert calls == sorted(calls)


@scenario
async def test_a_health_report_can_lie_hang_and_be_garbage():
    async with simulated(health_window_s=0.02) as client:
        client.simulator.faults.health_lies = HealthReport(failing=True, min_response_ms=9)
        assert (await client.health()).json() == {"failing": True, "minResponseTime": 9}
        await client.faults(health_garbage=True)
        garbage = await client.health()
        assert garbage.status == 200
        with pytest.raises(ValueError, match=r"Expecting|delimiter|Unterminated"):
            garbage.json()
        await client.faults(health_hangs=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.health(), 0.1)


def test_a_window_serves_one_caller_and_windows_follow_one_another_from_the_first_call():
    window = HealthWindow[str](5.0)
    assert window.arrive("a", 100.0) is Admission.NOW
    assert window.arrive("b", 104.9) is Admission.WAITS
    assert window.renewal_s() == 105.0
    assert window.renew(104.9) is None
    assert window.renew(105.0) == "b"
    assert window.renewal_s() is None
    assert window.arrive("c", 109.9) is Admission.WAITS
    assert window.renew(110.0) == "c"
    assert window.arrive("d", 119.9) is Admission.NOW
    assert window.arrive("e", 120.1) is Admission.NOW


def test_a_newcomer_does_not_overtake_a_held_caller_whose_window_has_come():
    window = HealthWindow[str](5.0)
    assert [window.arrive(name, 0.0) for name in "abcd"] == [
        Admission.NOW,
        Admission.WAITS,
        Admission.WAITS,
        Admission.REFUSED,
    ]
    assert window.arrive("e", 5.0) is Admission.REFUSED
    assert window.renew(5.0) == "b"
    assert window.arrive("f", 5.1) is Admission.WAITS
    assert [window.renew(10.0), window.renew(10.0), window.renew(15.0)] == ["c", None, "f"]


def test_a_freed_place_goes_to_the_longest_waiting_caller():
    limiter = ConcurrencyLimiter[str](1, 2)
    assert [limiter.admit(name) for name in "abcd"] == [
        Admission.NOW,
        Admission.WAITS,
        Admission.WAITS,
        Admission.REFUSED,
    ]
    assert [limiter.release(), limiter.release(), limiter.release()] == ["b", "c", None]
    assert (limiter.running, limiter.waiting) == (0, 0)
