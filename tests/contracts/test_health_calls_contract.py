"""Whose turn it is to ask for health, over every engine (I8)."""

from __future__ import annotations

from contracts.stores import Store, contract

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
