"""A payment's story: what is kept of it, as steps in words, oldest first. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from payrouter.domain.ledger import KEPT_FAILURES
from payrouter.domain.money import fee_minor, format_minor
from payrouter.domain.payment import PaymentEvent, PaymentState
from payrouter.domain.routing import Reason, ReasonCode
from payrouter.domain.window import format_instant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.ledger import AttemptRecord, PaymentRecord
    from payrouter.domain.processor import Processor

WORTH_TELLING_S = 0.1
"""A payment that waited for less did not wait."""

REPEATED_AFTER_US = 1_000_000
"""A charge whose POST left later than this after its attempt was written down is of a repeat."""


class StepKind(StrEnum):
    """What a step tells of."""

    ACCEPTED = "accepted"
    WAITED = "waited"
    ATTEMPT = "attempt"
    FAILED = "failed"
    PINNED = "pinned"
    QUEUED = "queued"
    SETTLED = "settled"
    DEAD_LETTER = "dead-letter"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a payment, at an instant (UTC microseconds), in words for people."""

    at_us: int
    kind: StepKind
    text: str


def story(record: PaymentRecord, processors: Sequence[Processor]) -> list[Step]:
    """Return everything that happened to a payment, as far as it is kept, in the order in which it did.

    `processors` tell the fee. Records of earlier versions know neither when a failed attempt was sent nor why there.
    """
    return _Teller(record, processors).steps


class _Teller:
    """Goes through a record; `_free_us` is since when the payment could have been sent."""

    def __init__(self, record: PaymentRecord, processors: Sequence[Processor]) -> None:
        self.steps: list[Step] = []
        self._record = record
        self._processors = processors
        self._free_us = record.accepted_us
        self._sent: tuple[str, int] | None = None
        self._pinned: tuple[str, int | None] | None = None
        self._buried = False
        self._tell(record.accepted_us, StepKind.ACCEPTED, f"accepted: {format_minor(record.amount_minor)}")
        if len(record.failures) >= KEPT_FAILURES:
            text = f"only the last {KEPT_FAILURES} failed attempts are kept; there may have been more before"
            self._tell(record.accepted_us, StepKind.FAILED, text)
            self._free_us = record.failures[0].requested_us or record.failures[0].at_us
        posts: list[tuple[str | None, int | None]] = [(one.processor, one.requested_us) for one in record.failures]
        posts.append((record.processor, record.requested_us))
        for index, failure in enumerate(record.failures):
            self._failed(failure, stands=failure.requested_us is not None and posts[index] == posts[index + 1])
        self._end()

    def _tell(self, at_us: int, kind: StepKind, text: str) -> None:
        self.steps.append(Step(at_us, kind, text))

    def _failed(self, failure: AttemptRecord, *, stands: bool) -> None:
        """Tell of one POST that did not charge; `stands`: its attempt goes on after it."""
        if failure.outcome == PaymentEvent.PROVEN:
            self._tell(failure.at_us, StepKind.PINNED, f"charged by {failure.processor}: {failure.detail}")
            return
        if failure.requested_us is not None:
            took_us = int((failure.latency_ms or 0.0) * 1000)
            self._attempt(failure.processor, failure.requested_us, failure.at_us - took_us, failure.reason)
        elif self._buried:
            self._sent_again(failure.at_us)
        where = failure.processor or "nobody was asked"
        after = "" if failure.latency_ms is None else f" after {_ms(failure.latency_ms)}"
        self._free_us = failure.at_us
        match failure.outcome:
            case PaymentEvent.INVALID:
                self._buried = True
                text = f"it cannot succeed as it is: {where}{after}: {failure.detail}"
                self._tell(failure.at_us, StepKind.DEAD_LETTER, text)
            case PaymentEvent.UNKNOWN:
                self._tell(failure.at_us, StepKind.FAILED, f"{where}: outcome unknown{after}: {failure.detail}")
                self._pin(failure.at_us, failure.processor, failure.requested_us)
            case _ if stands or self._pinned is not None:
                # A repeat, perhaps by whoever took over from the sender (I6).
                text = f"{where}: the repeat was {failure.outcome}{after}, which proves nothing of the first"
                self._tell(failure.at_us, StepKind.FAILED, f"{text}: {failure.detail}")
                self._pin(failure.at_us, failure.processor, failure.requested_us)
            case _:
                text = f"{where}: {failure.outcome}{after}, not charged: {failure.detail}"
                self._tell(failure.at_us, StepKind.FAILED, f"{text}; back in its place in the queue")

    def _pin(self, at_us: int, processor: str, requested_us: int | None) -> None:
        if self._pinned != (processor, requested_us):
            self._pinned = (processor, requested_us)
            text = f"stays with {processor}, which may have charged it, and is repeated there until it says"
            self._tell(at_us, StepKind.PINNED, text)

    def _attempt(self, processor: str, requested_us: int, at_us: int, encoded: str | None) -> None:
        """Tell of a POST at `at_us`: the first of its attempt, or a repeat."""
        if self._buried:
            self._sent_again(min(at_us, requested_us) if self._sent != (processor, requested_us) else at_us)
        if self._sent == (processor, requested_us):
            same = format_instant(requested_us)
            self._tell(at_us, StepKind.ATTEMPT, f"repeated at {processor} with the same requestedAt, {same}")
            return
        self._sent, self._pinned = (processor, requested_us), None
        reason = Reason.decode(encoded) if encoded else None
        if reason is not None and reason.code is ReasonCode.PROVEN:
            # Nobody here sent it.
            return
        waited_s = (requested_us - self._free_us) / 1_000_000
        if waited_s >= WORTH_TELLING_S:
            self._tell(self._free_us, StepKind.WAITED, f"waited {waited_s:.1f} s{_why_waited(reason, processor)}")
        why = f": {reason.in_words(processor)}" if reason is not None else ""
        self._tell(requested_us, StepKind.ATTEMPT, f"sent to {processor}{why}")

    def _sent_again(self, at_us: int) -> None:
        self._buried = False
        self._tell(at_us, StepKind.QUEUED, "an operator sent it again")
        self._free_us = at_us

    def _end(self) -> None:
        record = self._record
        # The attempt that charged it, or stands, or is unresolved; not one that a failure told of.
        if record.processor is not None and record.requested_us is not None:
            self._last_attempt(record, record.processor, record.requested_us)
        last_us = self.steps[-1].at_us
        match record.state:
            case PaymentState.QUEUED if self._buried:
                self._tell(last_us, StepKind.QUEUED, "an operator sent it again: it waits to be sent")
            case PaymentState.QUEUED:
                self._tell(last_us, StepKind.QUEUED, "waits to be sent")
            case PaymentState.PINNED if record.processor is not None:
                if self._buried:
                    self._tell(last_us, StepKind.QUEUED, "an operator sent it again")
                self._pin(last_us, record.processor, record.requested_us)
            case PaymentState.SETTLED if record.settled_us is not None:
                self._tell(record.settled_us, StepKind.SETTLED, self._settled(record))
            case _:
                pass

    def _last_attempt(self, record: PaymentRecord, processor: str, requested_us: int) -> None:
        known = self._sent == (processor, requested_us)
        if not known:
            self._attempt(processor, requested_us, requested_us, record.reason)
        if record.state is PaymentState.SETTLED and record.settled_us is not None and not _is_proven(record):
            posted_us = record.settled_us - int((record.latency_ms or 0.0) * 1000)
            # A charge that was read in the processor's record counts from the first POST. A repeat by whoever took
            # over from the sender has no failed attempt before it; an intent is not that long in being written.
            if posted_us > requested_us + (0 if known else REPEATED_AFTER_US):
                self._attempt(processor, requested_us, posted_us, record.reason)

    def _settled(self, record: PaymentRecord) -> str:
        after = "" if record.latency_ms is None else f", after {_ms(record.latency_ms)}"
        fee = next((one.fee for one in self._processors if one.name == record.processor), None)
        paid = "" if fee is None else f", for a fee of {format_minor(fee_minor(record.amount_minor, fee))}"
        if _is_proven(record):
            return f"settled: {record.processor}'s own record shows that it was charged{paid}"
        return f"settled: charged by {record.processor}{after}{paid}"


def _is_proven(record: PaymentRecord) -> bool:
    return record.reason is not None and record.reason.startswith(f"{ReasonCode.PROVEN}|")


def _why_waited(reason: Reason | None, processor: str) -> str:
    """Return what the attempt that ended a wait tells of why it was one."""
    if reason is None:
        return ""
    if reason.passed_over:
        stood = ", ".join(f"{name} was {standing}" for name, standing in reason.passed_over)
        return f": {stood}"
    if reason.code is ReasonCode.PROBE:
        return f" until it was time to try {processor} again"
    return f" until {processor}, the cheapest, could take it"


def _ms(latency_ms: float) -> str:
    return f"{latency_ms:.1f} ms" if latency_ms < 10 else f"{latency_ms:.0f} ms"
