"""The servers that tests and the local cluster start: ready when `start` returns, durable, gone with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import hiredis
import pytest

from payrouter_lab.bench.processes import ChildError, is_zombie, process_tree
from payrouter_lab.cluster.servers import NginxServer, PostgresServer, RedisServer, server_user

if TYPE_CHECKING:
    from collections.abc import Callable

NGINX = """
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    server {{ listen 127.0.0.1:{port}; return 200 "here\\n"; }}
}}
"""


def nginx(directory: Path) -> NginxServer:
    server = NginxServer(directory, "")
    server.config = NGINX.format(port=server.port)
    return server


def test_what_redis_answered_survives_its_kill(own_redis: Callable[..., RedisServer]) -> None:
    redis = own_redis()
    address = redis.url
    redis.ask("SET", "written", "before")
    redis.kill()
    assert not redis.alive
    redis.start()
    assert redis.url == address
    assert redis.ask("GET", "written") == "before"


def test_redis_refuses_writes_over_its_memory_and_strangers(own_redis: Callable[..., RedisServer]) -> None:
    redis = own_redis(maxmemory="1kb", password='p"w\\ 1', config=["maxclients 7"])
    assert redis.ask("CONFIG", "GET", "maxclients") == ["maxclients", "7"]
    with pytest.raises(hiredis.ReplyError, match="OOM"):
        redis.ask("SET", "small", "x")
    redis.password = None
    with pytest.raises(hiredis.ReplyError, match="NOAUTH"):
        redis.ask("PING")


def test_a_paused_redis_answers_nothing_until_it_goes_on(own_redis: Callable[..., RedisServer]) -> None:
    redis = own_redis()
    redis.pause()
    with pytest.raises(TimeoutError):
        redis.ask("PING", timeout_s=0.2)
    redis.resume()
    assert redis.ask("PING") == "PONG"


def test_what_postgres_committed_survives_its_kill(own_postgres: Callable[..., PostgresServer]) -> None:
    postgres = own_postgres()
    postgres.create_database("books")
    postgres.run_sql("CREATE TABLE written AS SELECT 1990 AS cents", database="books")
    postgres.kill()
    postgres.start()
    assert postgres.run_sql("SELECT cents FROM written", database="books") == "1990"
    assert postgres.run_sql("SHOW fsync") == "on"


def test_every_test_has_an_empty_database(postgres_server: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    assert postgres_url == postgres_server.url_of(name)
    assert postgres_server.run_sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database=name) == "0"


def test_two_tests_do_not_share_keys(redis_prefix: str, redis_server: RedisServer) -> None:
    assert redis_server.ask("KEYS", f"{redis_prefix}:*") == []


def test_postgres_says_what_is_wrong_with_a_statement(postgres_server: PostgresServer) -> None:
    with pytest.raises(ChildError, match="syntax error"):
        postgres_server.run_sql("SELEKT 1")


@pytest.mark.skipif(server_user() is None, reason="only root has to change the user")
def test_a_directory_closed_to_the_servers_user_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ChildError, match="may not enter"):
        PostgresServer(tmp_path / "postgres").start()


def test_a_server_that_cannot_start_shows_why(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="no-such-directive"):
        RedisServer(tmp_path, config=["no-such-directive 1"]).start()


def test_nginx_listens_when_start_returns_and_again_after_a_kill(tmp_path: Path) -> None:
    with nginx(tmp_path) as server:
        for _ in range(2):
            with urllib.request.urlopen(server.url, timeout=5) as answer:
                assert answer.read() == b"here\n"
            server.kill()
            server.start()


PARENT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from integration.test_servers import nginx
from payrouter_lab.cluster.servers import PostgresServer, RedisServer
directory = Path(sys.argv[1])
servers = [RedisServer(directory / "redis"), PostgresServer(directory / "postgres"), nginx(directory / "nginx")]
for server in servers:
    server.start()
print(*(server.child.process.pid for server in servers), flush=True)
time.sleep(60)
"""


def test_no_server_outlives_a_killed_parent(servers_directory: Path) -> None:
    script = PARENT.format(tests=str(Path(__file__).parents[1]))
    directory = servers_directory / "orphans"
    with subprocess.Popen([sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        leaders = [int(word) for word in parent.stdout.readline().split()]
        everybody = set().union(*map(process_tree, leaders))
        parent.kill()
    assert len(leaders) == 3
    assert len(everybody) > 3
    deadline_s = time.monotonic() + 10
    while left := [pid for pid in set().union(*map(process_tree, leaders)) if not is_zombie(pid)]:
        assert time.monotonic() < deadline_s, [Path(f"/proc/{pid}/cmdline").read_text() for pid in left]
        time.sleep(0.02)


def test_postgres_does_not_run_as_root(postgres_server: PostgresServer) -> None:
    assert os.stat(f"/proc/{postgres_server.child.process.pid}").st_uid != 0
    assert postgres_server.child.manner.stop_signal == signal.SIGINT
