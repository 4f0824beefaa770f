"""How fast one client may hand in payments: a token bucket per client, in memory, bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BURST_S = 2.0
"""A client that was silent may hand in at once what it may in so many seconds."""

MOST_CLIENTS = 10_000
"""Clients remembered, some 150 bytes each. The one that was silent longest is forgotten, and its bucket full again."""


class RateLimit:
    """Token buckets of `per_s` tokens a second, holding those of `BURST_S`, and one at least.

    Each is kept as one number, the second at which it will be full again; each token taken puts that off by `1 / per_s`
    (the generic cell rate algorithm, ITU-T I.371).
    """

    def __init__(self, per_s: float, monotonic_s: Callable[[], float], *, most_clients: int = MOST_CLIENTS) -> None:
        self._token_s = 1.0 / per_s
        self._room_s = max(BURST_S, self._token_s) - self._token_s
        self._monotonic_s = monotonic_s
        self._most = most_clients
        self._full_at_s: dict[str, float] = {}

    def take(self, client: str) -> float:
        """Take a token; return 0, or the seconds after which there will be one."""
        now_s, buckets = self._monotonic_s(), self._full_at_s
        # Put back at the end: the dict is in the order of the last request.
        full_at_s = max(buckets.pop(client, now_s), now_s)
        missing_s = full_at_s - now_s - self._room_s
        # A billionth is what additions of the same share may be off by.
        refused = missing_s > 1e-9
        buckets[client] = full_at_s if refused else full_at_s + self._token_s
        if len(buckets) > self._most:
            del buckets[next(iter(buckets))]
        return missing_s if refused else 0.0

    @property
    def clients(self) -> int:
        """How many are remembered."""
        return len(self._full_at_s)
