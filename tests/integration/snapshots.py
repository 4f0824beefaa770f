"""Snapshots of processes that have had some traffic, counted by the meter and told by the reporter themselves."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from payrouter.application.meter import Meter
from payrouter.application.reporter import Identity, Reporter, Usage
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.board import ProcessorBoard
from payrouter.domain.events import (
    AttemptFailed,
    HealthCallFailed,
    PaymentBuried,
    PaymentsAccepted,
    PaymentsSettled,
    StoreFailed,
)
from payrouter.domain.ledger import Settlement
from payrouter.domain.limiter import Limiter
from payrouter.domain.payment import Payment, PaymentEvent
from payrouter.domain.processor import Processor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.snapshot import NodeSnapshot

NOW_US = 1_752_582_896_123_456
AMOUNT_MINOR = 1990
RESULTS = ("accepted", "accepted", "accepted", "duplicate", "conflict", "full", "unavailable")
FAILED = (PaymentEvent.REFUSED, PaymentEvent.UNKNOWN, PaymentEvent.INVALID)


class StillClock:
    """A clock that stands."""

    def now_us(self) -> int:
        return NOW_US

    def monotonic_s(self) -> float:
        return 100.0


@dataclass
class Working:
    """What a reporter asks its dispatcher."""

    boards: dict[str, ProcessorBoard]
    unrecorded: int = 3
    waits: str | None = None
    unresolved: tuple[int, int | None] = field(default=(2, NOW_US - 3_000_000))


def processors(count: int) -> tuple[Processor, ...]:
    return tuple(Processor(f"p{number:03}", "http://127.0.0.1:1", Decimal("0.05")) for number in range(count))


def snapshot(
    role: str, slot: int = 1, *, payments: int = 100, of: Sequence[Processor] = processors(2), seed: int = 1
) -> NodeSnapshot:
    """Return what a process tells after so many payments, a tenth of which failed at first."""
    chance = random.Random(seed)
    meter = Meter(of)
    meter.leading = role == "router" or (role == "dispatcher" and slot == 1)
    dispatches = role in {"router", "dispatcher"}
    if role in {"router", "api"}:
        accepted = [
            Payment(f"{role}{slot}-{n}", AMOUNT_MINOR, NOW_US - chance.randrange(60_000)) for n in range(payments)
        ]
        meter.publish(PaymentsAccepted(accepted, [RESULTS[n % len(RESULTS)] for n in range(payments)], NOW_US))
    if dispatches:
        for number in range(payments):
            _one_payment(meter, of[number % len(of)].name, f"{role}{slot}-{number}", chance)
        meter.publish(StoreFailed("settling", "away"))
    boards = {
        one.name: ProcessorBoard(one, latency_ceiling_ms=1000, limiter=Limiter(most=256)) for one in of if dispatches
    }
    dispatcher = Working(boards) if dispatches else None
    identity = Identity(f"node-{role}-{slot}", role, "host", 1000 + slot, "1.0", NOW_US - 60_000_000)
    reporter = Reporter(identity, meter, StillClock(), lambda: Usage(48_000_000, 1.25), dispatcher)  # type: ignore[arg-type]
    return replace(reporter.snapshot(), slot=slot)


def _one_payment(meter: Meter, processor: str, correlation_id: str, chance: random.Random) -> None:
    if chance.random() < 0.1:
        failed = chance.choice(FAILED)
        meter.publish(AttemptFailed(correlation_id, processor, failed.value, "no", chance.uniform(1, 900)))
        if failed is PaymentEvent.INVALID:
            meter.publish(PaymentBuried(correlation_id, processor, "no"))
            return
        meter.publish(HealthCallFailed(processor, "no"))
    requested_us = NOW_US - chance.randrange(100_000)
    accepted_us = requested_us - chance.randrange(20_000_000)
    intent = Intent(Delivery(correlation_id, AMOUNT_MINOR, accepted_us, 1), processor, requested_us, "")
    settlement = Settlement(intent, NOW_US - chance.randrange(30_000), chance.uniform(1, 900))
    meter.publish(PaymentsSettled([settlement], [True], NOW_US))


def a_cluster(apis: int = 4, dispatchers: int = 4, count: int = 4) -> list[NodeSnapshot]:
    """Return what each process of a cluster tells."""
    of = processors(count)
    return [
        *(snapshot("api", slot, of=of, payments=2000, seed=slot) for slot in range(1, apis + 1)),
        *(snapshot("dispatcher", slot, of=of, payments=2000, seed=slot) for slot in range(1, dispatchers + 1)),
    ]
