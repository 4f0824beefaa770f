"""A cluster through the real command line: the settings that name its stores, and its processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from e2e.cli_client import COMMAND, Service, payrouter, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.cli_client import Started
    from payrouter_lab.cluster.servers import PostgresServer

NO_PROCESSOR = '[{"name":"default","url":"http://127.0.0.1:1","fee":"0.05"}]'


def stores(
    redis_url: str, postgres_url: str, prefix: str = "payrouter", processors: str = NO_PROCESSOR
) -> dict[str, str]:
    """Return the settings of a cluster; without processors there is one that is never there."""
    return {
        "PAYROUTER_REDIS_URL": redis_url,
        "PAYROUTER_POSTGRES_URL": postgres_url,
        "PAYROUTER_REDIS_PREFIX": prefix,
        "PAYROUTER_PROCESSORS": processors,
    }


def migrated(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return the settings, once the tables are there."""
    ended = payrouter(folder, "migrate", **settings)
    assert ended.returncode == 0, ended.stderr
    return settings


def with_password(postgres: PostgresServer) -> str:
    """Let a server of the test's own ask for a password, which is `right`, and return its address with it."""
    postgres.run_sql("ALTER USER postgres PASSWORD 'right'")
    (postgres.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    postgres.run_sql("SELECT pg_reload_conf()")
    return postgres.url.replace("postgres@", "postgres:right@")


@contextmanager
def api(folder: Path, settings: dict[str, str]) -> Iterator[Service]:
    """Run `payrouter api` on a free port."""
    with started([*COMMAND, "api"], folder, **settings, PAYROUTER_BIND="127.0.0.1:0") as process:
        yield Service(f"http://{process.line('is listening on').split()[-1]}", process)


@contextmanager
def dispatcher(folder: Path, settings: dict[str, str]) -> Iterator[Started]:
    """Run `payrouter dispatcher`."""
    with started([*COMMAND, "dispatcher"], folder, **settings) as process:
        process.line("dispatcher is routing to")
        yield process
