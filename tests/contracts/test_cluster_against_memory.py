"""Any history of one dispatcher on Redis and PostgreSQL, crashes included, beside the same history in memory.

It adopts two attempts at a time, so that adopting takes several turns.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from contracts.one_router import OneRouter
from contracts.stores import ClusterEngine


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payrouter.adapters.redis.recovery._ADOPT_AT_ONCE", 2)


class OnCluster(OneRouter):
    engine = ClusterEngine


@pytest.mark.usefixtures("cluster_engine")
class TestOneDispatcher(OnCluster.TestCase):
    settings = settings(max_examples=max(15, settings.default.max_examples // 20), stateful_step_count=30)
