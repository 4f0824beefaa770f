"""The servers of a cluster are small: they load what they run, and not what other commands and engines need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.cli_client import Started, clean_environment
from e2e.cluster_client import api, dispatcher, migrated, stores

if TYPE_CHECKING:
    from payrouter_lab.cluster.servers import RedisServer

MOST_MB = 40.0
"""Idle. Deployed, each has 48 MB, of which a tenth is to stay free; work takes some 3 MB more."""

NOT_FOR_SERVERS = {"typer", "rich", "pydantic", "payrouter_lab", "dotenv", "tomllib", "zipfile", "tempfile", "email"}
NOT_FOR_CLUSTERS = {"sqlite3"}
NOT_FOR_EMBEDDED = {"asyncpg", "hiredis"}

LOAD = "\n".join(
    [
        "import sys",
        "import payrouter.entrypoints.cli.app as app",
        "app._command([sys.argv[1]])",
        "__import__('payrouter.bootstrap.' + sys.argv[2])",
        "print(*{name.partition('.')[0] for name in sys.modules})",
    ]
)


def loaded(role: str, engine: str) -> set[str]:
    argv = [sys.executable, "-c", LOAD, role, engine]
    return set(subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("role", ["api", "dispatcher", "serve"])
def test_a_server_loads_neither_options_nor_tables_nor_the_lab(role: str) -> None:
    found = loaded(role, "cluster")
    assert {"asyncpg", "hiredis", "uvloop"} <= found
    assert not found & (NOT_FOR_SERVERS | NOT_FOR_CLUSTERS)


def test_the_router_on_a_file_loads_no_clients_of_other_stores() -> None:
    found = loaded("serve", "embedded")
    assert "sqlite3" in found
    assert not found & NOT_FOR_EMBEDDED


def resident_mb(process: Started) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_a_server_has_room_to_spare(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str, postgres_url: str
) -> None:
    settings = migrated(tmp_path, stores(redis_server.url, postgres_url, redis_prefix))
    for _ in range(2):
        # The second time nothing is left to compile, as it is where it was installed.
        with dispatcher(tmp_path, settings) as sending, api(tmp_path, settings) as accepting:
            sizes = [resident_mb(sending), resident_mb(accepting.process)]
    assert max(sizes) < MOST_MB, sizes
