"""What a processor says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`GET /payments/service-health`: failing or not, and the least latency in milliseconds."""

    failing: bool
    min_response_ms: int
