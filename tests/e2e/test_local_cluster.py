"""The cluster without containers: a payment's way through it, its processes killed and paused, its command line."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli_client import call, clean_environment
from payrouter_lab.bench.ids import payment_id
from payrouter_lab.bench.processes import ChildError, is_zombie, process_tree
from payrouter_lab.cluster.deployed import UnknownDeployment, nginx_config
from payrouter_lab.cluster.local import LocalCluster
from payrouter_lab.cluster.nginx import local_config

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 20.0


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PAYROUTER_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def cluster(servers_directory: Path, postgres_template: Path) -> Iterator[LocalCluster]:
    at = servers_directory / "a cluster"
    with LocalCluster(at, apis=2, dispatchers=2, port=0, postgres_template=postgres_template) as cluster:
        yield cluster


def pay(cluster: LocalCluster, number: int) -> int:
    body = {"correlationId": payment_id(7, 1, number), "amount": 19.9}
    return call(cluster.url, "POST", "/payments", body)[0]


def settled(cluster: LocalCluster) -> int:
    status, summary = call(cluster.url, "GET", "/payments-summary")
    assert status == 200
    return sum(one["totalRequests"] for one in summary.values())


def wait_until(what: Any, *, within_s: float = WITHIN_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_payments_are_settled_through_the_whole_cluster(cluster: LocalCluster) -> None:
    before = settled(cluster)
    assert [pay(cluster, number) for number in range(10)] == [202] * 10
    wait_until(lambda: settled(cluster) == before + 10)
    cluster.check()


def test_a_killed_api_costs_no_request_and_comes_back(cluster: LocalCluster) -> None:
    before = settled(cluster)
    api = cluster.services["api1"]
    api.kill()
    assert [pay(cluster, number) for number in range(100, 110)] == [202] * 10
    with pytest.raises(ChildError, match="api1 ended with code -9"):
        cluster.check()
    api.start()
    wait_until(lambda: settled(cluster) == before + 10)
    cluster.check()


def test_a_killed_redis_comes_back_with_what_was_accepted(cluster: LocalCluster) -> None:
    before = settled(cluster)
    for name in ("dispatcher1", "dispatcher2"):
        cluster.services[name].pause()
    assert [pay(cluster, number) for number in range(200, 205)] == [202] * 5
    cluster.redis.kill()
    cluster.redis.start()
    for name in ("dispatcher1", "dispatcher2"):
        cluster.services[name].resume()
    wait_until(lambda: settled(cluster) == before + 5)


def test_the_servers_run_with_what_is_deployed(cluster: LocalCluster) -> None:
    assert cluster.redis.ask("CONFIG", "GET", "appendfsync") == ["appendfsync", "always"]
    assert cluster.redis.ask("CONFIG", "GET", "auto-aof-rewrite-min-size")[1] == str(32 * 2**20)
    assert cluster.redis.ask("CONFIG", "GET", "maxmemory")[1] == "0", "only where memory is limited"
    assert cluster.postgres.run_sql("SHOW jit") == "off"
    assert cluster.postgres.run_sql("SHOW synchronous_commit") == "on"


def test_a_second_cluster_in_the_same_directory_is_refused(cluster: LocalCluster) -> None:
    with pytest.raises(ChildError, match="another cluster runs in"):
        LocalCluster(cluster.directory, port=0).start()
    cluster.check()


def test_a_process_that_ends_at_the_start_shows_why_and_the_rest_is_ended(
    servers_directory: Path, postgres_template: Path
) -> None:
    wrong = {"PAYROUTER_PATIENCE_S": "-3"}
    at = servers_directory / "wrong"
    cluster = LocalCluster(at, port=0, settings=wrong, postgres_template=postgres_template)
    with pytest.raises(ChildError, match="PAYROUTER_PATIENCE_S must be at least 0, got -3"):
        cluster.start()
    assert cluster.services != {}
    assert not any(service.alive for service in cluster.services.values())
    with (at / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_directory_too_long_for_sockets_is_named(servers_directory: Path) -> None:
    with pytest.raises(ChildError, match="at most 83 bytes"):
        LocalCluster(servers_directory / ("x" * 90), port=0).start()


# -- nginx.conf


def test_only_addresses_and_paths_differ_from_the_deployed_nginx(tmp_path: Path) -> None:
    sockets = [tmp_path / f"api{number}.sock" for number in (1, 2, 3)]
    deployed = nginx_config()
    local = local_config(deployed, port=12345, apis=sockets, directory=tmp_path)
    assert set(re.findall(r"server \"unix:(.*?)\"( max_fails=0)?;", local)) == {
        (str(one), " max_fails=0") for one in sockets
    }
    assert re.findall(r"listen (\S+)", local) == ["127.0.0.1:12345"]
    assert "/tmp/nginx" not in local.replace(str(tmp_path), "")
    kept = [line for line in deployed.splitlines() if not re.search(r"# (upstream|listen)|/tmp/nginx", line)]
    assert [line for line in local.splitlines() if line in kept] == kept


def test_a_template_without_its_marks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownDeployment, match="needs a line ending in '# listen'"):
        local_config(nginx_config().replace("# listen", ""), port=1, apis=[], directory=tmp_path)


# -- the command


DISPATCHER = ["-m", "payrouter", "dispatcher"]
COMMAND = [
    sys.executable,
    "-m",
    "payrouter_lab.cluster",
    "--port",
    "0",
    "--admin-port",
    "0",
    "--processor-ports",
    "0",
    "0",
]


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except FileNotFoundError:
        return []


def test_the_command_says_what_runs_starts_again_what_dies_follows_the_logs_and_ends_everything() -> None:
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                COMMAND, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        # Whatever goes wrong below, there is nothing to wait for.
        stack.callback(process.kill)
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "payrouter audit" in line:
                break
        dispatcher = next(pid for pid in process_tree(process.pid) if command_of(pid)[1:] == DISPATCHER)
        os.kill(dispatcher, signal.SIGKILL)
        for line in process.stdout:
            lines.append(line)
            if "is routing to" in line:
                break
        said = "".join(lines)
        assert "dispatcher1 ended with code -9; starting it again" in said
        tree = process_tree(process.pid)
        process.send_signal(signal.SIGINT)
        said += process.stdout.read()
        assert process.wait(30) == 0, said
    url = re.search(r"serves on (http://127.0.0.1:\d+)", said)
    directory = re.search(r"data and logs: (\S+) \(removed at the end\)", said)
    assert url, said
    assert directory, said
    assert f"curl {url[1]}/payments-summary" in said
    assert re.search(r"^api2 +\| .* stopped$", said.partition("\nstopping\n")[2], re.MULTILINE), said
    assert said.endswith("\nstopped\n")
    assert not os.path.exists(directory[1])
    assert len(tree) > 8
    wait_until(lambda: all(map(is_zombie, tree)))


def test_the_command_names_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        argv = [*COMMAND, "--port", str(port)]
        ended = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 1
    assert f"port {port} cannot be used (Address already in use)" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (["--apis", "0"], "must be a number from 1 to 16, got '0'"),
        (["--port", "http"], "must be a port, or 0 for a free one, got 'http'"),
        (["--appendfsync", "never"], "invalid choice: 'never'"),
    ],
)
def test_the_command_refuses_wrong_arguments(arguments: list[str], finding: str) -> None:
    argv = [*COMMAND, *arguments]
    ended = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 2
    assert finding in ended.stderr
