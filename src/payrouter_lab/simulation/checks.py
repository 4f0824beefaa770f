"""What must hold during and after every run: each check returns what is wrong, in words, by payment."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from payrouter.adapters.redis.records import decode_or_none
from payrouter.adapters.rows import from_blob, to_blob
from payrouter.domain.health import BETWEEN_CALLS_S
from payrouter.domain.ledger import Totals
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window, format_instant, parse_instant

if TYPE_CHECKING:
    from collections.abc import Set

    from payrouter_lab.simulation.clients import Clients
    from payrouter_lab.simulation.installation import Installation

CLOSED_AFTER_S = 3.0
"""A window is closed when its end is so long ago, and no attempt in it is without an outcome."""

NO_CALL_TOLERANCE_S = 1e-6
POLITE = "polite (I8)"


class Violation(NamedTuple):
    """A broken promise: which check, the payment concerned (empty when none is), and what was found."""

    check: str
    correlation_id: str
    found: str


class Entry(NamedTuple):
    """One charged payment as one side has it."""

    processor: str
    requested_us: int
    amount_minor: int


@dataclass
class Conduct:
    """How attempts behave, seen from the network: a payment stays where an attempt of it has no certain end (I6).

    `open` counts, by payment and by processor and instant, attempts that are not known to have been refused.
    """

    open: dict[str, dict[tuple[str, int], int]] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def sent(self, correlation_id: str, processor: str, requested_us: int) -> None:
        """An attempt leaves."""
        attempts = self.open.setdefault(correlation_id, {})
        key = (processor, requested_us)
        others = [other for other, count in attempts.items() if count and other != key]
        if others:
            where = ", ".join(f"{name} at {format_instant(instant)}" for name, instant in others)
            found = f"sent to {processor} at {format_instant(requested_us)} while it may be charged by {where}"
            self.violations.append(Violation("unknown pins (I6)", correlation_id, found))
        attempts[key] = attempts.get(key, 0) + 1

    def refused(self, correlation_id: str, processor: str, requested_us: int) -> None:
        """An attempt was certainly not charged, and whoever made it knows."""
        self.open[correlation_id][processor, requested_us] -= 1


def theirs(installation: Installation) -> dict[str, list[Entry]]:
    """Return all charges by payment."""
    charged: dict[str, list[Entry]] = {}
    for name, processor in installation.processors.items():
        for correlation_id, (cents, requested_us) in processor.state.books.payments.items():
            charged.setdefault(correlation_id, []).append(Entry(name, requested_us, cents))
    return charged


def ours(installation: Installation) -> dict[str, Entry]:
    """Return our ledger by payment."""
    entries: dict[str, Entry] = {}
    for correlation_id, row in installation.rows.rows.items():
        intent = row.settlement.intent
        entries[correlation_id] = Entry(intent.processor, intent.requested_us, intent.delivery.amount_minor)
    return entries


def unresolved(installation: Installation) -> dict[str, Entry]:
    """Return the attempts that stand in Redis, by payment."""
    standing: dict[str, Entry] = {}
    for blob, stored in installation.redis.data.payments.items():
        record = decode_or_none(stored)
        if record is not None and record.attempt is not None:
            standing[from_blob(blob)] = Entry(record.attempt[0], record.attempt[1], record.amount_minor)
    return standing


def dead_letters(installation: Installation) -> set[str]:
    """Return the payments that wait for an operator."""
    return {from_blob(blob) for blob in installation.redis.data.dead.ids.values()}


def all_ended(installation: Installation, clients: Clients, excused: Set[str]) -> bool:
    """Return whether everything that was promised is settled or a dead letter and told, but for what may be lost."""
    rows, data = installation.rows.rows, installation.redis.data
    if len(data.payments) != len(data.dead.ids) or data.notices:
        return False
    dead = dead_letters(installation)
    return all(
        one.correlation_id in rows or one.correlation_id in dead
        for one in clients.asked.values()
        if one.promised and one.correlation_id not in excused
    )


# -- while it runs


def closed_window(installation: Installation, window: Window, excused: Set[str]) -> list[Violation]:
    """Compare both sides' totals of a window at this instant, but for attempts without an outcome.

    Of `excused` payments only those charges count that we know of.
    """
    settled, standing = ours(installation), unresolved(installation)
    expected: dict[str, Totals] = {}
    wrong: list[Violation] = []
    for correlation_id, entries in theirs(installation).items():
        for entry in entries:
            if entry.requested_us not in window or (correlation_id in excused and settled.get(correlation_id) != entry):
                continue
            if correlation_id in settled:
                before = expected.get(entry.processor, Totals())
                expected[entry.processor] = Totals(before.count + 1, before.amount_minor + entry.amount_minor)
            elif standing.get(correlation_id) != entry:
                wrong.append(Violation("books agree (I4)", correlation_id, f"charged, {entry}, and nobody knows here"))
    found = installation.rows.summary(window)
    if found != expected:
        wrong.append(Violation("summary of a closed window (I4)", "", f"{window}: ours {found}, theirs {expected}"))
    return wrong


def charged_in(installation: Installation, window: Window) -> dict[str, list[int]]:
    """Return number and sum of the charges in a window, by processor."""
    totals = {name: [0, 0] for name in installation.processors}
    for entries in theirs(installation).values():
        for entry in entries:
            if entry.requested_us in window:
                totals[entry.processor][0] += 1
                totals[entry.processor][1] += entry.amount_minor
    return totals


def summary_answer(window: Window, expected: dict[str, list[int]], status: int, said: bytes) -> list[Violation]:
    """Compare an API's summary of a window with what the processors had in it all the while."""
    if status != 200:
        return []
    answer = msgspec.json.decode(said)
    found = {name: [one["totalRequests"], round(one["totalAmount"] * 100)] for name, one in answer.items()}
    if found == expected:
        return []
    return [Violation("summary of a closed window (I4)", "", f"{window}: ours {found}, theirs {expected}")]


def bounds(installation: Installation) -> list[Violation]:
    """Look whether what is held in memory stays bounded (I7)."""
    from payrouter.application.dispatch import MOST_UNRECORDED  # noqa: PLC0415

    wrong: list[Violation] = []
    most = installation.shape.max_in_flight * len(installation.processors)
    for one in installation.dispatchers:
        if one.running is not None and one.process.alive:
            unrecorded = one.running.dispatcher.unrecorded
            if unrecorded > MOST_UNRECORDED + 2 * most:
                wrong.append(Violation("bounded (I7)", "", f"{unrecorded} outcomes are not written"))
    return wrong


# -- afterwards


def books(installation: Installation, clients: Clients, conduct: Conduct) -> list[Violation]:
    """Compare everything with everything, once nothing happens any more."""
    wrong = [*conduct.violations, *(Violation("answers", *wrong_one) for wrong_one in clients.wrongs)]
    charged, settled, dead = theirs(installation), ours(installation), dead_letters(installation)
    for correlation_id, entries in charged.items():
        if len(entries) > 1:
            wrong.append(Violation("charged once (I2)", correlation_id, f"charged by {entries}"))
        asked = clients.asked.get(correlation_id)
        if asked is None:
            wrong.append(Violation("nothing refused is charged", correlation_id, f"nobody asked for it: {entries}"))
        elif not asked.possible:
            wrong.append(Violation("nothing refused is charged", correlation_id, f"was refused: {entries}"))
        elif any(entry.amount_minor != asked.amount_minor for entry in entries):
            wrong.append(Violation("amounts", correlation_id, f"asked for {asked.amount_minor}, charged {entries}"))
        if settled.get(correlation_id) not in entries and correlation_id not in dead:
            found = f"ours {settled.get(correlation_id)}, theirs {entries}"
            wrong.append(Violation("books agree (I4)", correlation_id, found))
    for correlation_id, entry in settled.items():
        if entry not in charged.get(correlation_id, ()):
            found = f"ours {entry}, theirs {charged.get(correlation_id)}"
            wrong.append(Violation("books agree (I4)", correlation_id, found))
    wrong += [
        Violation("nothing is lost (I1, I3)", one.correlation_id, _standing(installation, one.correlation_id))
        for one in clients.asked.values()
        if one.promised and one.correlation_id not in settled and one.correlation_id not in dead
    ]
    return [*wrong, *_left_over(installation), *_health(installation), *_flight(installation), *_told(installation)]


def _standing(installation: Installation, correlation_id: str) -> str:
    stored = installation.redis.data.payments.get(to_blob(correlation_id))
    return f"promised, and now {stored!r} in Redis"


def _left_over(installation: Installation) -> list[Violation]:
    """Look whether Redis keeps anything but dead letters."""
    data, wrong = installation.redis.data, list[Violation]()
    dead = len(data.dead.ids)
    for blob, stored in data.payments.items():
        record = decode_or_none(stored)
        if record is None or record.state is not PaymentState.DEAD_LETTER:
            wrong.append(Violation("everything ends (I3)", from_blob(blob), f"still {stored!r}"))
    if data.waiting or data.again.ids or data.orphans.ids or data.holder:
        found = f"{data.waiting} waiting, {len(data.again.ids)} again, {len(data.orphans.ids)} orphans, "
        wrong.append(Violation("memory is given back (I7)", "", found + f"{len(data.holder)} held"))
    if len(data.stream) != dead or data.poisoned:
        found = f"{len(data.stream)} entries and {len(data.poisoned)} spoilt for {dead} dead letters"
        wrong.append(Violation("memory is given back (I7)", "", found))
    whole = installation.rows.summary(Window())
    counted: dict[str, Totals] = {}
    for entry in ours(installation).values():
        before = counted.get(entry.processor, Totals())
        counted[entry.processor] = Totals(before.count + 1, before.amount_minor + entry.amount_minor)
    if whole != counted:
        wrong.append(Violation("summary (I4)", "", f"roll-ups {whole}, rows {counted}"))
    return wrong


def _told(installation: Installation) -> list[Violation]:
    """Look whether the receiver of webhooks was told everything, and nothing that is not so."""
    receiver, wrong = installation.receiver, list[Violation]()
    if receiver is None:
        return wrong
    settled, buried = ours(installation), {from_blob(blob) for blob in installation.redis.buried}
    heard: dict[str, set[str]] = {"payment.settled": set(), "payment.dead_letter": set()}
    for one in receiver.told:
        correlation_id = str(one.payment["correlationId"])
        heard[one.type].add(correlation_id)
        is_told_settled = one.type == "payment.settled" or one.payment["state"] == "settled"
        if is_told_settled and _as_told(one.payment) != settled.get(correlation_id):
            found = f"told {one.payment}, ours is {settled.get(correlation_id)}"
            wrong.append(Violation("webhooks tell the truth", correlation_id, found))
        if one.type == "payment.dead_letter" and correlation_id not in buried:
            wrong.append(Violation("webhooks tell the truth", correlation_id, "was never a dead letter"))
    for kind, happened in (("payment.settled", settled.keys()), ("payment.dead_letter", buried)):
        wrong += [Violation("webhooks tell everything", one, f"no {kind}") for one in happened - heard[kind]]
    data = installation.redis.data
    if data.notices or data.notices_since or data.notices_tries:
        found = f"{len(data.notices)} notices, {len(data.notices_since)} claimed, {len(data.notices_tries)} tried"
        wrong.append(Violation("memory is given back (I7)", "", found))
    return [*wrong, *(Violation("webhooks are signed", "", found) for found in receiver.wrong)]


def _as_told(payment: dict[str, Any]) -> Entry | None:
    """Return a payment as its webhook shows it; None unless settled."""
    if payment["state"] != "settled":
        return None
    return Entry(payment["processor"], parse_instant(payment["requestedAt"]), round(payment["amount"] * 100))


def _health(installation: Installation) -> list[Violation]:
    wrong: list[Violation] = []
    for name, processor in installation.processors.items():
        calls = processor.health_calls_s
        for earlier, later in itertools.pairwise(calls):
            if later - earlier < BETWEEN_CALLS_S - NO_CALL_TOLERANCE_S:
                found = f"{name} was called at {earlier:.3f} s and again {later - earlier:.3f} s later"
                wrong.append(Violation(POLITE, "", found))
    return wrong


def _flight(installation: Installation) -> list[Violation]:
    most = installation.shape.max_in_flight + 16
    return [
        Violation("bounded (I7)", "", f"{processor.most_in_flight} attempts under way at {name}, at most {most} may be")
        for name, processor in installation.processors.items()
        if processor.most_in_flight > most
    ]
