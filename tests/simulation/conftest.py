"""Shows what the simulation's tests found out."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say after how many seeds each planted bug was found."""
    found_after = {
        value[0]: value[1]
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "found after"
    }
    if found_after:
        median = statistics.median(seeds for seeds in found_after.values() if seeds is not None)
        terminalreporter.section(f"seeds until each planted bug was found, median {median:g}")
        for name, seeds in found_after.items():
            terminalreporter.write_line(f"{seeds or 'never':>5}  {name}")
