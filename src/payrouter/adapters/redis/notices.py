"""Notices in Redis, written by the scripts that let go of settled payments and that bury; told by any dispatcher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.redis.scripts import load_script
from payrouter.adapters.rows import from_blob, to_blob
from payrouter.domain.notice import LEASE_S, Notice
from payrouter.domain.payment import PaymentState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.redis.connection import RedisLink
    from payrouter.adapters.redis.keys import Keys

TRIM_AT_ONCE = 1000
"""Redis does nothing else meanwhile, and accepts are waiting."""

_CLAIM = load_script("common", "note", "claim_notices")
_END = load_script("common", "note", "end_notices")
_PUT_OFF = load_script("common", "note", "put_off_notice")
_COUNT = load_script("common", "note", "count_notices")
_TRIM = load_script("common", "note", "trim_notices")


class RedisNotices:
    """`Notices` in Redis. Instants are by Redis' clock."""

    def __init__(self, link: RedisLink, keys: Keys) -> None:
        self._link = link
        self._names = list(keys.of_notices)

    async def claim(self, limit: int) -> list[Notice]:
        """Take up to `limit` notices that are due, those due longest first."""
        if limit <= 0:
            return []
        flat = await self._link.eval(_CLAIM, self._names, [limit, round(LEASE_S * 1_000_000)])
        return [
            Notice(from_blob(member[1:]), PaymentState(int(member[:1])), int(since), int(tries))
            for member, since, tries in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        ]

    async def delivered(self, notices: Sequence[Notice]) -> None:
        """Forget claimed notices: they were told, or given up."""
        if notices:
            args: list[bytes | str | int] = []
            for one in notices:
                args += (_member(one), one.at_us)
            await self._link.eval(_END, self._names, args)

    async def failed(self, notice: Notice, again_in_s: float) -> None:
        """Make a claimed notice due in so many seconds, with one failed try more."""
        args: list[bytes | str | int] = [_member(notice), notice.at_us, round(again_in_s * 1_000_000)]
        await self._link.eval(_PUT_OFF, self._names, args)

    async def waiting(self) -> tuple[int, int | None]:
        """Return how many there are, and since when (UTC us) the oldest waits."""
        count, *oldest = await self._link.eval(_COUNT, self._names[:2], [])
        return count, int(oldest[0]) if oldest else None

    async def trim(self, keep: int) -> int:
        """Give up those due longest until `keep` are left, some thousand a call; return how many."""
        return int(await self._link.eval(_TRIM, self._names, [keep, TRIM_AT_ONCE]))


def _member(notice: Notice) -> bytes:
    return b"%d%b" % (notice.event, to_blob(notice.correlation_id))
