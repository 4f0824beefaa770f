"""What every role of a cluster says and does at its start when Redis or PostgreSQL is not as it should be."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli_client import COMMAND, payrouter, run, started
from e2e.cluster_client import NO_PROCESSOR, migrated, stores, with_password

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from payrouter_lab.cluster.servers import PostgresServer, RedisServer

ROLES = ("serve", "api", "dispatcher")
AT_ONCE_S = 8.0
"""Less than anybody waits for a server that is away; most of it is starting Python on a busy machine."""

# The command line as it is, but for how long it waits.
IMPATIENT = (
    "import payrouter.bootstrap.cluster as cluster\n"
    "from payrouter.entrypoints.cli.app import run_cli\n"
    "cluster.OPEN_WITHIN_S = 0.7\n"
    "run_cli()\n"
)


@pytest.fixture
def settings(redis_server: RedisServer, redis_prefix: str, postgres_url: str, tmp_path: Path) -> dict[str, str]:
    """A cluster on which every role starts."""
    return migrated(tmp_path, stores(redis_server.url, postgres_url, redis_prefix))


def refused(folder: Path, settings: dict[str, str], *roles: str, code: int = 1) -> list[str]:
    """Return what each role says that gives up at once; all of them are started together."""

    def ask(role: str) -> str:
        begun_s = time.monotonic()
        ended = payrouter(folder, role, PAYROUTER_BIND="127.0.0.1:0", **settings)
        assert ended.returncode == code, ended.stderr
        assert time.monotonic() - begun_s < AT_ONCE_S
        assert ended.stdout == ""
        tidy(ended.stderr)
        return ended.stderr

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(ask, roles or ROLES))


def starts(folder: Path, role: str, settings: dict[str, str]) -> str:
    """Start a role, stop it again, and return what it said."""
    with started([*COMMAND, role], folder, **settings, PAYROUTER_BIND="127.0.0.1:0") as process:
        process.line("routing to" if role != "api" else "is listening on")
        assert process.stop() == 0
        tidy(process.err)
        return process.err


def impatient(folder: Path, role: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a role that waits for 0.7 s only."""
    return run([sys.executable, "-W", "error", "-c", IMPATIENT, role], folder, **settings, PAYROUTER_BIND="127.0.0.1:0")


def tidy(said: str) -> None:
    """Check that these are lines for an operator."""
    assert "Traceback" not in said
    assert "ResourceWarning" not in said
    assert "Exception ignored" not in said
    assert "never retrieved" not in said


@pytest.mark.parametrize("role", ROLES)
def test_on_a_sound_cluster_every_role_starts_and_stops(tmp_path: Path, role: str, settings: dict[str, str]) -> None:
    said = starts(tmp_path, role, settings)
    assert "every accepted payment is synced to disk before it is answered" in said
    assert "WARNING" not in "".join(line for line in said.splitlines() if "health call" not in line)


@pytest.mark.parametrize("role", [*ROLES, "migrate"])
def test_a_server_that_is_still_starting_is_waited_for(
    tmp_path: Path, role: str, own_redis: Callable[..., RedisServer], own_postgres: Callable[..., PostgresServer]
) -> None:
    redis, postgres = own_redis(), own_postgres()
    settings = stores(redis.url, postgres.url)
    if role != "migrate":
        migrated(tmp_path, settings)
    redis.stop()
    postgres.stop()
    with started([*COMMAND, role], tmp_path, **settings, PAYROUTER_BIND="127.0.0.1:0") as process:
        if role != "migrate":
            assert "cannot connect to Redis at redis://127.0.0.1" in process.line("waiting for Redis, ")
            redis.start()
        assert "cannot reach PostgreSQL at 127.0.0.1" in process.line("waiting for PostgreSQL: ")
        postgres.start()
        process.line("schema version 1 now" if role == "migrate" else "127.0.0.1:")
        process.stop()
        tidy(process.err)
        # A line now and then, not one for every attempt.
        assert process.err.count("waiting for PostgreSQL: cannot reach") <= 3


@pytest.mark.parametrize(
    ("away", "url", "what"),
    [
        ("PAYROUTER_REDIS_URL", "redis://127.0.0.1:1", "is Redis running there?"),
        ("PAYROUTER_POSTGRES_URL", "postgresql://postgres@127.0.0.1:1/books", "is PostgreSQL running there?"),
    ],
)
def test_a_server_that_does_not_come_ends_the_start(
    tmp_path: Path, away: str, url: str, what: str, settings: dict[str, str]
) -> None:
    for role in ROLES:
        ended = impatient(tmp_path, role, settings | {away: url})
        assert ended.returncode == 1
        last = ended.stderr.splitlines()[-1]
        assert last.startswith("payrouter: cannot ")
        assert last.endswith(f"Connection refused; waited 0.7 s, {what}")
        tidy(ended.stderr)


def test_a_wrong_password_for_redis_is_said_at_once(
    tmp_path: Path, own_redis: Callable[..., RedisServer], settings: dict[str, str]
) -> None:
    redis = own_redis(password="right")
    for url, what in (
        (redis.url.replace("right", "wr0ng"), "Redis refuses this user and password; correct them in the url"),
        (redis.url.replace(":right@", ""), "Redis asks for a password; give it in the url"),
    ):
        for said in refused(tmp_path, settings | {"PAYROUTER_REDIS_URL": url}):
            assert what in said
            assert "wr0ng" not in said


def test_a_wrong_password_for_postgres_is_said_at_once(
    tmp_path: Path, own_postgres: Callable[..., PostgresServer], settings: dict[str, str]
) -> None:
    url = with_password(own_postgres()).replace("right", "wr0ng")
    for said in refused(tmp_path, settings | {"PAYROUTER_POSTGRES_URL": url}, *ROLES, "migrate"):
        assert "password authentication failed" in said
        assert "correct user and password in PAYROUTER_POSTGRES_URL" in said
        assert "wr0ng" not in said


def test_tables_that_are_not_those_needed_are_said_with_what_to_do(
    tmp_path: Path, settings: dict[str, str], postgres_server: PostgresServer
) -> None:
    database = settings["PAYROUTER_POSTGRES_URL"].rpartition("/")[2]
    postgres_server.run_sql("INSERT INTO payrouter.migration VALUES (99, 'from the future')", database=database)
    for said in refused(tmp_path, settings, *ROLES, "migrate"):
        assert "schema version 99, we know 1; update Payrouter" in said
    postgres_server.run_sql("DROP SCHEMA payrouter CASCADE", database=database)
    for said in refused(tmp_path, settings):
        assert "no tables of Payrouter yet, version 1 is needed; run payrouter migrate" in said


@pytest.mark.parametrize("allowed", ["false", "true"])
def test_a_replica_is_no_place_for_payments_whatever_is_allowed(
    tmp_path: Path, allowed: str, own_redis: Callable[..., RedisServer], settings: dict[str, str]
) -> None:
    replica = own_redis(config=[f"replicaof {settings['PAYROUTER_REDIS_URL'].split('/')[2].replace(':', ' ')}"])
    changed = {"PAYROUTER_REDIS_URL": replica.url, "PAYROUTER_ALLOW_UNSAFE_STORES": allowed}
    for said in refused(tmp_path, settings | changed):
        assert "it is a slave, which takes no writes; name the master in PAYROUTER_REDIS_URL" in said
        assert "takes it all the same" not in said


@pytest.mark.parametrize("allowed", ["false", "true"])
def test_a_postgres_that_can_only_be_read_is_refused_whatever_is_allowed(
    tmp_path: Path, allowed: str, settings: dict[str, str], postgres_server: PostgresServer
) -> None:
    database = settings["PAYROUTER_POSTGRES_URL"].rpartition("/")[2]
    postgres_server.run_sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    for said in refused(tmp_path, settings | {"PAYROUTER_ALLOW_UNSAFE_STORES": allowed}, *ROLES, "migrate"):
        assert "can only be read" in said
        assert "PAYROUTER_POSTGRES_URL must lead to the primary" in said


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"maxmemory": "50mb", "config": ["maxmemory-policy allkeys-lru"]}, "evicts when it is full (allkeys-lru)"),
        ({"config": ["appendonly no"]}, "it keeps nothing on disk"),
        ({"appendfsync": "no"}, "it never syncs its log"),
    ],
)
def test_a_redis_that_may_lose_payments_is_refused_unless_that_is_allowed(
    tmp_path: Path, options: dict[str, Any], what: str, own_redis: Callable[..., RedisServer], settings: dict[str, str]
) -> None:
    unsafe = settings | {"PAYROUTER_REDIS_URL": own_redis(**options).url}
    for said in refused(tmp_path, unsafe):
        assert what in said
        assert "PAYROUTER_ALLOW_UNSAFE_STORES=true takes it all the same" in said
    starts(tmp_path, "serve", unsafe | {"PAYROUTER_ALLOW_UNSAFE_STORES": "true"})


def test_a_postgres_that_may_lose_payments_is_refused_unless_that_is_allowed(
    tmp_path: Path, own_postgres: Callable[..., PostgresServer], settings: dict[str, str]
) -> None:
    postgres = own_postgres(options=["fsync=off"])
    unsafe = migrated(tmp_path, settings | {"PAYROUTER_POSTGRES_URL": postgres.url})
    for said in refused(tmp_path, unsafe):
        assert "may lose settled payments in a crash: fsync or full_page_writes is off" in said
        assert "allow it by PAYROUTER_ALLOW_UNSAFE_STORES" in said
    said = starts(tmp_path, "serve", unsafe | {"PAYROUTER_ALLOW_UNSAFE_STORES": "true"})
    assert "may lose settled payments in a crash" in said


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"PAYROUTER_REDIS_URL": ""}, "PAYROUTER_REDIS_URL must be set too"),
        ({"PAYROUTER_POSTGRES_URL": ""}, "PAYROUTER_POSTGRES_URL must be set too"),
        ({"PAYROUTER_REDIS_URL": "http://127.0.0.1"}, "PAYROUTER_REDIS_URL must begin with redis:// or rediss://"),
        ({"PAYROUTER_REDIS_URL": "redis://127.0.0.1/first"}, "has a database that is no number"),
        ({"PAYROUTER_POSTGRES_URL": "mysql://127.0.0.1/x"}, "PAYROUTER_POSTGRES_URL must begin with postgresql://"),
        ({"PAYROUTER_REDIS_PREFIX": "{a}"}, "PAYROUTER_REDIS_PREFIX must be letters, digits"),
    ],
)
def test_wrong_settings_end_with_two(tmp_path: Path, wrong: dict[str, str], what: str) -> None:
    settings = stores("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x")
    for said in refused(tmp_path, settings | wrong, "api", "dispatcher", code=2):
        assert what in said


def test_a_sqlite_file_is_for_one_process(tmp_path: Path) -> None:
    for said in refused(tmp_path, {"PAYROUTER_PROCESSORS": NO_PROCESSOR}, "api", "dispatcher", code=2):
        assert "PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL must be set" in said


@pytest.mark.parametrize("wrong", ["PAYROUTER_REDIS_URL", "PAYROUTER_POSTGRES_URL"])
def test_when_something_else_listens_there_that_is_said(
    tmp_path: Path, wrong: str, settings: dict[str, str], redis_server: RedisServer, postgres_server: PostgresServer
) -> None:
    others = {
        "PAYROUTER_REDIS_URL": f"redis://127.0.0.1:{postgres_server.port}",
        "PAYROUTER_POSTGRES_URL": f"postgresql://postgres@127.0.0.1:{redis_server.port}/books",
    }
    ended = impatient(tmp_path, "api", settings | {wrong: others[wrong]})
    name = "Redis" if wrong == "PAYROUTER_REDIS_URL" else "PostgreSQL"
    assert f"{name} at " in ended.stderr
    assert ended.returncode == 1
    tidy(ended.stderr)
