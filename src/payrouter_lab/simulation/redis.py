"""Redis in made-up time: what each of the router's scripts does, in Python instead of Lua, over plain dictionaries.

One method per script, named like it; whoever changes a script changes its twin here. The contract suite of the queue
runs over both.
"""

from __future__ import annotations

import copy
import heapq
import json
import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_RECORD = re.compile(rb"[A-Za-z];\d+;\d+;(\d+)-0;\d")
_WAITING = re.compile(rb"D;\d+;\d+;\d+-0;\d+\Z")
_PINNED = re.compile(rb"D;\d+;\d+;\d+-0;\d+;[^;]+;\d+;")


def _place_of(record: bytes) -> int | None:
    """Return the number of a record's entry in the stream; None for a spoilt record."""
    found = _RECORD.match(record)
    return int(found[1]) if found else None


class _Ordered:
    """A sorted set of payments by their place in the queue."""

    def __init__(self) -> None:
        self.ids: dict[int, bytes] = {}
        self._heap: list[int] = []

    def add(self, place: int, blob: bytes) -> None:
        if place not in self.ids:
            heapq.heappush(self._heap, place)
        self.ids[place] = blob

    def discard(self, place: int) -> None:
        self.ids.pop(place, None)

    def first(self) -> tuple[int, bytes] | None:
        while self._heap and self._heap[0] not in self.ids:
            heapq.heappop(self._heap)
        return (self._heap[0], self.ids[self._heap[0]]) if self._heap else None

    def take(self, most: int) -> list[tuple[int, bytes]]:
        taken: list[tuple[int, bytes]] = []
        while len(taken) < most and (first := self.first()) is not None:
            heapq.heappop(self._heap)
            del self.ids[first[0]]
            taken.append(first)
        return taken


@dataclass
class _Data:
    """Everything Redis keeps. Entries of the stream are numbered; an entry's id is `<number>-0`."""

    entries: int = 0
    stream: dict[int, bytes] = field(default_factory=dict)
    undelivered: deque[int] = field(default_factory=deque)
    pending: dict[str, dict[int, None]] = field(default_factory=dict)
    holder: dict[int, str] = field(default_factory=dict)
    dispatchers: dict[str, int] = field(default_factory=dict)
    payments: dict[bytes, bytes] = field(default_factory=dict)
    again: _Ordered = field(default_factory=_Ordered)
    orphans: _Ordered = field(default_factory=_Ordered)
    dead: _Ordered = field(default_factory=_Ordered)
    failures: dict[bytes, bytes] = field(default_factory=dict)
    traces: dict[bytes, bytes] = field(default_factory=dict)
    waiting: int = 0
    poisoned: dict[bytes, bytes] = field(default_factory=dict)
    born: bool = False
    forgot: bytes = b"0"
    known: dict[bytes, bytes] = field(default_factory=dict)
    known_before: dict[bytes, bytes] = field(default_factory=dict)
    notices: dict[bytes, int] = field(default_factory=dict)
    notices_since: dict[bytes, int] = field(default_factory=dict)
    notices_tries: dict[bytes, int] = field(default_factory=dict)
    leader: str = ""
    token: int = 0
    until_us: int = 0
    health_calls: dict[str, int] = field(default_factory=dict)
    board: dict[str, bytes] = field(default_factory=dict)
    news: int = 0


class SimulatedRedis:
    """Redis with append-only file. `now_us` is its clock, which may be wrong and may jump.

    `heard` is called with everything that is published.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.data = _Data()
        self.heard: list[Callable[[bytes], None]] = []
        self.buried: set[bytes] = set()
        """For checks: payments that were dead letters at any time."""

    def run(self, name: str, args: Sequence[bytes | str | int]) -> Any:
        """Run a script by name. Keys are left out: there is one installation here."""
        return getattr(self, name)(*(_bytes(one) for one in args))

    def snapshot(self) -> _Data:
        """Return what would be on disk if it were synced now."""
        return copy.deepcopy(self.data)

    def changed_since(self, data: _Data) -> set[bytes]:
        """Return the payments of which something else is known by now."""
        before, now = data, self.data
        changed = {
            blob
            for blob in before.payments.keys() | now.payments.keys()
            if before.payments.get(blob) != now.payments.get(blob)
        }
        settled_before = before.known.keys() | before.known_before.keys()
        noted = {member[1:] for member in before.notices.keys() ^ now.notices.keys()}
        return changed | noted | (settled_before ^ (now.known.keys() | now.known_before.keys()))

    def restart(self, data: _Data) -> None:
        """Come back with what was on disk."""
        self.data = data

    # -- shared by scripts (common.lua, set_free.lua)

    def _registered(self, instance: bytes) -> bool:
        return instance.decode() in self.data.dispatchers

    def _now_ms(self) -> int:
        return self._now_us() // 1000

    def _hold(self, place: int, consumer: str) -> None:
        self._ack(place)
        self.data.holder[place] = consumer
        self.data.pending.setdefault(consumer, {})[place] = None

    def _ack(self, place: int) -> None:
        holder = self.data.holder.pop(place, None)
        if holder is not None:
            del self.data.pending[holder][place]

    def _holds(self, instance: bytes, place: int) -> bool:
        return self.data.holder.get(place) == _consumer(instance)

    def _hand_on(self, record: bytes, place: int, blob: bytes) -> None:
        if record[:1] in (b"A", b"P"):
            self.data.orphans.add(place, blob)
        elif record[:1] != b"D":
            self.data.again.add(place, blob)

    def _set_aside(self, place: int, blob: bytes, record: bytes) -> None:
        self.data.poisoned[blob] = record
        self._ack(place)
        self.data.stream.pop(place, None)

    def _set_free(self, instance: str) -> None:
        data = self.data
        del data.dispatchers[instance]
        for place in list(data.pending.get(_consumer(instance.encode()), ())):
            blob = data.stream.get(place)
            record = data.payments.get(blob) if blob is not None else None
            if blob is not None and record is not None:
                self._hand_on(record, place, blob)
            self._ack(place)
        data.pending.pop(_consumer(instance.encode()), None)

    def _set_expired_free(self, lasts_ms: int, but: str = "") -> list[str]:
        now, dispatchers = self._now_ms(), self.data.dispatchers
        for instance, until in dispatchers.items():
            dispatchers[instance] = min(until, now + lasts_ms)
        expired = [instance for instance, until in dispatchers.items() if until <= now and instance != but]
        for instance in expired:
            self._set_free(instance)
        return expired

    def _bury(self, place: int, blob: bytes) -> None:
        self.data.dead.add(place, blob)
        self.buried.add(blob)

    # -- notices, as in note.lua

    def _note(self, event: bytes, blobs: Sequence[bytes], due_us: int) -> None:
        data = self.data
        for blob in blobs:
            data.notices[event + blob] = due_us
            data.notices_since.pop(event + blob, None)
            data.notices_tries.pop(event + blob, None)

    def _is_claimed_notice(self, member: bytes, at_us: bytes) -> bool:
        return self.data.notices_since.get(member) == int(at_us)

    def _forget_notice(self, member: bytes) -> None:
        for kept in (self.data.notices, self.data.notices_since, self.data.notices_tries):
            kept.pop(member, None)

    def claim_notices(self, limit: bytes, lease_us: bytes) -> list[bytes]:
        """claim_notices.lua."""
        data, now, reply = self.data, self._now_us(), list[bytes]()
        due = sorted((due_us, member) for member, due_us in data.notices.items() if due_us <= now)
        for due_us, member in due[: int(limit)]:
            since = data.notices_since.setdefault(member, due_us)
            data.notices[member] = now + int(lease_us)
            reply += (member, b"%d" % since, b"%d" % data.notices_tries.get(member, 0))
        return reply

    def end_notices(self, *given: bytes) -> int:
        """end_notices.lua."""
        for member, at_us in _pairs(given):
            if self._is_claimed_notice(member, at_us):
                self._forget_notice(member)
        return 1

    def put_off_notice(self, member: bytes, at_us: bytes, again_us: bytes) -> int:
        """put_off_notice.lua."""
        data = self.data
        if self._is_claimed_notice(member, at_us):
            data.notices[member] = self._now_us() + int(again_us)
            data.notices_tries[member] = data.notices_tries.get(member, 0) + 1
        return 1

    def count_notices(self) -> list[Any]:
        """count_notices.lua."""
        data = self.data
        if not data.notices:
            return [0]
        return [len(data.notices), b"%d" % min((*data.notices.values(), *data.notices_since.values()))]

    def trim_notices(self, keep: bytes, most: bytes) -> int:
        """trim_notices.lua."""
        notices = self.data.notices
        excess = max(min(len(notices) - int(keep), int(most)), 0)
        for member in sorted(notices, key=lambda one: (notices[one], one))[:excess]:
            self._forget_notice(member)
        return excess

    # -- accepting

    def accept(self, limit: bytes, *facts: bytes) -> bytes:
        """accept.lua."""
        data, answers = self.data, bytearray()
        for blob, fact in _pairs(facts):
            amount, accepted_us, *trace = fact.split(b";", 2)
            record = data.payments.get(blob)
            before: bytes | None
            if record is not None:
                before = record.split(b";", 2)[1] if _place_of(record) is not None else b""
            else:
                before = data.known.get(blob) or data.known_before.get(blob)
            if before is not None:
                answers += b"1" if before == amount else b"2"
            elif data.waiting >= int(limit):
                answers += b"3"
            else:
                data.entries += 1
                place = data.entries
                data.stream[place] = blob
                data.undelivered.append(place)
                data.payments[blob] = b"Q;%b;%b;%d-0;0" % (amount, accepted_us, place)
                data.waiting += 1
                if trace:
                    data.traces[blob] = trace[0]
                answers += b"0"
        return bytes(answers)

    # -- claiming

    def backlog(self, _group: bytes) -> list[Any]:
        """backlog.lua."""
        data = self.data
        first = data.again.first()
        if first is not None:
            return [data.waiting, data.payments.get(first[1], b"")]
        while data.undelivered and data.undelivered[0] not in data.stream:
            data.undelivered.popleft()
        if not data.undelivered:
            return [data.waiting]
        return [data.waiting, data.payments.get(data.stream[data.undelivered[0]], b"")]

    def claim(self, instance: bytes, _group: bytes, limit: bytes) -> list[Any] | None:
        """claim.lua."""
        if not self._registered(instance):
            return None
        data, most, consumer = self.data, int(limit), _consumer(instance)
        reply: list[Any] = [data.forgot, []]
        back = data.again.take(most)
        for place, blob in back:
            record = data.payments.get(blob)
            if record is not None and _place_of(record) == place:
                self._hold(place, consumer)
                reply += (blob, record)
            elif record is not None:
                self._set_aside(place, blob, record)
                data.waiting -= 1
        taken = len(back)
        while taken < most and data.undelivered:
            place = data.undelivered.popleft()
            fresh = data.stream.get(place)
            if fresh is None:
                continue
            taken += 1
            record = data.payments.get(fresh)
            if record is not None and record[:1] == b"D" and _place_of(record) == place:
                continue  # charged, as its processor's record proved while it waited
            if record is not None and _place_of(record) == place:
                self._hold(place, consumer)
                reply += (fresh, record)
            else:
                self._set_aside(place, fresh, record or b"")
                data.waiting -= record is not None
        self._add_traces(reply)
        return reply

    def _add_traces(self, reply: list[Any]) -> None:
        for blob in reply[2::2]:
            if blob in self.data.traces:
                reply[1] += (blob, self.data.traces[blob])

    def release(self, instance: bytes, _group: bytes, *given: bytes) -> int | None:
        """release.lua."""
        if not self._registered(instance):
            return None
        data, released = self.data, 0
        for blob, claimed, begun in _triples(given):
            record = data.payments.get(blob)
            unsent = bool(begun) and record == begun
            place = _place_of(claimed)
            if (record == claimed or unsent) and place is not None and self._holds(instance, place):
                if unsent:
                    data.payments[blob] = claimed
                    data.waiting += 1
                self._ack(place)
                data.again.add(place, blob)
                released += 1
        return released

    # -- intents

    def begin(self, instance: bytes, _group: bytes, *intents: bytes) -> bytes | None:
        """begin.lua."""
        if not self._registered(instance):
            return None
        data, answers = self.data, bytearray()
        for blob, before, after in _triples(intents):
            record = data.payments.get(blob)
            if record is not None and record == before:
                data.payments[blob] = after
                data.waiting -= 1
                answers += b"1"
            else:
                answers += b"1" if record == after else b"0"
        return bytes(answers)

    def conclude(self, instance: bytes, _group: bytes, most: bytes, notes: bytes, *moves: bytes) -> bytes | None:
        """conclude.lua."""
        if not self._registered(instance):
            return None
        data, answers = self.data, bytearray()
        for blob, before, after, failure in zip(*(moves[number::4] for number in range(4)), strict=True):
            record = data.payments.get(blob)
            if record != before:
                answers += b"0"
                continue
            answers += b"1"
            data.payments[blob] = after
            kept = [*data.failures.get(blob, b"").split(b"\n"), failure]
            data.failures[blob] = b"\n".join([line for line in kept if line][-int(most) :])
            place = _place_of(after)
            assert place is not None
            if after[:1] == b"Q":
                data.again.add(place, blob)
                data.waiting += 1
            elif after[:1] == b"D":
                self._bury(place, blob)
                if notes == b"1":
                    self._note(b"4", [blob], self._now_us())
            if after[:1] != b"P":
                self._ack(place)
        return bytes(answers)

    def bury(self, instance: bytes, _group: bytes, notes: bytes, *given: bytes) -> int | None:
        """bury.lua."""
        if not self._registered(instance):
            return None
        data, buried = self.data, 0
        for blob, record, failure in _triples(given):
            place = _place_of(record)
            if data.payments.get(blob) == record and place is not None:
                data.payments[blob] = b"D" + record[1:]
                data.failures[blob] = failure
                self._bury(place, blob)
                if notes == b"1":
                    self._note(b"4", [blob], self._now_us())
                self._ack(place)
                data.waiting -= 1
                buried += 1
        return buried

    def settled(self, _group: bytes, remembered: bytes, notes: bytes, *blobs: bytes) -> int:
        """settled.lua."""
        data, gone = self.data, 0
        for blob in blobs:
            record = data.payments.get(blob)
            place = _place_of(record) if record is not None else None
            if record is not None and notes == b"1":
                self._settle_notices(blob, record)
            if record is None or place is None:
                continue
            gone += 1
            data.waiting -= record[:1] == b"Q"
            for places in (data.again, data.dead, data.orphans):
                places.discard(place)
            del data.payments[blob]
            data.failures.pop(blob, None)
            data.traces.pop(blob, None)
            self._ack(place)
            data.stream.pop(place, None)
            data.known[blob] = record.split(b";", 2)[1]
        if gone and len(data.known) * 2 >= int(remembered):
            if data.known_before:
                data.forgot = b"1"
            data.known_before, data.known = data.known, {}
        return gone

    def _settle_notices(self, blob: bytes, record: bytes) -> None:
        member, data, now = b"4" + blob, self.data, self._now_us()
        if record[:1] == b"D" and data.notices.get(member, 0) > now and member not in data.notices_since:
            # It was to be told as a dead letter only if it stayed one (set_proven.lua).
            del data.notices[member]
        self._note(b"3", [blob], now)

    def set_proven(self, _group: bytes, told_after_us: bytes, *moves: bytes) -> bytes:
        """set_proven.lua."""
        data, answers = self.data, bytearray()
        for blob, before, after, failure in zip(*(moves[number::4] for number in range(4)), strict=True):
            record = data.payments.get(blob)
            place = _place_of(before)
            if record == before and place is not None:
                kept = data.failures.get(blob)
                data.payments[blob] = after
                data.failures[blob] = kept + b"\n" + failure if kept else failure
                data.again.discard(place)
                self._ack(place)
                self._bury(place, blob)
                data.waiting -= 1
                if int(told_after_us):
                    data.notices.setdefault(b"4" + blob, self._now_us() + int(told_after_us))
            answers += b"1" if record in (before, after) else b"0"
        return bytes(answers)

    # -- dispatchers

    def join(self, name: bytes, _group: bytes, lasts_ms: bytes, lanes: bytes) -> list[Any]:
        """join.lua."""
        data = self.data
        self._set_expired_free(int(lasts_ms))
        there = [int(instance.partition("-")[0]) for instance in data.dispatchers]
        lane = min(range(int(lanes)), key=there.count)
        instance = f"{lane}-{name.decode()}"
        data.dispatchers[instance] = self._now_ms() + int(lasts_ms)
        if not data.born:
            data.born, data.forgot = True, b"?"
        return [instance.encode(), int(data.forgot == b"?")]

    def forgot(self, said: bytes) -> int:
        """forgot.lua."""
        if self.data.forgot == b"?":
            self.data.forgot = said
        return 1

    def beat(self, instance: bytes, _group: bytes, lasts_ms: bytes) -> int | None:
        """beat.lua."""
        if not self._registered(instance):
            return None
        now = self._now_ms()
        self.data.dispatchers[instance.decode()] = now + int(lasts_ms)
        return sum(until >= now for until in self.data.dispatchers.values())

    def renew(self, fresh: bytes, lasts_ms: bytes, *names: bytes) -> int | None:
        """renew.lua."""
        if self._registered(fresh):
            return 1
        removed = [self.data.dispatchers.pop(name.decode(), None) for name in names]
        if all(one is None for one in removed):
            return None
        self.data.dispatchers[fresh.decode()] = self._now_ms() + int(lasts_ms)
        return 1

    def leave(self, instance: bytes, _group: bytes) -> int | None:
        """leave.lua."""
        if not self._registered(instance):
            return None
        self._set_free(instance.decode())
        return 1

    def orphans(self, instance: bytes, _group: bytes, most: bytes, calm: bytes, lasts_ms: bytes) -> list[Any] | None:
        """orphans.lua."""
        if not self._registered(instance):
            return None
        data, taken = self.data, list[str]()
        if calm == b"1":
            taken = self._set_expired_free(int(lasts_ms), but=instance.decode())
        reply: list[Any] = [" ".join(taken).encode(), []]
        for place, blob in data.orphans.take(int(most)):
            record = data.payments.get(blob)
            if record is not None and _place_of(record) == place:
                self._hold(place, _consumer(instance))
                reply += (blob, record)
            elif record is not None:
                self._set_aside(place, blob, record)
        self._add_traces(reply)
        return reply

    def held(self, instance: bytes, _group: bytes) -> list[bytes] | None:
        """held.lua."""
        if not self._registered(instance):
            return None
        reply: list[bytes] = []
        for place in self.data.pending.get(_consumer(instance), ()):
            blob = self.data.stream.get(place)
            if blob is not None:
                reply += (blob, b"%d-0" % place)
        return reply

    def give_up(self, instance: bytes, _group: bytes, *given: bytes) -> int | None:
        """give_up.lua."""
        if not self._registered(instance):
            return None
        for blob, entry in _pairs(given):
            place = int(entry.partition(b"-")[0])
            if self._holds(instance, place):
                record = self.data.payments.get(blob)
                if record is not None:
                    self._hand_on(record, place, blob)
                self._ack(place)
        return 1

    def set_aside(self, instance: bytes, _group: bytes, waiting: bytes, *given: bytes) -> int | None:
        """set_aside.lua."""
        if not self._registered(instance):
            return None
        for blob, record in _pairs(given):
            place = _place_of(record)
            if place is not None and self.data.payments.get(blob) == record and self._holds(instance, place):
                self._set_aside(place, blob, record)
                self.data.waiting -= waiting == b"1"
        return 1

    # -- reading, dead letters, purge

    def standing(self, *blobs: bytes) -> list[bytes]:
        """standing.lua."""
        reply: list[bytes] = []
        for blob in blobs:
            reply += (self.data.payments.get(blob, b""), self.data.failures.get(blob, b""))
        return reply

    def retry(self, *blobs: bytes) -> int:
        """retry.lua."""
        data, retried = self.data, 0
        for blob in blobs or list(data.dead.ids.values()):
            record = data.payments.get(blob, b"")
            pinned, waiting = _PINNED.match(record), _WAITING.match(record)
            place = _place_of(record)
            if place is None or not (pinned or waiting):
                continue
            data.dead.discard(place)
            data.payments[blob] = (b"P" if pinned else b"Q") + record[1:]
            if pinned:
                data.orphans.add(place, blob)
            else:
                data.again.add(place, blob)
                data.waiting += 1
            retried += 1
        return retried

    def purge(self, _group: bytes) -> int:
        """purge.lua."""
        before = self.data
        self.data = _Data(
            entries=before.entries,
            dispatchers=before.dispatchers,
            born=True,
            forgot=b"?",
            leader=before.leader,
            token=before.token,
            until_us=before.until_us,
            health_calls=before.health_calls,
            board=before.board,
            news=before.news,
        )
        return 1

    # -- lease, health calls, news (leader.lua)

    def _leads(self, node: bytes, token: bytes) -> bool:
        data = self.data
        return (data.leader, data.token) == (node.decode(), int(token)) and data.until_us > self._now_us()

    def lease(self, node: bytes, lasts_us: bytes) -> list[Any]:
        """lease.lua."""
        data, now, name = self.data, self._now_us(), node.decode()
        if data.leader != name and data.until_us > now:
            data.until_us = min(data.until_us, now + int(lasts_us))
            return [0, data.token, now, data.leader.encode(), data.until_us - now]
        if data.leader != name:
            data.token += 1
        data.leader, data.until_us = name, now + int(lasts_us)
        return [1, data.token, now]

    def release_lease(self, node: bytes, token: bytes, _channel: bytes, says: bytes) -> int:
        """release_lease.lua."""
        if not self._leads(node, token):
            return 0
        self.data.until_us = 0
        self._publish(says)
        return 1

    def reserve_health_call(  # noqa: PLR0913, PLR0917 - as the script has them
        self, node: bytes, token: bytes, processor: bytes, pause_us: bytes, leaves_us: bytes, doubt_us: bytes
    ) -> int:
        """reserve_health_call.lua."""
        if not self._leads(node, token):
            return -1
        calls, name, now = self.data.health_calls, processor.decode(), self._now_us()
        newest = calls.get(name)
        if newest is not None:
            if int(doubt_us):
                return int(doubt_us)
            if newest > now + int(leaves_us):
                newest = calls[name] = now
            if newest + int(pause_us) > now:
                return newest + int(pause_us) - now
        calls[name] = now + int(leaves_us)
        return 0

    def end_health_call(self, node: bytes, token: bytes, processor: bytes) -> int:
        """end_health_call.lua."""
        if not self._leads(node, token):
            return 0
        self.data.health_calls[processor.decode()] = self._now_us()
        return 1

    def post_news(self, node: bytes, about: bytes, says: bytes, _channel: bytes, look: bytes, *token: bytes) -> int:
        """post_news.lua."""
        if token and not self._leads(node, token[0]):
            return 0
        data = self.data
        data.news += 1
        data.board[about.decode()] = b"%d %d %b %b" % (data.news, self._now_us(), node, says)
        self._publish(look)
        return data.news

    def read_news(self) -> list[bytes]:
        """read_news.lua."""
        data = self.data
        reply = [b"%d" % self._now_us(), b"number", b"%d" % data.news]
        for about, note in data.board.items():
            reply += (about.encode(), note)
        return reply

    def _publish(self, said: bytes) -> None:
        for heard in list(self.heard):
            heard(said)

    # -- for checks

    def dead_letters(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Give each dead letter's id and its last failure."""
        for blob in self.data.dead.ids.values():
            lines = self.data.failures.get(blob, b"").split(b"\n")
            yield blob, json.loads(lines[-1]) if lines[-1] else {}


def _consumer(instance: bytes) -> str:
    return instance.partition(b".")[0].decode()


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _triples(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes, bytes]]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)
