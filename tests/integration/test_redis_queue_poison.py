"""Things in Redis that are none of ours, or were spoilt: put aside where an operator sees them, and nothing stops."""

from __future__ import annotations

import pytest

from contracts.stores import buried, id_of, ids, intent, numbered, payment, pinned, settlement
from integration.queue_nodes import Q, Rows, node, places, waiting
from integration.raw_http import scenario
from payrouter.adapters.redis.views import scan_records
from payrouter.adapters.rows import to_blob
from payrouter.ports.queue import Acceptance


@pytest.fixture
def one_node(redis_server, redis_prefix):
    return lambda: node(redis_server.url, redis_prefix, Rows())


async def spoil(one, number: int, text: str | bytes) -> None:
    """Write something else where a payment's record is."""
    assert await one.link.call("HSET", one.keys.payments, to_blob(id_of(number)), text) == 0


async def record_of(one, number: int) -> str:
    return (await one.link.call("HGET", one.keys.payments, to_blob(id_of(number)))).decode()


async def aside(one) -> list[tuple[str, str]]:
    """What an operator sees of it: correlationId and reason."""
    return [(each.correlation_id, each.reason) for each in await one.queue.dead_letters(99)]


GARBAGE = {
    "other fields": ("hello", "world", "and", "more"),
    "a field of ours with a short id": ("p", "short"),
    "a field of ours with a long id": ("p", "x" * 40),
    "an id without a record": ("p", to_blob(id_of(99))),
    "an empty id": ("p", ""),
    "something large": ("p" * 5000, b"\x00\xff" * 5000),
}


@pytest.mark.parametrize("fields", GARBAGE.values(), ids=GARBAGE)
@scenario
async def test_an_entry_that_is_no_payment_is_put_aside_and_those_around_it_are_delivered(one_node, fields):
    async with one_node() as one:
        await one.link.call("XADD", one.keys.queue, "*", *fields)
        assert (await one.queue.backlog()).oldest_us == 0, "claiming is what puts it aside"
        await waiting(one, 1)
        entry = await one.link.call("XADD", one.keys.queue, "*", *fields)
        await one.queue.accept([payment(2)])
        claimed = [each for _ in range(4) for each in await one.queue.claim(1)]
        assert ids(claimed) == numbered(1, 2)
        assert await one.queue.begin([intent(each) for each in claimed]) == [True, True]
        assert await one.ledger.settle([settlement(intent(each)) for each in claimed]) == [True, True]
        assert (await one.queue.backlog()).waiting == 0
        assert await one.link.call("XLEN", one.keys.queue) == 0
        found = dict(await aside(one))
        assert len(found) == 2
        assert "no payment" in found[entry.decode()]
        assert all(len(reason) < 1000 for reason in found.values())


@scenario
async def test_a_second_entry_of_a_payment_is_put_aside_and_the_payment_delivered_once(one_node):
    async with one_node() as one:
        await waiting(one, 1)
        await one.link.call("XADD", one.keys.queue, "*", "p", to_blob(id_of(1)))
        assert ids(await one.queue.claim(9)) == numbered(1)
        assert await places(one.link, one.keys) == {id_of(1): (Q, one.queue.membership.consumer)}
        assert len(await aside(one)) == 1


@scenario
async def test_no_more_than_a_thousand_pieces_of_garbage_are_kept(one_node, monkeypatch):
    async with one_node() as one:
        for _ in range(1100):
            one.link.call("XADD", one.keys.queue, "*", "hello", "world")
        await waiting(one, 1)
        claimed = []
        while not claimed:
            claimed = await one.queue.claim(64)
        assert ids(claimed) == numbered(1)
        assert len(await one.queue.dead_letters(5000)) == 1000
        assert await one.link.call("HGET", one.keys.meta, "poison") == b"1100"


SPOILT = {
    "no record at all": "garbage",
    "empty": "",
    "of another state": "X;1990;1752582897123456;{entry};0",
    "of a state that cannot wait": "A;1990;1752582897123456;{entry};0",
    "of an amount that is none": "Q;12a;1752582897123456;{entry};0",
    "of an amount beyond all bounds": "Q;" + "9" * 40 + ";1752582897123456;{entry};0",
    "cut off": "Q;1990;1752582897123456;{entry}",
    "with half an attempt": "Q;1990;1752582897123456;{entry};0;default",
    "with bytes that are no text": "Q;1990;1752582897123456;{entry};1;\udcff\udcfe;1752582897123456;x",
    "with the place of another": "Q;1990;1752582897123456;1-1;0",
}


async def _spoilt(one, number: int, how: str) -> None:
    entry = (await record_of(one, number)).split(";")[3]
    await spoil(one, number, how.format(entry=entry).encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("how", SPOILT.values(), ids=SPOILT)
@scenario
async def test_a_payment_whose_record_was_spoilt_is_put_aside_and_stops_nobody(one_node, how):
    async with one_node() as one:
        await waiting(one, 3)
        await _spoilt(one, 2, how)
        assert ids(await one.queue.claim(9)) == numbered(1, 3)
        assert (await one.queue.backlog()).waiting == 2
        assert (await one.queue.backlog()).oldest_us is None
        [(_, reason)] = await aside(one)
        assert "no payment" in reason or "cannot be read" in reason
        assert [each async for each, _ in scan_records(one.link, one.keys) if each == id_of(2)] in ([], [id_of(2)])
        # It may have been charged before it was spoilt: only an operator can say.
        assert await one.queue.accept([payment(2, 7)]) == [Acceptance.CONFLICT]


@pytest.mark.parametrize("how", SPOILT.values(), ids=SPOILT)
@scenario
async def test_a_spoilt_record_at_the_head_of_the_queue_is_no_reason_to_stop(one_node, how):
    async with one_node() as one:
        await waiting(one, 2)
        await one.queue.release(await one.queue.claim(1))
        await _spoilt(one, 1, how)
        assert (await one.queue.backlog()).oldest_us is not None
        assert ids(await one.queue.claim(9)) in (numbered(2), numbered(1, 2))
        assert (await one.queue.backlog()).oldest_us is None


@pytest.mark.parametrize("how", SPOILT.values(), ids=SPOILT)
@scenario
async def test_a_record_that_is_spoilt_in_a_dead_hand_is_not_lost_and_stops_nobody(redis_server, redis_prefix, how):
    rows = Rows()
    async with (
        node(redis_server.url, redis_prefix, rows) as dead,
        node(redis_server.url, redis_prefix, rows) as living,
    ):
        await waiting(dead, 4)
        await dead.begun(limit=2)
        await dead.queue.claim(1)
        await _spoilt(dead, 1, how)
        await _spoilt(dead, 3, how)
        await dead.dies()
        found = ids([each.delivery for each in await living.queue.orphans()])
        found += ids(await living.queue.claim(9))
        found += [each for each, _ in await aside(living)]
        assert set(found) >= set(numbered(2, 4))
        assert len(found) >= 3


@pytest.mark.parametrize("how", ["garbage", "D;1990;17;{entry};1;default", "X;1990;17;{entry};1"])
@scenario
async def test_spoilt_dead_letters_neither_hide_the_others_nor_keep_them_from_being_sent_again(one_node, how):
    async with one_node() as one:
        await buried(one, 1)
        await buried(one, 2)
        await _spoilt(one, 1, how)
        assert id_of(2) in [each for each, _ in await aside(one)]
        assert len(await aside(one)) == 2
        assert await one.queue.retry_dead_letters(None) in (1, 2)
        assert ids(await one.queue.claim(9)) == numbered(2)
        assert id_of(1) in [each for each, _ in await aside(one)]


@scenario
async def test_a_charge_is_settled_even_if_its_record_was_spoilt_meanwhile(one_node):
    async with one_node() as one:
        await waiting(one, 2)
        sent = await one.begun(limit=2)
        await spoil(one, 1, "garbage")
        assert await one.ledger.settle([settlement(each) for each in sent]) == [True, True]
        assert await one.queue.accept([payment(2)]) == [Acceptance.DUPLICATE]


@scenario
async def test_a_charge_of_a_pinned_payment_is_settled_even_if_its_record_was_spoilt_meanwhile(one_node):
    async with one_node() as one:
        sent = await pinned(one, 1)
        await spoil(one, 1, "garbage")
        assert await one.ledger.settle([settlement(sent)]) == [True]
        assert await one.queue.accept([payment(1)]) == [Acceptance.CONFLICT], "its amount is not known any more"


@scenario
async def test_places_in_the_queue_with_any_number_are_kept_in_order_and_lose_nobody(one_node):
    """Somebody added an entry with an enormous number, and every later one has one beyond that."""
    async with one_node() as one:
        await waiting(one, 1)
        await one.link.call("XADD", one.keys.queue, "18446744073709551614-999999999999", "hello", "world")
        await one.queue.accept([payment(2), payment(3)])
        claimed = await one.queue.claim(9)
        await one.queue.release(claimed[::-1])
        again = await one.begun(limit=9)
        assert ids([each.delivery for each in again]) == numbered(1, 2, 3)
        await one.queue.leave()
        await one.queue.join()
        assert ids([each.delivery for each in await one.queue.orphans()]) == numbered(1, 2, 3)
