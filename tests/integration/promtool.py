"""Prometheus' own tool, for tests that hold our text and rules against it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from payrouter_lab.cluster.binaries import advice, find

if TYPE_CHECKING:
    from pathlib import Path

PROMTOOL = find("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=advice(["promtool"]))


def promtool(*words: str, text: bytes | None = None, folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the tool to its end."""
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *words], input=text, cwd=folder, capture_output=True, timeout=60, check=False)
