"""What looking at an installation found, for whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. A warning is no reason not to start."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `next_step` is empty when there is nothing to do."""

    level: Level
    subject: str
    found: str
    next_step: str = ""
