"""Attempts without a holder: those of dispatchers that died, and what was delivered here in an answer that got lost."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.membership import LASTS_S
from payrouter.adapters.redis.scripts import load_script
from payrouter.adapters.redis.spoilt import read, set_aside, traced
from payrouter.adapters.redis.views import pairs
from payrouter.adapters.rows import from_blob
from payrouter.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.redis.departures import Departures
    from payrouter.adapters.redis.holdings import Holdings
    from payrouter.adapters.redis.keys import Keys
    from payrouter.adapters.redis.membership import Membership
    from payrouter.domain.attempt import Intent

_log = logging.getLogger("payrouter")
_ORPHANS = load_script("common", "set_free", "orphans")
_HELD = load_script("common", "held")
_GIVE_UP = load_script("common", "give_up")
_ADOPT_AT_ONCE = 256


class Settled(Protocol):
    """The ledger, as recovering needs it."""

    async def known(self, correlation_ids: Sequence[str]) -> dict[str, int]:
        """Return which of these payments are settled, with their amounts in minor units."""
        ...


class Recovery:
    """Finds what nobody holds, for one dispatcher."""

    def __init__(
        self, keys: Keys, membership: Membership, holdings: Holdings, departures: Departures, ledger: Settled
    ) -> None:
        self._keys = keys
        self._membership = membership
        self._holdings = holdings
        self._departures = departures
        self._ledger = ledger
        self._take_over_from_s = 0.0

    def redis_was_away(self) -> None:
        """Everybody's heartbeat stopped with Redis: for a while nobody is dead for that."""
        self._take_over_from_s = asyncio.get_running_loop().time() + LASTS_S

    async def orphans(self) -> list[Intent]:
        """Claim every unresolved attempt that nobody holds, oldest first, with fresh receipts."""
        intents: list[Intent] = []
        while True:
            try:
                adopted, more = await self._adopt()
            except StoreUnavailable:
                if not intents:
                    raise
                # What was adopted so far is held here and nowhere else: nobody would find it again.
                return intents
            intents += adopted
            if not more:
                return intents

    async def _adopt(self) -> tuple[list[Intent], bool]:
        """Return some unresolved attempts, held here from now on, and whether there may be more."""
        keys = self._keys
        names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.orphans, keys.meta, keys.poison]
        names.append(keys.traces)
        calm = asyncio.get_running_loop().time() >= self._take_over_from_s
        reply = await self._membership.run(_ORPHANS, names, [_ADOPT_AT_ONCE, int(calm), self._membership.lasts_ms])
        if reply is None:
            return [], False
        taken_over, traces, *flat = reply
        if taken_over:
            _log.warning(
                "took over from dispatcher %s, whose heartbeat stopped", taken_over.decode(), extra=fact("took_over")
            )
        adopted, spoilt = read(flat, traced(self._holdings.adopt, traces))
        try:
            await set_aside(self._membership, keys, spoilt, waiting=False)
        except StoreUnavailable as error:
            _log.warning("spoilt payments are put aside later: %s", error, extra=fact("spoilt_later"))
        return await self._still_unsettled(adopted), len(flat) >= 2 * _ADOPT_AT_ONCE

    async def _still_unsettled(self, intents: list[Intent]) -> list[Intent]:
        """Let go of what its former holder had written into the ledger just before it died."""
        if not intents:
            return []
        try:
            settled = await self._ledger.known([one.delivery.correlation_id for one in intents])
        except StoreUnavailable:
            # Repeated, they are answered 422 and settled once more, which changes nothing.
            return intents
        if settled:
            await self._departures.let_go(settled)
        return [one for one in intents if one.delivery.correlation_id not in settled]

    async def give_up_unknown(self) -> None:
        """Free what was delivered to this dispatcher without its knowledge, if there may be such."""
        if not self._membership.unsure:
            return
        self._membership.unsure = False
        try:
            await self._give_up(await self._unknown())
        except StoreUnavailable:
            self._membership.unsure = True
            raise

    async def _unknown(self) -> list[bytes | str | int]:
        """Return id and place in the queue of each payment delivered here that is not held here."""
        keys = self._keys
        held = await self._membership.run(_HELD, [keys.dispatchers, keys.queue], [])
        unknown: list[bytes | str | int] = []
        for blob, entry in pairs(held or []):
            correlation_id = from_blob(blob)
            if correlation_id not in self._holdings and correlation_id not in self._departures:
                unknown += (blob, entry)
        return unknown

    async def _give_up(self, unknown: list[bytes | str | int]) -> None:
        if unknown:
            keys = self._keys
            names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.orphans]
            await self._membership.run(_GIVE_UP, names, unknown)
