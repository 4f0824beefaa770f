"""Fixtures: real servers, started once a session when the first test asks, and a clean place in them for each test."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from payrouter_lab.cluster.servers import PostgresServer, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_numbers = count(1)


@contextmanager
def _open_directory() -> Iterator[Path]:
    """Yield a new directory that every user may enter: PostgreSQL does not run as root, pytest's own are closed."""
    directory = Path(tempfile.mkdtemp(prefix="payrouter-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    with _open_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def redis_server(servers_directory: Path) -> Iterator[RedisServer]:
    """The session's Redis. Leave it running and its settings as they were; see `own_redis`."""
    with RedisServer(servers_directory / "redis") as server:
        yield server


@pytest.fixture
def redis_prefix(redis_server: RedisServer) -> str:
    """A prefix of keys no other test uses."""
    return f"test{next(_numbers)}"


@pytest.fixture(scope="session")
def postgres_template(servers_directory: Path) -> Path:
    """Where an initialised data directory is kept, to be copied."""
    return servers_directory / "postgres-template"


@pytest.fixture(scope="session")
def postgres_server(servers_directory: Path, postgres_template: Path) -> Iterator[PostgresServer]:
    """The session's PostgreSQL. Leave it running; see `own_postgres`."""
    with PostgresServer(servers_directory / "postgres", template=postgres_template) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database of the test's own."""
    name = f"test{next(_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture
def own_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start a Redis of the test's own, to kill, pause and configure: `own_redis(maxmemory="3mb")`."""
    with ExitStack() as stack:

        def start(**options: object) -> RedisServer:
            directory = stack.enter_context(_open_directory())
            return stack.enter_context(RedisServer(directory / "redis", **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def own_postgres(postgres_template: Path) -> Iterator[Callable[..., PostgresServer]]:
    """Start a PostgreSQL of the test's own, to kill, pause and configure: `own_postgres(options=["fsync=off"])`."""
    with ExitStack() as stack:

        def start(**options: object) -> PostgresServer:
            directory = stack.enter_context(_open_directory())
            server = PostgresServer(directory / "postgres", template=postgres_template, **options)  # type: ignore[arg-type]
            return stack.enter_context(server)

        yield start
