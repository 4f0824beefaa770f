"""Runs every contract over every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.stores import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contracts.stores import Store


@pytest.fixture(params=list(ENGINES))
def store_factory(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Store]:
    """Opens an engine in a folder of the test's own."""
    return lambda limit: ENGINES[request.param](tmp_path, limit)


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preallocating the log matters to the disk, and costs each test 32 MB."""
    monkeypatch.setattr("payrouter.adapters.sqlite.store.PREALLOCATED_BYTES", 1 << 16)
