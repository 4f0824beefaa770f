"""What a simulated processor is and remembers, apart from connections: options, books, counts."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from payrouter_lab.simulator.books import Books
from payrouter_lab.simulator.faults import Faults, HealthReport

REMEMBERED_HEALTH_CALLS = 10_000


@dataclass(frozen=True)
class SimulatorOptions:
    """How a simulated processor starts. `fee` is a rate: 0.05 is 5 %."""

    name: str = "default"
    fee: Decimal = Decimal("0.05")
    token: str = "123"
    delay_ms: int = 0
    failing: bool = False
    chunked: bool = False
    running_limit: int = 800
    waiting_limit: int = 500
    health_window_s: float = 5.0
    seed: int = 0


@dataclass
class Stats:
    """Counts since the start; a purge does not reset them.

    `health_calls` are the monotonic seconds of the last health calls, oldest first, also of those refused.
    """

    health_calls: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED_HEALTH_CALLS))
    health_total: int = 0
    health_refused: int = 0
    payments_failed: int = 0
    payments_refused: int = 0
    max_running: int = 0


class ProcessorState:
    """Configuration, books and counts. They outlive a stop and a new start of the simulator."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.token = options.token
        self.delay_ms = options.delay_ms
        self.failing = options.failing
        self.faults = Faults()
        self.books = Books()
        self.stats = Stats()
        self._random = random.Random(options.seed)

    def health(self) -> HealthReport:
        """Return what the processor says about itself."""
        return self.faults.health_lies or HealthReport(self.failing, self.delay_ms)

    def happens(self, chance: float) -> bool:
        """Draw whether a fault of this probability strikes now; a chance of 0 draws nothing."""
        return chance > 0 and self._random.random() < chance
