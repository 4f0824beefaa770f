"""Runs every contract over every engine."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from contracts.stores import ENGINES, ClusterEngine
from payrouter.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from contracts.stores import Store
    from payrouter_lab.cluster.servers import PostgresServer, RedisServer


@pytest.fixture(scope="session")
def cluster_engine(redis_server: RedisServer, postgres_server: PostgresServer) -> Callable[[Path, int], Store]:
    """The cluster engine on the session's servers, in a database of its own."""
    ClusterEngine.redis_url = redis_server.url
    ClusterEngine.postgres_url = postgres_server.create_database("contracts")
    asyncio.run(migrate(ClusterEngine.postgres_url))
    return ClusterEngine


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Callable[[Path, int], Store]:
    """One engine after the other: opens in a folder, with room for so many."""
    if request.param == "cluster":
        request.getfixturevalue("cluster_engine")
    return ENGINES[request.param]


@pytest.fixture
def store_factory(engine: Callable[[Path, int], Store], tmp_path: Path) -> Callable[..., Store]:
    """Opens an engine in a folder of the test's own."""
    return partial(engine, tmp_path)


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preallocating the log matters to the disk, and costs each test 32 MB."""
    monkeypatch.setattr("payrouter.adapters.sqlite.store.PREALLOCATED_BYTES", 1 << 16)
