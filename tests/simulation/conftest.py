"""Shows what the simulation's tests found out."""

from __future__ import annotations

import statistics
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say after how many seeds each planted bug was found."""
    planted = [module for name, module in sys.modules.items() if name.endswith("test_planted_bugs")]
    found_after: dict[str, int | None] = planted[0].found_after if planted else {}
    if found_after:
        median = statistics.median(seeds for seeds in found_after.values() if seeds is not None)
        terminalreporter.section(f"seeds until each planted bug was found, median {median:g}")
        for name, seeds in found_after.items():
            terminalreporter.write_line(f"{seeds or 'never':>5}  {name}")
