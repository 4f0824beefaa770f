"""Limits: read from a compose file, applied through control groups, read back, and always taken away again."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from payrouter_lab.bench.processes import Child, ChildError, Manner
from payrouter_lab.cluster.deployed import UnknownDeployment, postgres_options, read_services, redis_config
from payrouter_lab.cluster.limits import Limits, Ration, rations

COMPOSE = """
x-small: &small
  deploy: {resources: {limits: {cpus: "0.25", memory: "48MB"}}}
services:
  redis: {deploy: {resources: {limits: {cpus: 0.1, memory: 1.5g}}}}
  api1: {<<: *small, image: payrouter}
  api2: {<<: *small, image: payrouter}
  free: {image: something}
"""


def compose(folder: Path, text: str = COMPOSE) -> Path:
    file = folder / "docker-compose.yml"
    file.write_text(text)
    return file


def test_limits_are_read_from_a_compose_file(tmp_path: Path) -> None:
    small = Ration(0.25, 48 * 2**20)
    assert rations(read_services(compose(tmp_path))) == {
        "redis": Ration(0.1, 3 * 2**29),
        "api1": small,
        "api2": small,
        "free": Ration(None, None),
    }
    assert str(small) == "0.25 CPU, 48 MB"


@pytest.mark.parametrize(
    ("limits", "finding"),
    [
        ("{cpus: many}", r"services.api.deploy.resources.limits: cpus must be .*'many'"),
        ("{cpus: 0}", "cpus must be a number of at least 0.01, got 0"),
        ("{memory: 48 apples}", "memory must look like 48MB, got '48 apples'"),
    ],
)
def test_a_wrong_limit_is_named(tmp_path: Path, limits: str, finding: str) -> None:
    text = f"services: {{api: {{deploy: {{resources: {{limits: {limits}}}}}}}}}"
    with pytest.raises(UnknownDeployment, match=finding):
        rations(read_services(compose(tmp_path, text)))


def test_the_weight_of_a_service_is_read(tmp_path: Path) -> None:
    services = "services: {api: {cpu_shares: 128, deploy: {resources: {limits: {cpus: 0.5}}}}}"
    [api] = rations(read_services(compose(tmp_path, services))).values()
    assert str(api) == "0.5 CPU, any memory, weight 128"


@pytest.mark.parametrize("shares", ["1", "262145", "half", "2.5", "true"])
def test_a_wrong_weight_is_named(tmp_path: Path, shares: str) -> None:
    services = read_services(compose(tmp_path, f"services: {{api: {{cpu_shares: {shares}}}}}"))
    with pytest.raises(UnknownDeployment, match=r"services.api.cpu_shares must be a whole number from 2 to 262144"):
        rations(services)


@pytest.mark.parametrize("text", ["services: [", "services:", "volumes: {}", ""])
def test_a_file_without_services_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownDeployment, match=r"docker-compose\.yml has no services"):
        read_services(compose(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownDeployment, match="No such file"):
        read_services(tmp_path / "docker-compose.yml")


SERVERS = """
services:
  redis:
    command:
      - redis-server
      - --port 0
      - --save ""
      - --maxmemory 44mb
  postgres: {command: postgres -cfsync=on -c listen_addresses=127.0.0.1 -c shared_buffers=24MB}
"""


def test_the_servers_options_are_read_but_not_where_they_listen(tmp_path: Path) -> None:
    services = read_services(compose(tmp_path, SERVERS))
    assert redis_config(services) == ('save ""', "maxmemory 44mb")
    assert postgres_options(services) == ("fsync=on", "shared_buffers=24MB")
    assert redis_config({}) == postgres_options({"postgres": {}}) == ()


def test_what_is_deployed_is_durable_and_within_the_challenges_limits() -> None:
    services = read_services()
    assert {"appendonly yes", "appendfsync always", "maxmemory-policy noeviction"} <= set(redis_config(services))
    assert {"fsync=on", "synchronous_commit=on", "full_page_writes=on"} <= set(postgres_options(services))
    limits = rations(services).values()
    assert sum(one.cpus or 9 for one in limits) <= 1.5
    assert sum(one.memory_bytes or 2**40 for one in limits) <= 350 * 2**20


# -- a tree that only looks like control groups

VERSION_ONE_FILES = {
    "cpu": {"cpu.stat": "nr_periods 40\nnr_throttled 3\nthrottled_time 1500000000\n"},
    "cpuacct": {"cpuacct.usage": "2500000000\n"},
    "memory": {
        "memory.usage_in_bytes": "3000000\n",
        "memory.max_usage_in_bytes": "4000000\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "memory.stat": "cache 5\ntotal_inactive_file 1000000\n",
        "memory.memsw.limit_in_bytes": "0",
    },
}
VERSION_TWO_FILES = {
    "cpu.stat": "usage_usec 2500000\nnr_periods 40\nnr_throttled 3\nthrottled_usec 1500000\n",
    "memory.current": "3000000\n",
    "memory.peak": "4000000\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\n",
    "memory.stat": "anon 7\ninactive_file 1000000\n",
    "memory.swap.max": "max",
}


def fill(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def used_of_the_tree(limits: Limits) -> tuple[object, ...]:
    used = limits.usage()["api"]
    now = used.last
    return (
        now.cpu_s,
        now.periods,
        now.throttled,
        now.throttled_s,
        now.oom_kills,
        used.peak_bytes,
        used.working_set_bytes,
    )


WHAT_THE_TREES_SAY = (2.5, 40, 3, 1.5, 2, 4_000_000, 2_000_000)


def test_version_one_is_limited_and_read_below_the_groups_we_are_in(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:memory:/ours\n2:cpuacct:/elsewhere\n1:cpu:/\n0::/\n")
    groups = {"cpu": tmp_path / "cpu", "cpuacct": tmp_path / "cpuacct", "memory": tmp_path / "memory" / "ours"}
    limits = Limits({"api": Ration(0.25, 48 * 2**20, 128)}, root=tmp_path, own=own)
    for controller, base in groups.items():
        fill(base / limits.group / "api", VERSION_ONE_FILES[controller])
    limits.open()
    assert limits.notes == []
    cpu, memory = groups["cpu"] / limits.group / "api", groups["memory"] / limits.group / "api"
    assert (cpu / "cpu.cfs_period_us").read_text() == "100000"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "25000"
    assert (cpu / "cpu.shares").read_text() == "128"
    assert (memory / "memory.limit_in_bytes").read_text() == str(48 * 2**20)
    assert (memory / "memory.memsw.limit_in_bytes").read_text() == str(48 * 2**20)
    assert used_of_the_tree(limits) == WHAT_THE_TREES_SAY
    (memory / "memory.usage_in_bytes").write_text("1500000")
    assert used_of_the_tree(limits) == WHAT_THE_TREES_SAY, "the working set is the most of all samples"
    command = " ".join(limits.prefix("api"))
    assert all(f"{base / limits.group / 'api' / 'cgroup.procs'}" in command for base in groups.values())


def test_version_two_is_limited_and_read(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu io memory\n")
    limits = Limits({"api": Ration(0.25, 48 * 2**20, 128)}, root=tmp_path)
    group = tmp_path / limits.group / "api"
    fill(group, VERSION_TWO_FILES)
    limits.open()
    assert limits.notes == []
    assert (tmp_path / "cgroup.subtree_control").read_text() == "cpu io memory\n", "it was on already"
    assert (tmp_path / limits.group / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert (group / "cpu.max").read_text() == "25000 100000"
    assert (group / "cpu.weight").read_text() == "5"
    assert (group / "memory.max").read_text() == str(48 * 2**20)
    assert (group / "memory.swap.max").read_text() == "0"
    assert used_of_the_tree(limits) == WHAT_THE_TREES_SAY
    (group / "memory.peak").unlink()
    (group / "memory.current").write_text("2900000")
    assert limits.usage()["api"].peak_bytes == 4_000_000, "an old kernel: the most of all samples"


def test_a_service_with_a_number_shares_the_limits_of_its_name(tmp_path: Path) -> None:
    limits = Limits({"api": Ration(0.25), "redis": Ration(0.1), "worker1": Ration(0.5)}, root=tmp_path)
    names = ["api", "api1", "api-2", "redis", "worker1", "worker2"]
    assert list(map(limits.name_of, names)) == ["api", "api", "api", "redis", "worker1", None]


def test_a_machine_without_control_groups_gets_a_note_and_no_limits(tmp_path: Path) -> None:
    with Limits({"api": Ration(0.25)}, root=tmp_path) as limits:
        assert not limits.applied
        assert limits.prefix("api") == ()
        assert limits.usage() == {}
    (note,) = limits.notes
    assert "limits are not applied" in note
    assert str(tmp_path) in note


# -- the machine's own


@pytest.fixture
def limits() -> Limits:
    limits = Limits({"busy": Ration(0.2, 64 * 2**20), "idle": Ration(0.5, None)})
    limits.open()
    if not limits.applied:
        pytest.skip(limits.notes[0])
    return limits


def groups_of(limits: Limits) -> list[str]:
    argv = ["find", "/sys/fs/cgroup", "-type", "d", "-name", limits.group]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()


BURN = """
import subprocess, sys, time
spin = "import time; end = time.monotonic() + 1.5\\nwhile time.monotonic() < end: pass"
sys.exit(subprocess.run([sys.executable, "-c", spin]).returncode)
"""


def test_a_process_and_its_children_get_the_cpu_of_their_group(limits: Limits, tmp_path: Path) -> None:
    with limits, limits.sampling(0.1):
        manner = Manner(prefix=limits.prefix("busy"))
        with Child("busy", [sys.executable, "-c", BURN], directory=tmp_path, manner=manner) as child:
            start_s = time.monotonic()
            assert child.process.wait(30) == 0
            took_s = time.monotonic() - start_s
        assert groups_of(limits) != []
    used = limits.usage()
    busy = used["busy"].last
    assert busy.throttled > 5
    assert busy.throttled_s > 0.3
    assert 0.1 < busy.cpu_s < 0.2 * took_s * 1.25 + 0.05
    assert 1 < used["busy"].working_set_bytes / 2**20 < 64
    assert used["idle"].last.cpu_s == 0
    assert limits.notes == []
    assert groups_of(limits) == []


def test_a_process_over_its_memory_is_killed_and_counted(limits: Limits, tmp_path: Path) -> None:
    greedy = "held = [bytearray(2**20) for _ in range(200)]"
    with limits:
        manner = Manner(prefix=limits.prefix("busy"))
        with Child("busy", [sys.executable, "-c", greedy], directory=tmp_path, manner=manner) as child:
            child.process.wait(30)
            with pytest.raises(ChildError, match="code -9"):
                child.check()
    used = limits.usage()["busy"]
    assert used.last.oom_kills >= 1
    assert 60 < used.peak_bytes / 2**20 <= 64


def break_while_asleep(limits: Limits, sleepers: list[subprocess.Popen[bytes]]) -> None:
    with limits:
        sleeper = subprocess.Popen([*limits.prefix("idle"), "sleep", "60"])
        sleepers.append(sleeper)
        while Path(f"/proc/{sleeper.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.001)
        raise RuntimeError("broke")


def test_groups_are_removed_with_what_still_runs_in_them_after_an_error(limits: Limits) -> None:
    assert groups_of(limits) != []
    sleepers: list[subprocess.Popen[bytes]] = []
    with pytest.raises(RuntimeError, match="broke"):
        break_while_asleep(limits, sleepers)
    assert sleepers[0].wait(5) == -9
    assert groups_of(limits) == []


ABANDON = """
import os, signal, sys
from payrouter_lab.cluster.limits import Limits, Ration
limits = Limits({"api": Ration(0.5)})
limits.open()
print(limits.group, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_groups_of_a_killed_owner_are_removed_by_the_next_one(limits: Limits) -> None:
    with limits:
        ended = subprocess.run([sys.executable, "-c", ABANDON], capture_output=True, text=True, check=False)
        abandoned = Limits({})
        abandoned.group = ended.stdout.strip()
        assert groups_of(abandoned) != []
        with Limits({"api": Ration(0.5)}):
            assert groups_of(abandoned) == []
            assert groups_of(limits) != []
