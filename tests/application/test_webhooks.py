"""The sender of webhooks, in virtual time: what it posts, when it tries again, what it does while nobody answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
from collections import Counter
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from application.virtual_time import START_US, VirtualClock, virtually
from payrouter.adapters.memory_notices import MemoryNotices
from payrouter.application.meter import Meter
from payrouter.application.webhooks import MOST_AT_ONCE, Telling, Webhooks, signature, signing_key
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import StoreFailed, WebhookDelivered, WebhookFailed, WebhooksGivenUp
from payrouter.domain.ledger import PaymentRecord
from payrouter.domain.notice import GIVE_UP_AFTER_S, LEASE_S, Notice, pause_s
from payrouter.domain.payment import PaymentState

SETTLED, DEAD = PaymentState.SETTLED, PaymentState.DEAD_LETTER
KEY = b"0123456789abcdef"
DAY_S = 86_400


def id_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


class Books:
    """A ledger of payments that are all settled, but for those that are `gone`."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.defective: set[str] = set()
        self.away_until_s = 0.0

    async def find(self, correlation_id):
        if asyncio.get_running_loop().time() < self.away_until_s:
            raise StoreUnavailable("the ledger is away")
        if correlation_id in self.defective:
            raise ValueError("a record that cannot be read")
        if correlation_id in self.gone:
            return None
        return PaymentRecord(
            correlation_id, 1990, START_US, PaymentState.SETTLED, 1, "default", 1, 1, 1.0, None, ()
        )  # fmt: skip


class FlakyNotices(MemoryNotices):
    """Notices in a store that is away now and then."""

    away_until_s = 0.0

    def _look(self):
        if asyncio.get_running_loop().time() < self.away_until_s:
            raise StoreUnavailable("the store is away")

    async def claim(self, limit):
        self._look()
        return await super().claim(limit)

    async def delivered(self, notices):
        self._look()
        await super().delivered(notices)


class ScriptedReceiver:
    """Answers after `takes_s`; what it says comes from `says`, None being that it took the message."""

    def __init__(self) -> None:
        self.posts: list[tuple[float, str, dict[str, str], bytes]] = []
        self.takes_s = 0.1
        self.says = lambda _webhook_id: None
        self.at_once = 0
        self.most_at_once = 0
        self.open: Counter[str] = Counter()

    @property
    def times(self):
        return [at_s for at_s, *_ in self.posts]

    async def post(self, headers, body):
        given = dict(headers)
        webhook_id = given["webhook-id"]
        payment = body.decode().split()[1]
        assert not self.open[payment], "two webhooks of one payment at once"
        self.posts.append((asyncio.get_running_loop().time(), webhook_id, given, body))
        self.at_once += 1
        self.open[payment] += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes_s)
            return self.says(webhook_id)
        finally:
            self.at_once -= 1
            self.open[payment] -= 1

    async def close(self):
        return


class World:
    def __init__(self, most_waiting: int = 1_000_000) -> None:
        self.clock = VirtualClock()
        self.notices = FlakyNotices(self.clock)
        self.books = Books()
        self.receiver = ScriptedReceiver()
        self.events: list[object] = []
        telling = Telling(
            self.receiver,
            lambda notice, record: f"{notice.type} {record.correlation_id}".encode(),
            KEY,
            most_waiting,
            random.Random(5),
        )
        self.sender = Webhooks(self.notices, self.books, telling, self.clock, self)
        self.more = lambda: Webhooks(self.notices, self.books, telling, self.clock, self)

    def publish(self, event) -> None:
        self.events.append(event)

    def of(self, kind):
        return [one for one in self.events if isinstance(one, kind)]

    def happen(self, *numbers: int, event=SETTLED) -> None:
        for number in numbers:
            self.notices.note(event, id_of(number), self.clock.now_us())

    @asynccontextmanager
    async def running(self):
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.sender.run())
            yield
            task.cancel()


# -- what is posted


@virtually
async def test_a_webhook_is_posted_once_signed_as_the_standard_says():
    world = World()
    world.happen(7)
    async with world.running():
        await asyncio.sleep(100)
    [(at_s, webhook_id, headers, body)] = world.receiver.posts
    assert webhook_id == f"settled_{id_of(7)}"
    assert body == f"payment.settled {id_of(7)}".encode()
    assert headers["Content-Type"] == "application/json"
    timestamp = headers["webhook-timestamp"]
    assert int(timestamp) == (START_US + round(at_s * 1_000_000)) // 1_000_000
    # Computed here anew, with another call.
    mac = hmac.new(KEY, msg=f"{webhook_id}.{timestamp}.".encode() + body, digestmod=hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.standard_b64encode(mac.digest()).decode()
    assert world.of(WebhookDelivered) == [WebhookDelivered(id_of(7), "payment.settled")]
    assert await world.notices.waiting() == (0, None)


def test_the_signature_is_that_of_the_standards_own_example():
    # From the specification of Standard Webhooks.
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_secret_is_base64_after_whsec_and_else_its_own_bytes():
    assert signing_key("whsec_" + base64.b64encode(b"sixteen bytes...").decode()) == b"sixteen bytes..."
    assert signing_key("0123456789abcdef") == b"0123456789abcdef"
    with pytest.raises(ValueError, match="not base64"):
        signing_key("whsec_*")


def test_ids_are_of_the_payment_and_for_dead_letters_of_the_instant():
    assert Notice(id_of(1), SETTLED, 5).webhook_id == Notice(id_of(1), SETTLED, 6).webhook_id
    assert Notice(id_of(1), DEAD, 5).webhook_id != Notice(id_of(1), DEAD, 6).webhook_id
    # The signed text joins with dots.
    assert "." not in Notice(id_of(1), DEAD, 5).webhook_id
    assert Notice(id_of(1), DEAD, 5).type == "payment.dead_letter"


# -- how many at once


@virtually
async def test_sixteen_are_under_way_at_most_and_all_arrive():
    world = World()
    world.happen(*range(200))
    async with world.running():
        await asyncio.sleep(10)
    assert world.receiver.most_at_once == MOST_AT_ONCE
    assert len(world.of(WebhookDelivered)) == len(world.receiver.posts) == 200


@virtually
async def test_what_happened_to_one_payment_is_told_one_after_the_other():
    world = World()
    world.happen(1, event=DEAD)
    world.happen(1)
    async with world.running():
        await asyncio.sleep(10)
    # The receiver asserts that they do not overlap.
    assert len(world.receiver.posts) == 2


@virtually
async def test_two_dispatchers_do_not_both_send_the_same():
    world = World()
    world.receiver.takes_s = 5.0
    world.happen(*range(60))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(world.sender.run()), tasks.create_task(world.more().run())]
        await asyncio.sleep(LEASE_S - 1)
        for one in running:
            one.cancel()
    sent = [webhook_id for _, webhook_id, *_ in world.receiver.posts]
    assert len(sent) == len(set(sent)) == 60


# -- failures


def test_pauses_double_from_a_second_to_an_hour_and_are_spread():
    assert [pause_s(tries, 0.5) for tries in (0, 1, 2, 3, 11, 12, 13, 40)] == [1, 1, 2, 4, 1024, 2048, 3600, 3600]
    assert pause_s(3, 0.0) == 2.0
    assert pause_s(3, 1.0) == 6.0
    assert pause_s(1, 0.0) == 1.0


@virtually
async def test_a_webhook_that_fails_is_tried_again_later_and_later_until_it_is_taken():
    world = World()
    world.receiver.says = lambda _: "answered 500: ''" if len(world.receiver.posts) < 5 else None
    world.happen(1)
    async with world.running():
        await asyncio.sleep(200)
    pauses = [later - earlier for earlier, later in pairwise(world.receiver.times)]
    assert len(pauses) == 4
    for pause, doubled in zip(pauses, (1, 2, 4, 8), strict=True):
        assert 0.5 * doubled <= pause <= 1.5 * doubled + 0.5
    assert len(world.of(WebhookFailed)) == 4
    assert world.of(WebhookFailed)[0] == WebhookFailed(id_of(1), "payment.settled", "answered 500: ''")
    assert len(world.of(WebhookDelivered)) == 1


@virtually
async def test_one_that_always_fails_keeps_no_other_waiting():
    world = World()
    world.receiver.says = lambda webhook_id: "answered 400: 'no'" if id_of(3) in webhook_id else None
    world.happen(*range(50))
    async with world.running():
        await asyncio.sleep(3)
        assert len(world.of(WebhookDelivered)) == 49
    assert await world.notices.waiting() == (1, START_US)


@virtually
async def test_while_the_receiver_is_down_it_is_asked_once_a_second_and_then_told_everything():
    world = World()
    up_from_s = 300.0
    world.receiver.says = lambda _: None if asyncio.get_running_loop().time() > up_from_s else "cannot connect"
    world.happen(*range(1000))
    async with world.running():
        await asyncio.sleep(200)
        later = [at_s for at_s in world.receiver.times if at_s > 2]
        assert 150 <= len(later) <= 198
        assert all(b - a >= 1.0 for a, b in pairwise(later))
        await asyncio.sleep(400)
        assert len(world.of(WebhookDelivered)) == 1000
    assert await world.notices.waiting() == (0, None)


@virtually
async def test_a_webhook_is_given_up_after_three_days_and_that_is_told():
    world = World()
    world.receiver.takes_s = 0.001
    world.receiver.says = lambda _: "answered 410: 'gone'"
    world.notices.note(SETTLED, id_of(1), START_US - (GIVE_UP_AFTER_S - 600) * 1_000_000)
    async with world.running():
        await asyncio.sleep(590)
        assert not world.of(WebhooksGivenUp)
        assert len(world.receiver.posts) > 6
        await asyncio.sleep(1000)
        [given_up] = world.of(WebhooksGivenUp)
        assert given_up.count == 1
        assert f"settled_{id_of(1)} after {len(world.receiver.posts)} tries: answered 410" in given_up.detail
    assert await world.notices.waiting() == (0, None)
    assert GIVE_UP_AFTER_S == 3 * DAY_S
    meter = Meter(())
    for event in world.events:
        meter.publish(event)
    counted = {one.labels[0]: one.value for one in meter.counts() if one.name == "webhooks_total"}
    assert counted == {"failed": len(world.receiver.posts), "given-up": 1}


@virtually
async def test_what_waited_for_days_without_a_try_is_still_tried():
    world = World()
    world.notices.note(SETTLED, id_of(1), START_US - 10 * DAY_S * 1_000_000)
    async with world.running():
        await asyncio.sleep(1)
    assert len(world.of(WebhookDelivered)) == 1


@virtually
async def test_more_than_may_wait_are_given_up_oldest_first():
    world = World(most_waiting=10)
    world.receiver.says = lambda _: "cannot connect"
    world.happen(*range(100))
    async with world.running():
        await asyncio.sleep(70)
        assert (await world.notices.waiting())[0] == 10
    [given_up] = world.of(WebhooksGivenUp)
    assert given_up.count == 90


# -- trouble of our own


@virtually
async def test_a_purged_payment_is_not_told():
    world = World()
    world.books.gone.add(id_of(1))
    world.happen(1)
    async with world.running():
        await asyncio.sleep(1)
    assert not world.receiver.posts
    assert await world.notices.waiting() == (0, None)


@virtually
async def test_a_payment_that_cannot_be_read_is_tried_again_and_keeps_no_other_waiting():
    world = World()
    world.books.defective.add(id_of(1))
    world.happen(1, 2)
    async with world.running():
        await asyncio.sleep(1)
        assert world.of(WebhookDelivered) == [WebhookDelivered(id_of(2), "payment.settled")]
        world.books.defective.clear()
        await asyncio.sleep(5)
    assert len(world.of(WebhookDelivered)) == 2


@virtually
async def test_a_store_that_is_away_holds_webhooks_up_and_loses_none():
    world = World()
    world.books.away_until_s = 2.0
    world.notices.away_until_s = 1.0
    world.happen(*range(30))
    async with world.running():
        await asyncio.sleep(0.9)
        assert world.of(StoreFailed)
        await asyncio.sleep(LEASE_S + 10)
    assert {one.correlation_id for one in world.of(WebhookDelivered)} == {id_of(number) for number in range(30)}
    assert await world.notices.waiting() == (0, None)


@virtually
async def test_a_delivery_that_cannot_be_written_down_is_written_down_later():
    world = World()
    world.happen(1)
    async with world.running():
        await asyncio.sleep(0.05)
        world.notices.away_until_s = 5.0
        await asyncio.sleep(10)
    assert len(world.receiver.posts) == 1
    assert await world.notices.waiting() == (0, None)


@virtually
async def test_at_a_stop_nothing_more_is_begun_and_what_is_under_way_may_finish():
    world = World()
    world.receiver.takes_s = 0.5
    world.happen(*range(40))
    async with world.running():
        await asyncio.sleep(0.1)
        await world.sender.drain(1.0)
        assert len(world.of(WebhookDelivered)) == len(world.receiver.posts) == MOST_AT_ONCE
    assert (await world.notices.waiting())[0] == 40 - MOST_AT_ONCE
