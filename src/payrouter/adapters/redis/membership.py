"""Which dispatcher this is: registered under a name nobody had before, kept by heartbeats, and fenced by losing it.

Everything a dispatcher holds it holds as this instance. When its heartbeat stops, another one takes over what it
held and strikes it off; from then on every script refuses it, and it has to join anew with empty hands.

A call whose answer was lost may still be on its way, and come after what is called next. So before anything else the
instance takes a fresh name, and what comes under an older one is refused: by then it is certain what was done.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from payrouter.adapters.redis.keys import GROUP, Keys
from payrouter.adapters.redis.scripts import Script, load_script
from payrouter.domain.errors import StoreUncertain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from payrouter.adapters.redis.connection import RedisLink

HEARTBEAT_S = 0.5
LASTS_S = 2.0
"""How long a heartbeat counts. A dispatcher that is silent for longer is taken over."""

LANES = 16
_JOIN = load_script("common", "set_free", "join")
_BEAT = load_script("common", "beat")
_RENEW = load_script("common", "renew")
_LEAVE = load_script("common", "set_free", "leave")


class Membership:
    """This dispatcher's registration. `on_fenced` is called when another one has taken over.

    `instance` is empty while there is no registration; `lane` is a small number that no living dispatcher shares, as
    long as there are at most `LANES`; `unsure` says that Redis may have delivered something to it that it does not
    know of.
    """

    def __init__(self, link: RedisLink, keys: Keys, on_fenced: Callable[[], None]) -> None:
        self._link = link
        self._keys = keys
        self._on_fenced = on_fenced
        self.instance = ""
        self.lane = 0
        self.lasts_ms = int(LASTS_S * 1000)
        self.unsure = False
        # Names under which something may still be on its way: the present one, and those it may have by now.
        self._doubted: list[str] = []
        self._renewals = 0
        self._renewing = asyncio.Lock()

    @property
    def consumer(self) -> str:
        """This dispatcher's name in the stream's group: the one it joined under."""
        return self.instance.partition(".")[0]

    async def join(self) -> bool:
        """Register under a fresh name; return whether the ledger may know payments that are not known in Redis.

        Raises:
            StoreUnavailable: if Redis is away.
        """
        keys = self._keys
        names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.orphans, keys.meta]
        args: list[bytes | str | int] = [secrets.token_hex(6), GROUP, self.lasts_ms, LANES]
        instance, unseen = await self._link.eval(_JOIN, names, args)
        self.instance = instance.decode()
        self._doubted = []
        self.lane = int(self.instance.partition("-")[0])
        return bool(unseen)

    async def beat(self) -> bool:
        """Say that this dispatcher lives; False when it was taken over.

        Raises:
            StoreUnavailable: if Redis is away.
        """
        return bool(await self.run(_BEAT, [self._keys.dispatchers], [self.lasts_ms]))

    async def leave(self) -> None:
        """Strike this dispatcher off; what it holds is free at once.

        Raises:
            StoreUnavailable: if Redis is away; then others notice by the heartbeat.
        """
        keys = self._keys
        try:
            await self.run(_LEAVE, [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.orphans], [])
        finally:
            self.instance = ""
            # What may still be on its way was this registration's, and nobody goes on under its name.
            self._doubted = []

    async def run(self, script: Script, names: list[str], args: Sequence[bytes | str | int]) -> Any:
        """Run a script as this dispatcher; None when it is fenced.

        Raises:
            StoreUnavailable: if Redis is away; nothing was done.
            StoreUncertain: the answer was lost. Whether it was done is certain once anything else has been run.
        """
        consumer = self.consumer
        await self.be_certain()
        instance = self.instance
        # Whoever asked may have been taken over while it waited, and have joined anew: that is somebody else.
        if not instance or self.consumer != consumer:
            return None
        try:
            reply = await self._link.eval(script, names, [instance, GROUP, *args])
        except StoreUncertain:
            self.unsure = True
            if instance == self.instance and instance not in self._doubted:
                self._doubted.append(instance)
            raise
        if reply is None:
            self._fenced(instance)
        return reply

    async def be_certain(self) -> None:
        """Return once nothing is on its way any more whose answer was lost.

        Raises:
            StoreUnavailable: if Redis is away.
        """
        if not self._doubted:
            return
        async with self._renewing:
            if not self._doubted:
                return
            instance, doubted = self.instance, self._doubted
            self._renewals += 1
            fresh = f"{self.consumer}.{self._renewals}"
            try:
                kept = await self._link.eval(_RENEW, [self._keys.dispatchers], [fresh, self.lasts_ms, *doubted])
            except StoreUncertain:
                doubted.append(fresh)
                raise
            if kept is None:
                self._fenced(instance)
            else:
                self.instance, self._doubted = fresh, []

    def _fenced(self, instance: str) -> None:
        # Two calls of one instance may both learn it; the second must not strike off the next instance.
        if self.instance == instance:
            self.instance = ""
            self._doubted = []
            self._on_fenced()
