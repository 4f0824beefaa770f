"""The queue and the intents in the SQLite file.

RAM holds a bounded head of the queue (`_ready`), what was given back (`_returned`) and what is claimed; the rest
of the backlog stays in the file and is read in order when the head is used up. Claims need no row: one router has
the file, and after a crash nobody holds anything.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter.adapters.rows import add_failure, from_blob, read_failures, to_blob
from payrouter.adapters.sqlite.notices import note
from payrouter.domain.attempt import Delivery, FailedAttempt, Intent
from payrouter.domain.ledger import AttemptRecord
from payrouter.domain.payment import PaymentEvent, PaymentState, next_state
from payrouter.ports.queue import Acceptance, Backlog, DeadLetter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from payrouter.adapters.sqlite.rows import ProcessorIds
    from payrouter.adapters.sqlite.store import SqliteStore
    from payrouter.domain.payment import Payment

HEAD = 4096
_REFILL = 1024

_INSERT = (
    "INSERT INTO payment (id, amount, accepted_us, state, trace) VALUES (?, ?, ?, 0, ?) ON CONFLICT (id) DO NOTHING"
)
# `state <> 3` says nothing new but lets SQLite use the partial index: it does not infer it.
_COUNT = "SELECT count(*) FROM payment WHERE state = 0 AND state <> 3"
_COUNT_DEAD = "SELECT count(*) FROM payment WHERE state = 4 AND state <> 3"
_WAITING = (
    "SELECT seq, id, amount, accepted_us, attempts, trace FROM payment "
    "WHERE state = 0 AND state <> 3 AND seq > ? ORDER BY seq LIMIT ?"
)
_BEGIN = (
    "UPDATE payment SET state = 1, processor = ?, requested_us = ?, reason = ?, attempts = attempts + 1 "
    "WHERE seq = ? AND state = 0"
)
_DEAD_LETTERS = (
    "SELECT payment.id, amount, accepted_us, failures, processor.name FROM payment "
    "LEFT JOIN processor ON processor.id = payment.processor WHERE state = 4 AND state <> 3 ORDER BY seq LIMIT ?"
)
_CONCLUDE = "UPDATE payment SET state = ?, failures = ? WHERE seq = ?"
_IS_SETTLED = "SELECT 1 FROM payment WHERE seq = ? AND state = 3"
_FORGET = "UPDATE payment SET processor = NULL, requested_us = NULL, reason = NULL WHERE seq = ?"
_ORPHANS = (
    "SELECT seq, id, amount, accepted_us, attempts, trace, processor, requested_us, reason FROM payment "
    "WHERE state IN (1, 2) AND state <> 3 ORDER BY seq"
)

_Row = tuple[int, bytes, int, int, int, str | None]


@dataclass(slots=True)
class _Claim:
    row: _Row
    receipt: int
    adopted: bool = False


class SqliteQueue:
    """`PaymentQueue` on a `SqliteStore`. `limit` bounds how many payments may wait.

    With `notices` on it writes one of each payment that becomes a dead letter.
    """

    def __init__(self, store: SqliteStore, processors: ProcessorIds, *, limit: int, notices: bool = False) -> None:
        self._store = store
        self._notices = notices
        self._processors = processors
        self._limit = limit
        self._receipts = 0
        self._reset()
        self._recount()

    def _reset(self) -> None:
        self._ready: deque[_Row] = deque()
        self._returned: list[_Row] = []
        self._claims: dict[str, _Claim] = {}
        self._cursor = 0
        self._spilled = True
        self._data_version = -1

    def _recount(self) -> None:
        """Count what waits: at start, and after somebody else wrote to the file."""
        self._count: int = self._store.connection.execute(_COUNT).fetchone()[0]

    # -- accept

    async def accept(self, payments: Sequence[Payment]) -> list[Acceptance]:
        """Make payments durable; one answer per payment, in order."""
        results, _ = await self._store.submit(
            lambda connection: self._insert(connection, payments), self._accepted, urgent=True
        )
        return results

    def _insert(
        self, connection: sqlite3.Connection, payments: Sequence[Payment]
    ) -> tuple[list[Acceptance], list[_Row]]:
        results: list[Acceptance] = []
        rows: list[_Row] = []
        execute = connection.execute
        room = self._limit - self._count
        for payment in payments:
            blob = to_blob(payment.correlation_id)
            if room > len(rows):
                cursor = execute(_INSERT, (blob, payment.amount_minor, payment.accepted_us, payment.trace or None))
                if cursor.rowcount and cursor.lastrowid is not None:
                    rows.append((cursor.lastrowid, blob, payment.amount_minor, payment.accepted_us, 0, payment.trace))
                    results.append(Acceptance.ACCEPTED)
                    continue
            known = execute("SELECT amount FROM payment WHERE id = ?", (blob,)).fetchone()
            if known is None:
                results.append(Acceptance.FULL)
            else:
                same = known[0] == payment.amount_minor
                results.append(Acceptance.DUPLICATE if same else Acceptance.CONFLICT)
        return results, rows

    def _accepted(self, outcome: tuple[list[Acceptance], list[_Row]]) -> None:
        rows = outcome[1]
        self._count += len(rows)
        if self._spilled or len(self._ready) + len(rows) > HEAD:
            self._spilled = True
        elif rows:
            self._ready.extend(rows)
            self._cursor = rows[-1][0]

    # -- claim

    def _refill(self) -> None:
        if self._ready or not self._spilled:
            return
        rows = self._store.connection.execute(_WAITING, (self._cursor, _REFILL)).fetchall()
        self._ready.extend(rows)
        self._spilled = len(rows) == _REFILL
        if self._spilled:
            self._cursor = rows[-1][0]
        else:
            # Whatever comes back later from before this point, `_find_requeued` brings.
            self._cursor = self._store.connection.execute("SELECT coalesce(max(seq), 0) FROM payment").fetchone()[0]

    def _oldest(self) -> _Row | None:
        self._refill()
        if self._returned and (not self._ready or self._returned[0] < self._ready[0]):
            return self._returned[0]
        return self._ready[0] if self._ready else None

    async def claim(self, limit: int) -> list[Delivery]:
        """Take up to `limit` waiting payments, oldest first; empty when none waits."""
        deliveries: list[Delivery] = []
        while len(deliveries) < limit:
            row = self._oldest()
            if row is None:
                break
            if self._returned and row is self._returned[0]:
                heapq.heappop(self._returned)
            else:
                self._ready.popleft()
            deliveries.append(self._claimed(row))
        return deliveries

    def _claimed(self, row: _Row, *, adopted: bool = False) -> Delivery:
        self._receipts += 1
        correlation_id = from_blob(row[1])
        self._claims[correlation_id] = _Claim(row, self._receipts, adopted)
        return Delivery(correlation_id, row[2], row[3], self._receipts, row[4], row[5] or "")

    def _held(self, delivery: Delivery) -> _Claim | None:
        """Return the claim behind a receipt; None when it is stale."""
        claim = self._claims.get(delivery.correlation_id)
        return claim if claim is not None and claim.receipt == delivery.receipt else None

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give claimed payments back unsent; they keep their place in the queue."""
        for delivery in deliveries:
            claim = self._held(delivery)
            if claim is not None:
                del self._claims[delivery.correlation_id]
                heapq.heappush(self._returned, claim.row)

    # -- intents

    async def begin(self, intents: Sequence[Intent]) -> list[bool]:
        """Write intents before they are sent. False where the receipt is stale or an intent already stands."""
        written, _ = await self._store.submit(lambda connection: self._begin(connection, intents), self._begun)
        return written

    def _begin(self, connection: sqlite3.Connection, intents: Sequence[Intent]) -> tuple[list[bool], list[str]]:
        written: list[bool] = []
        settled: list[str] = []
        ids, execute = self._processors.by_name, connection.execute
        for intent in intents:
            claim = self._held(intent.delivery)
            values = (ids[intent.processor], intent.requested_us, intent.reason)
            written.append(claim is not None and execute(_BEGIN, (*values, claim.row[0])).rowcount == 1)
            if claim is not None and not written[-1] and execute(_IS_SETTLED, (claim.row[0],)).fetchone():
                settled.append(intent.delivery.correlation_id)
        return written, settled

    def _begun(self, outcome: tuple[list[bool], list[str]]) -> None:
        written, settled = outcome
        self._count -= sum(written)
        self.settled(settled)

    async def conclude(self, failures: Sequence[FailedAttempt]) -> None:
        """Write down attempts that did not charge and move their payments as `payment.TRANSITIONS` says."""
        await self._store.submit(lambda connection: self._conclude(connection, failures), self._concluded)

    def _conclude(
        self, connection: sqlite3.Connection, failures: Sequence[FailedAttempt]
    ) -> list[tuple[Delivery, PaymentState, int]]:
        moved: list[tuple[Delivery, PaymentState, int]] = []
        for failure in failures:
            intent = failure.intent
            claim = self._held(intent.delivery)
            if claim is None:
                continue
            seq = claim.row[0]
            row = connection.execute("SELECT state, attempts, failures FROM payment WHERE seq = ?", (seq,)).fetchone()
            if row is not None and row[0] == PaymentState.SETTLED:
                # By somebody else who writes to the file, on the processor's word.
                moved.append((intent.delivery, PaymentState.SETTLED, row[1]))
            if row is None or row[0] not in (PaymentState.ATTEMPTING, PaymentState.PINNED):
                continue
            # The attempt a dead process left is of unknown outcome, whatever its repeats say (I6).
            before = PaymentState.PINNED if claim.adopted else PaymentState(row[0])
            after = next_state(before, failure.event)
            # What was pinned keeps its intent whatever happens (I6), in the dead letters too.
            forget = before is PaymentState.ATTEMPTING and after is not PaymentState.PINNED
            connection.execute(_CONCLUDE, (after, add_failure(row[2], AttemptRecord.of(failure)), seq))
            if forget:
                connection.execute(_FORGET, (seq,))
            if after is PaymentState.DEAD_LETTER and self._notices:
                note(connection, after, [(intent.delivery.correlation_id, failure.at_us)])
            moved.append((intent.delivery, after, row[1]))
        return moved

    def _concluded(self, moved: list[tuple[Delivery, PaymentState, int]]) -> None:
        for delivery, state, attempts in moved:
            if state is PaymentState.PINNED:
                continue
            claim = self._claims.pop(delivery.correlation_id, None)
            if claim is not None and state is PaymentState.QUEUED:
                heapq.heappush(self._returned, (*claim.row[:4], attempts, claim.row[5]))
                self._count += 1

    def settled(self, correlation_ids: Iterable[str]) -> None:
        """Let go of payments the ledger has now, whoever holds them."""
        for correlation_id in correlation_ids:
            self._claims.pop(correlation_id, None)

    def settled_waiting(self, correlation_ids: AbstractSet[str]) -> None:
        """Let go of payments that were waiting, claimed or not, and that the ledger has now."""
        self.settled(correlation_ids)
        self._count -= len(correlation_ids)
        blobs = {to_blob(one) for one in correlation_ids}
        self._ready = deque(row for row in self._ready if row[1] not in blobs)
        self._returned = [row for row in self._returned if row[1] not in blobs]
        heapq.heapify(self._returned)

    async def orphans(self) -> list[Intent]:
        """Claim every unresolved attempt that nobody holds, oldest first, with fresh receipts."""
        connection = self._store.connection
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._data_version:
            return []
        self._data_version = version
        self._find_requeued()
        self._recount()
        intents: list[Intent] = []
        for *row, processor, requested_us, reason in connection.execute(_ORPHANS):
            seq, blob, amount, accepted_us, attempts, trace = row
            if from_blob(blob) not in self._claims:
                delivery = self._claimed((seq, blob, amount, accepted_us, attempts, trace), adopted=True)
                intents.append(Intent(delivery, self._processors.by_id[processor], requested_us, reason or ""))
        return intents

    def _find_requeued(self) -> None:
        """Bring back what was sent again from the dead letters behind the cursor."""
        known = {row[0] for row in self._ready} | {row[0] for row in self._returned}
        known |= {claim.row[0] for claim in self._claims.values()}
        rows = self._store.connection.execute(_WAITING, (0, -1))
        for row in rows:
            if row[0] > self._cursor:
                break
            if row[0] not in known:
                heapq.heappush(self._returned, row)

    async def backlog(self) -> Backlog:
        """Return what waits at this moment."""
        row = self._oldest()
        return Backlog(self._count, None if row is None else row[3])

    # -- dead letters, purge

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return dead letters, oldest first."""
        return await self._store.read(lambda connection: read_dead_letters(connection, limit))

    async def dead_letter_counts(self) -> tuple[int, int]:
        """Return how many dead letters there are; nothing is ever put aside here."""
        # On the reader's thread: somebody looks twice a second, and there may be a million.
        [count] = await self._store.read(lambda connection: connection.execute(_COUNT_DEAD).fetchone())
        return count, 0

    async def poison(self, limit: int) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: SQLite keeps rows whole."""
        return {}

    async def retry_dead_letters(self, correlation_ids: Sequence[str] | None) -> int:
        """Send dead letters again (all when None) and return how many; a pinned one repeats its attempt."""

        def retried(_: int) -> None:
            self._data_version = -1

        return await self._store.submit(
            lambda connection: requeue_dead_letters(connection, correlation_ids), retried, urgent=True
        )

    async def purge(self) -> None:
        """Forget every payment, intent, ledger row and claim."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM payment")
            connection.execute("DELETE FROM rollup")
            connection.execute("DELETE FROM notice")

        def forget(_: None) -> None:
            self._reset()
            self._recount()

        await self._store.submit(delete, forget, urgent=True)


def read_dead_letters(connection: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """Return dead letters, oldest first."""
    rows = connection.execute(_DEAD_LETTERS, (limit,))
    return [
        DeadLetter(from_blob(blob), amount, accepted_us, read_failures(failures)[-1].detail, pinned_to)
        for blob, amount, accepted_us, failures, pinned_to in rows
    ]


def requeue_dead_letters(connection: sqlite3.Connection, correlation_ids: Sequence[str] | None) -> int:
    """Move dead letters back, inside the caller's transaction; return how many."""
    queued = next_state(PaymentState.DEAD_LETTER, PaymentEvent.RETRIED)
    pinned = next_state(PaymentState.DEAD_LETTER, PaymentEvent.RETRIED_WHILE_PINNED)
    sql = "UPDATE payment SET state = CASE WHEN processor IS NULL THEN ? ELSE ? END WHERE state = 4 AND state <> 3"
    if correlation_ids is None:
        return connection.execute(sql, (queued, pinned)).rowcount
    return sum(
        connection.execute(f"{sql} AND id = ?", (queued, pinned, to_blob(one))).rowcount for one in correlation_ids
    )
