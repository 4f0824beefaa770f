"""The queue and the intents in Redis: a stream, one record per unsettled payment, and scripts that move them.

What this process holds is known here (`holdings`); whether it still may act is decided in Redis, by the instance it
is registered as (`membership`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.dead_letters import retry
from payrouter.adapters.redis.departures import Departures
from payrouter.adapters.redis.holdings import Claim, Holdings
from payrouter.adapters.redis.keys import GROUP, Keys
from payrouter.adapters.redis.membership import HEARTBEAT_S, LASTS_S, Membership
from payrouter.adapters.redis.records import Record, decode_or_none
from payrouter.adapters.redis.recovery import Recovery
from payrouter.adapters.redis.scripts import load_script
from payrouter.adapters.redis.spoilt import read, set_aside, traced
from payrouter.adapters.redis.views import (
    count_dead_letters,
    count_poison,
    read_dead_letters,
    read_payment,
    read_poison,
)
from payrouter.adapters.rows import to_blob, write_failure
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.ledger import KEPT_FAILURES, AttemptRecord
from payrouter.domain.payment import PaymentEvent, PaymentState, next_state
from payrouter.domain.window import Window
from payrouter.ports.queue import Acceptance, Backlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.domain.attempt import Delivery, FailedAttempt, Intent
    from payrouter.domain.ledger import PaymentRecord, Totals
    from payrouter.domain.payment import Payment
    from payrouter.ports.queue import DeadLetter

    Args = list[bytes | str | int]

_log = logging.getLogger("payrouter")

_ACCEPT = load_script("accept")
_BACKLOG = load_script("common", "backlog")
_CLAIM = load_script("common", "claim")
_RELEASE = load_script("common", "release")
_BEGIN = load_script("common", "begin")
_CONCLUDE = load_script("common", "note", "conclude")
_BURY = load_script("common", "note", "bury")
_FORGOT = load_script("common", "forgot")
_PURGE = load_script("purge")

_ANSWERS = {
    ord("0"): Acceptance.ACCEPTED,
    ord("1"): Acceptance.DUPLICATE,
    ord("2"): Acceptance.CONFLICT,
    ord("3"): Acceptance.FULL,
}
_CLAIM_AT_ONCE = 1000
_LOOK_BACK_WITHIN_S = 1.0
_OTHER_AMOUNT = "this correlationId was settled before with another amount; use a new one for a new payment"


class SettledBefore(Protocol):
    """The ledger, as the queue needs it."""

    async def known(self, correlation_ids: Sequence[str]) -> dict[str, int]:
        """Return which of these payments are settled, with their amounts in minor units."""
        ...

    async def summary(self, window: Window) -> dict[str, Totals]:
        """Return totals by processor name."""
        ...

    async def purge(self) -> None:
        """Forget every row."""
        ...


class RedisQueue:
    """`PaymentQueue` on Redis. `limit` bounds how many payments may wait, `remember` how many settled ones are known.

    `ledger` knows the settled payments that Redis remembers no more. With `notices` on, one is written of each payment
    that settles or becomes a dead letter. A dispatcher calls `join` first and runs `keep`;
    a process that only accepts and reads does neither.
    """

    def __init__(  # noqa: PLR0913 - what it is made of, and three numbers of the operator
        self,
        link: RedisLink,
        keys: Keys,
        ledger: SettledBefore,
        *,
        limit: int,
        remember: int = 1_000_000,
        notices: bool = False,
    ) -> None:
        self._link = link
        self._keys = keys
        self._ledger = ledger
        self._limit = limit
        self._notices = int(notices)
        self._holdings = Holdings()
        self._returning: dict[str, tuple[bytes, bytes]] = {}
        self._looks_back = False
        self._connections = 0
        self.membership = Membership(link, keys, self._fenced)
        self.departures = Departures(link, keys, self._holdings, remember=remember, notices=notices)
        self.recovery = Recovery(keys, self.membership, self._holdings, self.departures, ledger)

    # -- accept

    async def accept(self, payments: Sequence[Payment]) -> list[Acceptance]:
        """Make payments durable; one answer per payment, in order."""
        if not payments:
            return []
        keys = self._keys
        args: Args = [self._limit]
        for payment in payments:
            facts = f"{payment.amount_minor};{payment.accepted_us}"
            args += (to_blob(payment.correlation_id), f"{facts};{payment.trace}" if payment.trace else facts)
        names = [keys.payments, keys.queue, keys.meta, keys.known, keys.known_before, keys.traces]
        return [_ANSWERS[digit] for digit in await self._link.eval(_ACCEPT, names, args)]

    # -- claim

    async def backlog(self) -> Backlog:
        """Return what waits at this moment."""
        keys = self._keys
        names = [keys.queue, keys.payments, keys.again, keys.meta]
        waiting, *first = await self._link.eval(_BACKLOG, names, [GROUP])
        if not first:
            return Backlog(waiting, None)
        # For an entry that is no payment, or a spoilt one, the beginning of time: claiming puts it aside.
        record = decode_or_none(first[0])
        return Backlog(waiting, record.accepted_us if record is not None else 0)

    async def claim(self, limit: int) -> list[Delivery]:
        """Take up to `limit` waiting payments, oldest first; empty when none waits."""
        if limit <= 0:
            return []
        # First what is to be given back: later, it could be taken from whoever is given it now.
        if self._returning:
            await self._give_back()
        keys = self._keys
        names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.meta, keys.poison, keys.traces]
        reply = await self.membership.run(_CLAIM, names, [min(limit, _CLAIM_AT_ONCE)])
        if reply is None:
            return []
        forgot, traces, *flat = reply
        deliveries, spoilt = read(flat, traced(self._holdings.claim, traces))
        try:
            await set_aside(self.membership, keys, spoilt, waiting=True)
            if deliveries and forgot != b"0":
                return await self._not_settled_before(deliveries)
        except StoreUnavailable:
            await self.release(deliveries)
            raise
        return deliveries

    async def _not_settled_before(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Sort out payments that were settled so long ago that accepting did not know them any more (I2)."""
        amounts = await self._ledger.known([one.correlation_id for one in deliveries])
        before = [one for one in deliveries if one.correlation_id in amounts]
        same = [one.correlation_id for one in before if amounts[one.correlation_id] == one.amount_minor]
        if same:
            await self.departures.let_go(same)
        await self._bury([one for one in before if amounts[one.correlation_id] != one.amount_minor])
        return [one for one in deliveries if one.correlation_id not in amounts]

    async def _bury(self, deliveries: list[Delivery]) -> None:
        args: Args = [self._notices]
        buried: dict[str, Claim] = {}
        for delivery in deliveries:
            claim = self._holdings.behind(delivery)
            if claim is not None:
                buried[delivery.correlation_id] = claim
                failure = AttemptRecord(delivery.accepted_us, "", PaymentEvent.INVALID.value, _OTHER_AMOUNT)
                args += (to_blob(delivery.correlation_id), claim.stored, write_failure(failure))
        if buried:
            keys = self._keys
            names = [keys.dispatchers, keys.queue, keys.payments, keys.dead, keys.failures, keys.meta, *keys.of_notices]
            await self.membership.run(_BURY, names, args)
            for correlation_id, claim in buried.items():
                self._holdings.drop(correlation_id, claim)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give claimed payments back unsent; they keep their place in the queue.

        With Redis away they are given back once it is there again.
        """
        for delivery in deliveries:
            claim = self._holdings.behind(delivery)
            if claim is not None and claim.record.state is PaymentState.QUEUED:
                self._holdings.drop(delivery.correlation_id, claim)
                self._returning[delivery.correlation_id] = (claim.stored, claim.begun)
        try:
            await self._give_back()
        except StoreUnavailable as error:
            _log.warning(
                "%d payments are given back later: %s", len(self._returning), error, extra=fact("given_back_later")
            )

    async def _give_back(self) -> None:
        if not self._returning:
            return
        # Before looking what there is: while this waits, some of it may be done, and delivered here anew.
        await self.membership.be_certain()
        keys, returning = self._keys, dict(self._returning)
        args: Args = []
        for correlation_id, (claimed, begun) in returning.items():
            args += (to_blob(correlation_id), claimed, begun)
        names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.meta]
        await self.membership.run(_RELEASE, names, args)
        for correlation_id, given in returning.items():
            # Claimed and given back once more meanwhile: that has not been done.
            if self._returning.get(correlation_id) is given:
                del self._returning[correlation_id]

    # -- intents

    async def begin(self, intents: Sequence[Intent]) -> list[bool]:
        """Write intents before they are sent. False where the receipt is stale or an intent already stands."""
        args: Args = []
        trying: dict[int, tuple[Claim, Record]] = {}
        seen: set[str] = set()
        for index, intent in enumerate(intents):
            correlation_id, claim = intent.delivery.correlation_id, self._holdings.behind(intent.delivery)
            if claim is None or claim.record.state is not PaymentState.QUEUED or correlation_id in seen:
                continue
            seen.add(correlation_id)
            record = claim.record.begun(intent.processor, intent.requested_us, intent.reason)
            claim.begun = record.encode()
            args += (to_blob(correlation_id), claim.stored, claim.begun)
            trying[index] = (claim, record)
        written = [False] * len(intents)
        if not trying:
            return written
        keys = self._keys
        digits = await self.membership.run(_BEGIN, [keys.dispatchers, keys.payments, keys.meta, keys.queue], args)
        if digits is None:
            return written
        for (index, (claim, record)), digit in zip(trying.items(), digits, strict=True):
            if digit == ord("1"):
                claim.record, claim.stored = record, claim.begun
                written[index] = True
            else:
                # It is in other hands, or purged. Or a lost call of ours wrote another intent: that is given up.
                self._holdings.drop(intents[index].delivery.correlation_id, claim)
                self.membership.unsure = True
        return written

    async def conclude(self, failures: Sequence[FailedAttempt]) -> None:
        """Write down attempts that did not charge and move their payments as `payment.TRANSITIONS` says."""
        moved: dict[str, tuple[Claim, Record, bytes]] = {}
        args: Args = [KEPT_FAILURES, self._notices]
        for failure in failures:
            delivery = failure.intent.delivery
            correlation_id, claim = delivery.correlation_id, self._holdings.behind(delivery)
            if claim is None:
                continue
            _, record, stored = moved.get(correlation_id, (claim, claim.record, claim.stored))
            if record.state not in (PaymentState.ATTEMPTING, PaymentState.PINNED):
                continue
            after = _concluded(record, failure.event, adopted=claim.adopted)
            text = after.encode()
            args += (to_blob(correlation_id), stored, text, write_failure(AttemptRecord.of(failure)))
            moved[correlation_id] = (claim, after, text)
        if not moved:
            return
        keys = self._keys
        names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.dead, keys.failures, keys.meta]
        digits = await self.membership.run(_CONCLUDE, [*names, *keys.of_notices], args)
        if digits is None:
            return
        if ord("0") in digits:
            # What was moved before may have come back to us in an answer that was lost, too.
            self.membership.unsure = True
        for correlation_id, (claim, record, text) in moved.items():
            if record.state is PaymentState.PINNED:
                claim.record, claim.stored = record, text
            else:
                self._holdings.drop(correlation_id, claim)

    # -- life of a dispatcher

    async def join(self) -> None:
        """Register as a dispatcher. On a new Redis it looks whether the ledger is as new."""
        self._looks_back = await self.membership.join()
        await self._look_back()

    async def _look_back(self) -> None:
        """Find out whether payments were settled that Redis does not know; until then the ledger is always asked."""
        if not self._looks_back:
            return
        try:
            # Not for so long that the heartbeat stops.
            async with asyncio.timeout(_LOOK_BACK_WITHIN_S):
                settled = await self._ledger.summary(Window())
        except (StoreUnavailable, TimeoutError) as error:
            _log.warning(
                "this Redis is new, and the ledger does not say whether it is too: %s",
                error or "no answer",
                extra=fact("store_new"),
            )
            return
        await self._link.eval(_FORGOT, [self._keys.meta], [int(bool(settled))])
        self._looks_back = False

    async def leave(self) -> None:
        """Give everything back: others find it at once."""
        try:
            await self.departures.make_up()
            await self.membership.leave()
        except StoreUnavailable as error:
            _log.warning("left without a word, others notice in %g s: %s", LASTS_S, error, extra=fact("left_unheard"))
        self._holdings.clear()
        self._returning.clear()

    async def keep(self) -> None:
        """Say that this dispatcher lives, and make up for what Redis was not there for; for ever."""
        while True:
            try:
                await self._keep_once()
            except StoreUnavailable:
                self.recovery.redis_was_away()
            await asyncio.sleep(HEARTBEAT_S)

    async def _keep_once(self) -> None:
        if not await self.membership.beat():
            await self.join()
        await self.departures.make_up()
        await self._give_back()
        if self._connections != self._link.connections:
            self._connections = self._link.connections
            # One that does not sync every write may have forgotten what this dispatcher is done with.
            self.membership.unsure = True
        await self.recovery.give_up_unknown()
        await self._look_back()

    def _fenced(self) -> None:
        """Another dispatcher has taken over what was held here: these hands are empty."""
        _log.warning(
            "another dispatcher took over; %d payments held here are its own now",
            len(self._holdings),
            extra=fact("taken_over"),
        )
        self._holdings.clear()
        self._returning.clear()

    async def orphans(self) -> list[Intent]:
        """Claim every unresolved attempt that nobody holds, oldest first, with fresh receipts."""
        return await self.recovery.orphans()

    # -- dead letters, one payment, purge

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first; entries in the stream that were no payments come after them."""
        return await read_dead_letters(self._link, self._keys, limit)

    async def dead_letter_counts(self) -> tuple[int, int]:
        """Return how many dead letters there are, and how often something nobody can read was put aside."""
        return await count_dead_letters(self._link, self._keys), await count_poison(self._link, self._keys)

    async def poison(self, limit: int) -> dict[str, str]:
        """Return what was put aside because nobody can read it, by its place or id, with how it begins."""
        return await read_poison(self._link, self._keys, limit)

    async def retry_dead_letters(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many; a pinned one repeats its attempt."""
        return await retry(self._link, self._keys, correlation_ids)

    async def find(self, correlation_id: str) -> PaymentRecord | None:
        """Return what is known of a payment that is not settled."""
        return await read_payment(self._link, self._keys, correlation_id)

    async def purge(self) -> None:
        """Forget every payment, intent, ledger row and claim."""
        keys = self._keys
        names = [keys.queue, keys.payments, keys.again, keys.dead, keys.orphans, keys.failures, keys.meta]
        names += [keys.known, keys.known_before, keys.poison, keys.traces, *keys.of_notices]
        await self._link.eval(_PURGE, names, [GROUP])
        self.forget()
        await self._ledger.purge()
        await self._link.eval(_FORGOT, [keys.meta], [0])

    def forget(self) -> None:
        """Everything was purged: what is held here does not exist any more.

        Whoever hears of it late may hold something newer; that is given up, and adopted by somebody.
        """
        self._holdings.purge()
        self.membership.unsure = True
        self._returning.clear()
        self.departures.forget()


def _concluded(record: Record, event: PaymentEvent, *, adopted: bool) -> Record:
    """Return a record after an attempt that did not charge."""
    # The attempt a dead process left is of unknown outcome, whatever its repeats say (I6).
    before = PaymentState.PINNED if adopted else record.state
    after = next_state(before, event)
    # What was pinned keeps its intent whatever happens (I6), in the dead letters too.
    return record.moved(after, forget=before is PaymentState.ATTEMPTING and after is not PaymentState.PINNED)
