"""Which dispatcher this is: registered under a name nobody had before, kept by heartbeats, and fenced by losing it.

Everything a dispatcher holds it holds as this instance. When its heartbeat stops, another one takes over what it
held and strikes it off; from then on every script refuses it, and it has to join anew with empty hands.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from payrouter.adapters.redis.keys import GROUP, Keys
from payrouter.adapters.redis.scripts import Script, load_script
from payrouter.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from payrouter.adapters.redis.connection import RedisLink

HEARTBEAT_S = 0.5
LASTS_S = 2.0
"""How long a heartbeat counts. A dispatcher that is silent for longer is taken over."""

LANES = 16
_LASTS_MS = int(LASTS_S * 1000)
_JOIN = load_script("common", "set_free", "join")
_BEAT = load_script("common", "beat")
_LEAVE = load_script("common", "set_free", "leave")


class Membership:
    """This dispatcher's registration. `on_fenced` is called when another one has taken over.

    `instance` is empty while there is no registration; `lane` is a small number that no living dispatcher shares, as
    long as there are at most `LANES`; `unsure` says that Redis may have done something for it whose
    answer never came.
    """

    def __init__(self, link: RedisLink, keys: Keys, on_fenced: Callable[[], None]) -> None:
        self._link = link
        self._keys = keys
        self._on_fenced = on_fenced
        self.instance = ""
        self.lane = 0
        self.unsure = False

    async def join(self) -> bool:
        """Register under a fresh name; return whether this is the first dispatcher ever on this Redis.

        Raises:
            StoreUnavailable: if Redis is away.
        """
        keys = self._keys
        names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.orphans, keys.meta]
        args: list[bytes | str | int] = [secrets.token_hex(6), GROUP, _LASTS_MS, LANES]
        instance, known = await self._link.eval(_JOIN, names, args)
        self.instance = instance.decode()
        self.lane = int(self.instance.partition("-")[0])
        return not known

    async def beat(self) -> bool:
        """Say that this dispatcher lives; False when it was taken over.

        Raises:
            StoreUnavailable: if Redis is away.
        """
        instance = self.instance
        if not instance:
            return False
        alive = await self._link.eval(_BEAT, [self._keys.dispatchers], [instance, _LASTS_MS])
        if not alive:
            self._fenced(instance)
        return bool(alive)

    async def leave(self) -> None:
        """Strike this dispatcher off; what it holds is free at once.

        Raises:
            StoreUnavailable: if Redis is away; then others notice by the heartbeat.
        """
        instance, self.instance = self.instance, ""
        if instance:
            keys = self._keys
            names = [keys.dispatchers, keys.queue, keys.payments, keys.again, keys.orphans]
            await self._link.eval(_LEAVE, names, [instance, GROUP])

    async def run(self, script: Script, names: list[str], args: Sequence[bytes | str | int]) -> Any:
        """Run a script as this dispatcher; None when it is fenced.

        Raises:
            StoreUnavailable: if Redis is away; it may have been done all the same.
        """
        instance = self.instance
        if not instance:
            return None
        try:
            reply = await self._link.eval(script, names, [instance, GROUP, *args])
        except StoreUnavailable:
            self.unsure = True
            raise
        if reply is None:
            self._fenced(instance)
        return reply

    def _fenced(self, instance: str) -> None:
        # Two calls of one instance may both learn it; the second must not strike off the next instance.
        if self.instance == instance:
            self.instance = ""
            self._on_fenced()
