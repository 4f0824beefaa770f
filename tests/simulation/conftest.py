"""Shows what the simulation's tests found out."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say after how many seeds each planted bug was found."""
    planted = sys.modules.get("simulation.test_planted_bugs")
    found_after: dict[str, int] = planted.found_after if planted is not None else {}
    if found_after:
        median = statistics.median(found_after.values())
        terminalreporter.section(f"seeds until each planted bug was found, median {median:g}")
        for name, seeds in found_after.items():
            terminalreporter.write_line(f"{seeds:5d}  {name}")
