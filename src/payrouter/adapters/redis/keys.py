"""Names of everything the cluster keeps in Redis. One installation's share a prefix, so two can share a Redis."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "dispatchers"
"""The stream's consumer group; its consumers are dispatchers, by instance."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys by what they hold. The braces keep them in one hash slot."""

    prefix: str = "payrouter"

    def of(self, name: str) -> str:
        """Return the key of a thing."""
        return f"{{{self.prefix}}}:{name}"

    @property
    def dispatchers(self) -> str:
        """Sorted set: instance by the instant its heartbeat lasts until (Redis' clock, ms)."""
        return self.of("dispatchers")

    @property
    def queue(self) -> str:
        """Stream of payments in order of acceptance; an entry stays until its payment is settled."""
        return self.of("queue")

    @property
    def payments(self) -> str:
        """Hash: record of every unsettled payment by its 16-byte id."""
        return self.of("payments")

    @property
    def again(self) -> str:
        """Sorted set: delivered before and to be delivered again, in order of acceptance."""
        return self.of("again")

    @property
    def orphans(self) -> str:
        """Sorted set: unresolved attempts that nobody holds."""
        return self.of("orphans")

    @property
    def dead(self) -> str:
        """Sorted set: dead letters, in order of acceptance."""
        return self.of("dead")

    @property
    def failures(self) -> str:
        """Hash: attempts that did not charge, one JSON line each, by the payment's id."""
        return self.of("failures")

    @property
    def meta(self) -> str:
        """Hash of counters: `waiting`, `poison`, and flags: `born`; `forgot`, 0 when every settled payment is known
        here, 1 when not, `?` while that is to be found out."""
        return self.of("meta")

    @property
    def known(self) -> str:
        """Hash: amount of settled payments by id, the newer generation."""
        return self.of("known")

    @property
    def known_before(self) -> str:
        """The older generation."""
        return self.of("known-before")

    @property
    def traces(self) -> str:
        """Hash: the client's `traceparent` by the payment's id, of unsettled payments that have one."""
        return self.of("traces")

    @property
    def poison(self) -> str:
        """Hash: stream entries that are no payments, by entry, and payments whose records were spoilt, by id."""
        return self.of("poison")

    @property
    def of_notices(self) -> tuple[str, str, str]:
        """What webhooks are still to tell: by event and the payment's id.

        Sorted set by the instant it is due (Redis' clock, us). Sorted set of those claimed or tried, by the instant
        since when they wait; the others wait since they are due. Hash: failed tries.
        """
        return self.of("notices"), self.of("notices-since"), self.of("notices-tries")

    @property
    def leader(self) -> str:
        """Hash: who has the lease (`node`), its `token`, and until when (`until_us`, Redis' clock)."""
        return self.of("leader")

    @property
    def health(self) -> str:
        """Hash: when each processor's health was last asked for (`called:<processor>`, Redis' clock, us)."""
        return self.of("health")

    @property
    def board(self) -> str:
        """Hash: what dispatchers tell each other, one note per kind and processor."""
        return self.of("board")

    @property
    def nodes(self) -> str:
        """Publish/subscribe channel: what each living process tells of itself, JSON."""
        return self.of("nodes")

    @property
    def news(self) -> str:
        """Publish/subscribe channel: there is something new on the board."""
        return self.of("news")
