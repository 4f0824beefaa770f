"""Any history of one router on the SQLite file, crashes included, beside the same history in memory.

The head of the queue that RAM holds is made tiny, so that the backlog spills into the file all the time.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from contracts.one_router import OneRouter
from contracts.stores import SqliteEngine


@pytest.fixture(autouse=True)
def tiny_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payrouter.adapters.sqlite.queue.HEAD", 3)
    monkeypatch.setattr("payrouter.adapters.sqlite.queue._REFILL", 2)


class OnSqlite(OneRouter):
    engine = SqliteEngine


class TestOneRouter(OnSqlite.TestCase):
    settings = settings(max_examples=max(60, settings.default.max_examples // 2), stateful_step_count=40)
