"""The units of `deploy/systemd`: systemd's own tools read them, and what they start exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from payrouter.entrypoints.cli.commands import app
from payrouter.settings import Settings, load_settings

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
OURS = ("payrouter.service", "payrouter-api@.service", "payrouter-dispatcher.service", "payrouter-admin.service")
BALANCER = "payrouter-nginx.service"
NAMES = (*OURS, BALANCER)
PROGRAM = "/opt/payrouter/bin/payrouter"
# What nobody may leave out, or change in one unit alone.
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "CapabilityBoundingSet": "",
    "SystemCallFilter": "@system-service",
}


@cache
def read(name: str) -> dict[str, list[str]]:
    """Return the values of each directive of a unit, by name; all sections together, as no name is in two."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (UNITS / name).read_text().splitlines():
        if line and line[0] not in "#;[":
            key, equals, value = line.partition("=")
            assert equals, line
            found[key].append(value)
    return dict(found)


def seconds(text: str) -> float:
    assert re.fullmatch(r"\d+s", text)
    return float(text[:-1])


def test_there_is_a_unit_for_every_process_that_runs_for_long() -> None:
    assert {path.name for path in UNITS.glob("*.service")} == set(NAMES)
    started = {words.split(f"{PROGRAM} ")[1] for name in OURS for words in read(name)["ExecStart"]}
    assert started == {"serve", "api", "dispatcher", "admin"}


@pytest.mark.parametrize("name", OURS)
def test_it_starts_commands_that_there_are(name: str) -> None:
    unit = read(name)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for line in unit["ExecStart"] + unit.get("ExecStartPre", []):
        program, command = line.split(" ")[-2:]
        assert program == PROGRAM
        assert command in commands


@pytest.mark.parametrize("name", NAMES)
def test_it_is_started_again_and_has_time_to_stop(name: str) -> None:
    unit = read(name)
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == (["always"], ["0"])
    assert seconds(unit["TimeoutStopSec"][0]) >= 2 * Settings().stop_timeout_s
    assert int(unit["MemoryMax"][0].removesuffix("M")) <= 256


@pytest.mark.parametrize("name", OURS)
def test_ours_take_their_settings_from_one_file_and_wrong_ones_are_told_once(name: str) -> None:
    unit = read(name)
    assert unit["EnvironmentFile"] == ["/etc/payrouter/payrouter.env"]
    # Wrong settings: exit code 2.
    assert unit["RestartPreventExitStatus"] == ["2"]


@pytest.mark.parametrize("name", NAMES)
def test_it_may_touch_nothing_but_its_own_directory(name: str) -> None:
    unit = read(name)
    assert {key: unit[key] for key in HARDENED} == {key: [value] for key, value in HARDENED.items()}
    assert unit["User"] == unit["Group"] == unit["StateDirectory"] == ["payrouter"]
    assert unit["WorkingDirectory"] == ["/var/lib/payrouter"]
    # The dispatcher chooses SCHED_BATCH for itself, which is nothing real-time.
    assert unit["RestrictRealtime"] == ["yes"]


def test_all_are_hardened_alike() -> None:
    texts = {(UNITS / name).read_text().partition("# What a service of ours may touch")[2] for name in NAMES}
    assert len(texts) == 1
    assert texts != {""}


def test_the_data_file_lies_where_the_service_may_write(tmp_path: Path) -> None:
    [given] = read("payrouter.service")["Environment"]
    name, _, path = given.partition("=")
    assert load_settings({name: path}, tmp_path).data == Path(path)
    assert Path(path).parent == Path(read("payrouter.service")["WorkingDirectory"][0])


def test_every_api_has_a_socket_of_its_own_that_nginx_looks_for() -> None:
    unit = read("payrouter-api@.service")
    bind = re.search(r"PAYROUTER_BIND=(\S+)", unit["ExecStart"][0])
    assert bind
    assert unit["RuntimeDirectoryPreserve"] == ["yes"]
    upstreams = re.findall(r"^\s*server (unix:\S+)", (UNITS.parent / "nginx.conf").read_text(), re.MULTILINE)
    assert upstreams == [bind[1].replace("%i", number) for number in "12"]
    # Who may write to a socket may connect: the same user, and its group.
    assert read(BALANCER)["User"] == unit["User"]
    assert 0o777 & ~int(unit["UMask"][0], 8) & 0o070 == 0o070


def test_nginx_starts_with_the_deployed_configuration_and_writes_only_where_it_may() -> None:
    unit = read(BALANCER)
    assert unit["ExecStart"] == ['/usr/sbin/nginx -e stderr -c /etc/payrouter/nginx.conf -g "daemon off;"']
    written = re.findall(r"^\s*(?:pid|\w+_temp_path) (\S+);", (UNITS.parent / "nginx.conf").read_text(), re.MULTILINE)
    assert len(written) == 6
    assert all(path.startswith("/tmp/") for path in written)
    assert unit["PrivateTmp"] == ["yes"]


def test_the_user_is_made_by_sysusers() -> None:
    lines = [line for line in (UNITS / "payrouter.sysusers.conf").read_text().splitlines() if line[0] != "#"]
    assert [line.split()[:2] for line in lines] == [["u", "payrouter"]]


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_reads_it_without_a_complaint(name: str, tmp_path: Path) -> None:
    # The programs may not be installed here: anything that can be executed stands for it.
    text = (UNITS / name).read_text().replace(PROGRAM, "/bin/true").replace("/usr/sbin/nginx", "/bin/true")
    (tmp_path / name).write_text(text)
    done = analyze("verify", "--man=no", str(tmp_path / name))
    ours = [line for line in done.stderr.splitlines() if "payrouter" in line]
    assert (done.returncode, ours) == (0, [])


def test_systemd_would_complain_about_a_wrong_one(tmp_path: Path) -> None:
    text = (UNITS / NAMES[0]).read_text().replace("ProtectSystem=strict", "ProtectSystm=strict")
    (tmp_path / NAMES[0]).write_text(text.replace(PROGRAM, "/bin/true"))
    assert "ProtectSystm" in analyze("verify", "--man=no", str(tmp_path / NAMES[0])).stderr


@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_little_exposed(name: str) -> None:
    done = analyze("security", "--offline=true", str(UNITS / name))
    found = re.search(r"Overall exposure level for \S+ (\d+\.\d)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= 2.0
