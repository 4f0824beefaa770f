"""How charged payments leave Redis: which charge may be written into the ledger, and letting go once it is."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.keys import GROUP, Keys
from payrouter.adapters.redis.records import Record, decode_or_none
from payrouter.adapters.redis.scripts import load_script
from payrouter.adapters.redis.views import read_stored
from payrouter.adapters.rows import read_failure_lines, to_blob, write_failure
from payrouter.domain.errors import StoreUnavailable
from payrouter.domain.ledger import AttemptRecord
from payrouter.domain.payment import PaymentEvent, PaymentState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.holdings import Claim, Holdings
    from payrouter.domain.attempt import Intent
    from payrouter.domain.ledger import Settlement

    Standing = tuple[int, tuple[AttemptRecord, ...]]

LEAVE_AT_ONCE = 128
"""Redis does nothing else meanwhile, and accepts are waiting."""

TOLD_DEAD_AFTER_S = 60
"""A charge that was proven is a dead letter while it is settled: told as one only if that takes longer."""

_log = logging.getLogger("payrouter")
_SETTLED = load_script("common", "note", "settled")
_SET_PROVEN = load_script("common", "note", "set_proven")
_PROVEN = "its record shows the charge; payrouter audit --repair settles it"


class Departures:
    """A charge is a fact, whoever reports it: nothing here needs a registration.

    `remember` is how many settled payments Redis knows at least half of. With `notices` on, one is written of each
    payment that leaves.
    """

    def __init__(
        self, link: RedisLink, keys: Keys, holdings: Holdings, *, remember: int, notices: bool = False
    ) -> None:
        self._link = link
        self._keys = keys
        self._holdings = holdings
        self._remember = remember
        self._notices = notices
        self._leaving: dict[str, None] = {}

    def __contains__(self, correlation_id: str) -> bool:
        """Return whether a payment is in the ledger and still to be removed."""
        return correlation_id in self._leaving

    async def standing(self, settlements: Sequence[Settlement]) -> list[Standing | None]:
        """Return attempts made and failures kept of each charge that may be written, None for those that may not.

        A charge may be written where its attempt stands. What is held here and was attempted once needs no asking.
        """
        found: list[Standing | None] = [None] * len(settlements)
        ask: dict[int, bytes] = {}
        for index, settlement in enumerate(settlements):
            delivery = settlement.intent.delivery
            claim = self._holdings.behind(delivery)
            if claim is None or not _is_first_attempt(claim):
                ask[index] = to_blob(delivery.correlation_id)
            elif _is_of(claim.record, settlement.intent):
                found[index] = (claim.record.attempts, ())
        stored = await read_stored(self._link, self._keys, list(ask.values()))
        for index, (record, failures) in zip(ask, stored, strict=True):
            found[index] = self._may_settle(settlements[index].intent, record, failures)
        return found

    def _may_settle(self, intent: Intent, stored: bytes, failures: bytes) -> Standing | None:
        record = decode_or_none(stored)
        if record is not None:
            return (record.attempts, read_failure_lines(failures)) if _is_of(record, intent) else None
        # Not there any more: settled, then the ledger has it; purged, then the receipt is void. Or spoilt, or lost by
        # a Redis that does not sync every write: the charge is a fact all the same.
        delivery = intent.delivery
        return (delivery.attempts + 1, ()) if self._holdings.gave(delivery.receipt) else None

    async def take_waiting(self, settlements: Sequence[Settlement]) -> list[Standing | None]:
        """Let nobody begin waiting payments that were charged; return the same as `standing`.

        Until they are settled they are dead letters with this attempt, where an operator sees them.
        """
        found: list[Standing | None] = [None] * len(settlements)
        args: list[bytes | str | int] = [GROUP, self._notices * TOLD_DEAD_AFTER_S * 1_000_000]
        taking: dict[int, Standing] = {}
        blobs = [to_blob(one.intent.delivery.correlation_id) for one in settlements]
        stored = await read_stored(self._link, self._keys, blobs)
        for index, (blob, (before, failures)) in enumerate(zip(blobs, stored, strict=True)):
            settlement, record = settlements[index], decode_or_none(before)
            intent = settlement.intent
            if record is None or record.state is not PaymentState.QUEUED:
                continue
            if record.amount_minor != intent.delivery.amount_minor or blob in args:
                continue
            begun = record.begun(intent.processor, intent.requested_us, intent.reason)
            told = AttemptRecord(settlement.settled_us, intent.processor, PaymentEvent.PROVEN.value, _PROVEN)
            after = begun.moved(PaymentState.DEAD_LETTER, forget=False).encode()
            args += (blob, before, after, write_failure(told))
            taking[index] = (begun.attempts, read_failure_lines(failures))
        if taking:
            keys = self._keys
            names = [keys.queue, keys.payments, keys.again, keys.dead, keys.failures, keys.meta, keys.of_notices[0]]
            digits = await self._link.eval(_SET_PROVEN, names, args)
            for (index, standing), digit in zip(taking.items(), digits, strict=True):
                found[index] = standing if digit == ord("1") else None
        return found

    async def let_go(self, correlation_ids: Iterable[str]) -> None:
        """Remove payments that are in the ledger, whoever holds them. With Redis away this is made up for later."""
        for correlation_id in correlation_ids:
            self._leaving[correlation_id] = None
            # Whatever else is said of it from here on concerns nobody.
            self._holdings.settled(correlation_id)
        try:
            await self.make_up()
        except StoreUnavailable as error:
            _log.warning(
                "%d settled payments leave the queue later: %s",
                len(self._leaving),
                error,
                extra=fact("settled_kept_in_queue"),
            )

    async def make_up(self) -> None:
        """Remove what could not be removed before.

        Raises:
            StoreUnavailable: if Redis is still away.
        """
        keys = self._keys
        names = [
            keys.queue,
            keys.payments,
            keys.again,
            keys.dead,
            keys.orphans,
            keys.failures,
            keys.meta,
            keys.known,
            keys.known_before,
            keys.traces,
            *keys.of_notices,
        ]
        while self._leaving:
            leaving = list(islice(self._leaving, LEAVE_AT_ONCE))
            args: list[bytes | str | int] = [GROUP, self._remember, int(self._notices), *map(to_blob, leaving)]
            await self._link.eval(_SETTLED, names, args)
            for correlation_id in leaving:
                self._leaving.pop(correlation_id, None)

    def forget(self) -> None:
        """Everything was purged."""
        self._leaving.clear()


def _is_first_attempt(claim: Claim) -> bool:
    """Return whether all there is to know of an attempt is known here: nothing failed before it."""
    return claim.record.state is PaymentState.ATTEMPTING and claim.record.attempts == 1 and not claim.adopted


def _is_of(record: Record, intent: Intent) -> bool:
    """Return whether a record's standing attempt is this one."""
    return record.attempt is not None and record.attempt[:2] == (intent.processor, intent.requested_us)
