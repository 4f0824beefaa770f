"""A payment keeps its client's trace for as long as it is under way, over every engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.stores import ClusterEngine, Store, contract, failed, id_of, intent, payment, settlement
from contracts.twin import SimulatedEngine
from payrouter.domain.payment import PaymentEvent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-00"


async def accept(store: Store, **traces: str) -> None:
    """Accept payments 1, 2 and so on with these traces, in order."""
    accepted = [replace(payment(number), trace=trace) for number, trace in enumerate(traces.values(), 1)]
    await store.queue.accept(accepted)


def traces(deliveries: list[Any]) -> dict[str, str]:
    return {one.correlation_id: one.trace for one in deliveries}


async def kept(store: Any) -> int | None:
    """How many traces an engine that keeps them apart has; None for the others."""
    match store:
        case ClusterEngine():
            return int(await store.link.call("HLEN", store.keys.traces))
        case SimulatedEngine():
            return len(store.redis.data.traces)
        case _:
            return None


@contract
async def test_each_delivery_has_its_payment_s_trace(store: Store) -> None:
    await accept(store, first=TRACE, second="", third=OTHER)
    assert traces(await store.queue.claim(9)) == {id_of(1): TRACE, id_of(2): "", id_of(3): OTHER}


@contract
async def test_a_duplicate_does_not_change_the_trace(store: Store) -> None:
    await accept(store, first=TRACE, second="")
    await accept(store, first=OTHER, second=OTHER)
    assert traces(await store.queue.claim(9)) == {id_of(1): TRACE, id_of(2): ""}


@contract
async def test_what_is_given_back_or_refused_keeps_its_trace(store: Store) -> None:
    await accept(store, first=TRACE)
    deliveries = await store.queue.claim(1)
    await store.queue.release(deliveries)
    [delivery] = await store.queue.claim(1)
    one = intent(delivery)
    assert await store.queue.begin([one]) == [True]
    await store.queue.conclude([failed(one, PaymentEvent.REFUSED)])
    assert traces(await store.queue.claim(1)) == {id_of(1): TRACE}


@contract
async def test_after_a_crash_waiting_payments_and_attempts_have_their_traces(store: Store) -> None:
    await accept(store, first=TRACE, second=OTHER, third="")
    [first] = await store.queue.claim(1)
    await store.queue.begin([intent(first)])
    await store.restart()
    [adopted] = await store.queue.orphans()
    assert adopted.delivery.trace == TRACE
    assert traces(await store.queue.claim(9)) == {id_of(2): OTHER, id_of(3): ""}


@contract
async def test_a_dead_letter_sent_again_has_its_trace(store: Store) -> None:
    await accept(store, first=TRACE)
    [delivery] = await store.queue.claim(1)
    await store.queue.begin([intent(delivery)])
    await store.queue.conclude([failed(intent(delivery), PaymentEvent.INVALID)])
    assert await store.queue.retry_dead_letters(None) == 1
    await store.queue.orphans()
    assert traces(await store.queue.claim(1)) == {id_of(1): TRACE}


@contract
async def test_a_pinned_dead_letter_sent_again_has_its_trace(store: Store) -> None:
    await accept(store, first=TRACE)
    [delivery] = await store.queue.claim(1)
    await store.queue.begin([intent(delivery)])
    await store.queue.conclude([failed(intent(delivery), PaymentEvent.UNKNOWN)])
    await store.queue.conclude([failed(intent(delivery), PaymentEvent.INVALID)])
    await store.queue.retry_dead_letters(None)
    [adopted] = await store.queue.orphans()
    assert adopted.delivery.trace == TRACE


@contract
async def test_a_trace_goes_with_its_settled_payment(store: Store) -> None:
    await accept(store, first=TRACE, second=OTHER)
    assert await kept(store) in {2, None}
    for delivery in await store.queue.claim(9):
        one = intent(delivery)
        await store.queue.begin([one])
        await store.ledger.settle([settlement(one)])
    assert await kept(store) in {0, None}


@contract
async def test_nothing_is_kept_of_payments_without_a_trace(store: Store) -> None:
    await accept(store, first="", second="")
    assert await kept(store) in {0, None}


@contract
async def test_purging_forgets_traces(store: Store) -> None:
    await accept(store, first=TRACE)
    await store.queue.purge()
    assert await kept(store) in {0, None}
    await accept(store, first="")
    assert traces(await store.queue.claim(1)) == {id_of(1): ""}


@contract
async def test_a_spoilt_trace_is_none(store: Any) -> None:
    """It goes into the head of a request: nobody may end a line there."""
    await accept(store, first=TRACE)
    match store:
        case ClusterEngine():
            for blob in await store.link.call("HKEYS", store.keys.traces):
                await store.link.call("HSET", store.keys.traces, blob, f"{TRACE}\r\nX-Other: 1")
        case SimulatedEngine():
            data = store.redis.data
            data.traces = dict.fromkeys(data.traces, f"{TRACE}\r\nX-Other: 1".encode())
        case _:
            return
    assert traces(await store.queue.claim(1)) == {id_of(1): ""}
