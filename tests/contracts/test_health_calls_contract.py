"""When health was last asked for, over every engine (I8)."""

from __future__ import annotations

from contracts.stores import AT_US, Store, contract


@contract
async def test_a_processor_never_asked_has_no_last_call(store: Store) -> None:
    assert await store.health_calls.last_call_us("default") == 0


@contract
async def test_the_last_call_is_kept_per_processor(store: Store) -> None:
    await store.health_calls.record_call("default", AT_US)
    await store.health_calls.record_call("default", AT_US + 5_000_000)
    await store.health_calls.record_call("fallback", AT_US + 1)
    assert await store.health_calls.last_call_us("default") == AT_US + 5_000_000
    assert await store.health_calls.last_call_us("fallback") == AT_US + 1


@contract
async def test_a_restarted_router_knows_the_last_call(store: Store) -> None:
    await store.health_calls.record_call("default", AT_US)
    await store.restart()
    assert await store.health_calls.last_call_us("default") == AT_US


@contract
async def test_a_purge_of_payments_does_not_make_us_impolite(store: Store) -> None:
    await store.health_calls.record_call("default", AT_US)
    await store.queue.purge()
    assert await store.health_calls.last_call_us("default") == AT_US
