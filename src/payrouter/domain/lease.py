"""The lease that makes one dispatcher the leader: how long it may be relied on. Where it is kept is a port's matter."""

from __future__ import annotations

from dataclasses import dataclass

from payrouter.domain.health import CALL_PAUSE_S, LEAVES_WITHIN_S, MARGIN_S

LEASE_S = 3.0
"""How long a lease lasts unless it is renewed."""

TRUST_MARGIN_S = 0.25
"""By how much earlier the holder stops relying on it: two hosts' clocks do not run equally fast."""

RENEW_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Term:
    """A lease that was won or renewed. `token` rises with every change of leader: an older one is refused (fenced).

    `trusted_until_s` is monotonic seconds of the holder.
    """

    token: int
    trusted_until_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Another node has the lease, for `for_s` seconds unless it renews it."""

    by: str
    for_s: float


def trusted_until(attempt_started_s: float, *, ttl_s: float, margin_s: float = TRUST_MARGIN_S) -> float:
    """Return the monotonic second after which a won lease must not be relied on.

    Counted from when the attempt was sent, so a slow reply shortens the term.

    Raises:
        ValueError: if `margin_s` is not below `ttl_s`.
    """
    if margin_s >= ttl_s:
        raise ValueError(f"a lease of {ttl_s} s leaves nothing to trust with a margin of {margin_s} s")
    return attempt_started_s + ttl_s - margin_s


@dataclass(slots=True)
class KeeperWatch:
    """Watches the keeper of leases and health calls from a node: has its clock jumped ahead, has it lost its data?

    Then its word that the last health call was long ago is worth nothing for a while (I8). Every node looks each time
    it tries for the lease, so that it knows when its turn to lead comes. Before the first look nobody knows: perhaps
    its clock jumped just then. `watched_from_s` is when the first look was, in our monotonic seconds.
    """

    _doubted_s: float = float("-inf")
    watched_from_s: float = float("inf")
    _leader: tuple[int, str] = (0, "")
    _their_us: int | None = None
    _asked_s: float = 0.0

    def looked(self, their_us: int, leader: tuple[int, str], *, asked_s: float, answered_s: float) -> None:
        """Take what the keeper's clock (us), newest token and its node were between two of our monotonic seconds."""
        if self._their_us is not None:
            jumped = (their_us - self._their_us) / 1_000_000 > answered_s - self._asked_s + MARGIN_S
            # Tokens only rise, and with every change of leader: these were counted from the beginning again.
            forgot = leader[0] < self._leader[0] or (leader[0] == self._leader[0] and leader != self._leader)
            if jumped or forgot:
                self._doubted_s = answered_s
        self.watched_from_s = min(self.watched_from_s, answered_s)
        self._their_us, self._leader, self._asked_s = their_us, leader, asked_s

    def rest_s(self, now_s: float) -> float:
        """Return for how long a node must not make a health call, whatever the keeper says; 0.0 for not at all."""
        return max(0.0, self._doubted_s + CALL_PAUSE_S + LEAVES_WITHIN_S - now_s)

    def doubt_s(self, now_s: float) -> float:
        """Return for how long the keeper is not to be believed *when* a call was made; that there was none, it is."""
        return max(0.0, self.watched_from_s + CALL_PAUSE_S + LEAVES_WITHIN_S - now_s)
