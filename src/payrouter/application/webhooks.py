"""Telling a receiver of each settled payment and each dead letter, at least once, in no promised order.

The notices are durable (`ports/notices.py`); here they are claimed, signed and posted. Nothing here is in the way of
payments: a receiver that is down leaves notices waiting, and is asked once a second whether it is back.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.events import StoreFailed, WebhookDelivered, WebhookFailed, WebhooksGivenUp
from payrouter.domain.notice import GIVE_UP_AFTER_S, pause_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from payrouter.domain.ledger import PaymentRecord
    from payrouter.domain.notice import Notice
    from payrouter.ports.clock import Clock
    from payrouter.ports.events import EventSink
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.notices import Notices, Receiver

MOST_AT_ONCE = 16
"""Webhooks under way, of one process."""

LOOK_EVERY_S = 0.25
PROBE_EVERY_S = 1.0
"""While the receiver is down: one webhook at a time, and so seldom."""

DOWN_AFTER = 5
"""Failures in a row after which the receiver counts as down, until it takes one."""

TRIM_EVERY_S = 60.0
STORE_RETRY_S = 0.25

_SECRET_PREFIX = "whsec_"  # noqa: S105 - not a secret: how one may begin
_log = logging.getLogger("payrouter")


def signing_key(secret: str) -> bytes:
    """Return the key of a secret: what follows `whsec_` in base64, as Standard Webhooks has it, or its bytes.

    Raises:
        ValueError: if what follows `whsec_` is not base64.
    """
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("what follows whsec_ is not base64") from None


def signature(key: bytes, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return `webhook-signature` of a message, by the Standard Webhooks scheme (standardwebhooks.com), version 1."""
    signed = b"%b.%d.%b" % (webhook_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told, how a message reads, and what it is signed with. Beyond `most_waiting` notices are given up."""

    receiver: Receiver
    body_of: Callable[[Notice, PaymentRecord], bytes]
    key: bytes = field(repr=False)
    most_waiting: int
    chance: Random = field(default_factory=Random)


class Webhooks:
    """Sends what notices tell of. Payments are looked up when they are told: `ledger` knows them as they are then."""

    def __init__(self, notices: Notices, ledger: Ledger, telling: Telling, clock: Clock, events: EventSink) -> None:
        self._notices = notices
        self._ledger = ledger
        self._telling = telling
        self._clock = clock
        self._events = events
        self._wake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._of_payment: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._more = False
        self._failed_in_a_row = 0
        self._probe_from_s = 0.0

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._trim_forever())
            while True:
                self._wake.clear()
                await self._claim(tasks)
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def drain(self, within_s: float) -> None:
        """Claim nothing more, and return once nothing is under way, or after `within_s`."""
        self._stopping = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=within_s)

    # -- claiming

    @property
    def receiver_is_down(self) -> bool:
        """Whether it has taken nothing of late."""
        return self._failed_in_a_row >= DOWN_AFTER

    def _room(self) -> int:
        if self._stopping:
            return 0
        if self.receiver_is_down:
            return int(not self._under_way and self._clock.monotonic_s() >= self._probe_from_s)
        return MOST_AT_ONCE - len(self._under_way)

    async def _claim(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to send what may be sent now."""
        room = self._room()
        if not room:
            return
        try:
            notices = await self._notices.claim(room)
        except StoreUnavailable as error:
            self._events.publish(StoreFailed("claiming webhooks", str(error)))
            return
        self._more = len(notices) == room
        for notice in notices:
            self._begin(notice, tasks)

    def _begin(self, notice: Notice, tasks: asyncio.TaskGroup) -> None:
        # Two things happened to one payment: told one after the other, or the first could arrive last with its state.
        before = self._of_payment.get(notice.correlation_id)
        task = tasks.create_task(self._send(notice, before))
        self._under_way.add(task)
        self._of_payment[notice.correlation_id] = task
        task.add_done_callback(lambda done: self._ended(notice.correlation_id, done))

    def _ended(self, correlation_id: str, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._of_payment.get(correlation_id) is task:
            del self._of_payment[correlation_id]
        # Several at once: in a cluster each claim is a round trip.
        if self._more and len(self._under_way) <= MOST_AT_ONCE // 2:
            self._wake.set()

    # -- sending

    async def _send(self, notice: Notice, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        try:
            failure = await self._post(notice)
        except StoreUnavailable as error:
            # It is due again when its lease ends.
            self._events.publish(StoreFailed("reading a payment for its webhook", str(error)))
            return
        except Exception:  # noqa: BLE001 - one payment that cannot be told must not keep the others from being told
            _log.exception("the webhook of %s cannot be made", notice.webhook_id)
            failure = "a defect of ours; the log says more"
        if failure is None:
            await self._until_written(lambda: self._notices.delivered([notice]))
        else:
            await self._put_off(notice, failure)

    async def _post(self, notice: Notice) -> str | None:
        """Tell one; return None when it needs no more telling, else what went wrong."""
        record = await self._ledger.find(notice.correlation_id)
        if record is None:
            return None  # purged meanwhile
        telling = self._telling
        body = telling.body_of(notice, record)
        sent_s = self._clock.now_us() // 1_000_000
        headers = (
            ("Content-Type", "application/json"),
            ("webhook-id", notice.webhook_id),
            ("webhook-timestamp", str(sent_s)),
            ("webhook-signature", signature(telling.key, notice.webhook_id, sent_s, body)),
        )
        failure = await telling.receiver.post(headers, body)
        if failure is None:
            self._failed_in_a_row = 0
            self._events.publish(WebhookDelivered(notice.correlation_id, notice.type))
        else:
            self._failed_in_a_row += 1
            self._probe_from_s = self._clock.monotonic_s() + PROBE_EVERY_S
        return failure

    async def _put_off(self, notice: Notice, failure: str) -> None:
        self._events.publish(WebhookFailed(notice.correlation_id, notice.type, failure))
        if self._clock.now_us() - notice.at_us > GIVE_UP_AFTER_S * 1_000_000:
            await self._until_written(lambda: self._notices.delivered([notice]))
            self._events.publish(WebhooksGivenUp(1, f"{notice.webhook_id} after {notice.tries + 1} tries: {failure}"))
            return
        again_in_s = pause_s(notice.tries + 1, self._telling.chance.random())
        await self._until_written(lambda: self._notices.failed(notice, again_in_s))

    async def _until_written(self, write: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await write()
            except StoreUnavailable as error:
                self._events.publish(StoreFailed("recording webhooks", str(error)))
                await asyncio.sleep(STORE_RETRY_S)
            else:
                return

    # -- bounds

    async def _trim_forever(self) -> None:
        while True:
            await asyncio.sleep(TRIM_EVERY_S)
            try:
                given_up = await self._trim()
            except StoreUnavailable as error:
                self._events.publish(StoreFailed("counting webhooks", str(error)))
            else:
                if given_up:
                    most = self._telling.most_waiting
                    self._events.publish(WebhooksGivenUp(given_up, f"the oldest, as more than {most} were waiting"))

    async def _trim(self) -> int:
        given_up = 0
        while step := await self._notices.trim(self._telling.most_waiting):
            given_up += step
        return given_up
