"""Any history of every engine beside the oracle: crashes, stale receipts, lost answers, several dispatchers.

`make model-check` tries many more of them.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from contracts.model import Model
from contracts.processes import ClusterProcesses, MemoryProcess, SqliteProcess

EMBEDDED = settings(max_examples=max(60, settings.default.max_examples // 2), stateful_step_count=40)
CLUSTER = settings(max_examples=max(15, settings.default.max_examples // 10), stateful_step_count=40)


@pytest.fixture(autouse=True)
def tiny_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """RAM holds so little of the queue that the backlog spills into the file all the time."""
    monkeypatch.setattr("payrouter.adapters.sqlite.queue.HEAD", 3)
    monkeypatch.setattr("payrouter.adapters.sqlite.queue._REFILL", 2)


class OnMemory(Model):
    engine = MemoryProcess


class OnSqlite(Model):
    engine = SqliteProcess


class OnCluster(Model):
    engine = ClusterProcesses


class TestMemory(OnMemory.TestCase):
    settings = EMBEDDED


class TestSqlite(OnSqlite.TestCase):
    settings = EMBEDDED


@pytest.mark.usefixtures("cluster_engine")
class TestCluster(OnCluster.TestCase):
    settings = CLUSTER
