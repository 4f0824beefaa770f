"""What dispatchers tell each other. `made_s` is always monotonic seconds of whoever reads it, never the teller's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payrouter.domain.health import HealthReport

HINT_FRESH_S = 1.0
"""A hint that is older says nothing any more."""


@dataclass(frozen=True, slots=True)
class ReportNews:
    """The leader got a health report."""

    processor: str
    report: HealthReport
    made_s: float


@dataclass(frozen=True, slots=True)
class HintNews:
    """Another dispatcher's payments found a processor down, or back. A hint only: its own network may be broken."""

    processor: str
    up: bool
    made_s: float


@dataclass(frozen=True, slots=True)
class PurgeNews:
    """Everything was purged, at `made_s` or up to a network delay later: payments sent before are no more."""

    made_s: float


@dataclass(frozen=True, slots=True)
class VacancyNews:
    """The leader stepped down: the lease is free now."""


@dataclass(frozen=True, slots=True)
class PauseNews:
    """An operator paused a processor, or let it go on. It counts until there is another, however old it is."""

    processor: str
    paused: bool


News = ReportNews | HintNews | PurgeNews | VacancyNews | PauseNews
