"""Finding the servers' programs, and installing them with a package manager that only pretends."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from payrouter_lab.cluster import binaries
from payrouter_lab.cluster.binaries import MissingBinary

if TYPE_CHECKING:
    from pathlib import Path

APT_GET = """#!/bin/sh
echo "$@" >> {folder}/apt.log
{policy} || echo "policy $?" >> {folder}/apt.log
[ "$4" = install ] || exit 0
for name in {brings}; do printf '#!/bin/sh\\n' > {bin}/$name; chmod +x {bin}/$name; done
echo a line of apt
exit {code}
"""


class Machine:
    """A machine without servers, where a script in place of apt-get brings what it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.policy = folder / "policy-rc.d"
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setattr(binaries, "_FURTHER", ())
        monkeypatch.setattr(binaries, "_POSTGRES", folder / "postgresql")
        self.become(0, monkeypatch)

    def become(self, user: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: user)

    def add(self, name: str, text: str = "#!/bin/sh\n", folder: Path | None = None) -> Path:
        program = (folder or self.bin) / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
        return program

    def add_apt(self, brings: str, code: int = 0) -> None:
        script = APT_GET.format(folder=self.folder, policy=self.policy, brings=brings, bin=self.bin, code=code)
        # Its own programs are not on the PATH of this machine.
        self.add("apt-get", script.replace("\necho", "\nPATH=/bin:/usr/bin\necho", 1))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


ALL = "redis-server postgres initdb psql pg_isready nginx"


def test_the_newest_postgres_is_found_off_the_path(machine: Machine) -> None:
    for version in ("9.6", "15", "17"):
        machine.add("initdb", folder=machine.folder / "postgresql" / version / "bin")
    assert binaries.path_of("initdb") == str(machine.folder / "postgresql/17/bin/initdb")


def test_a_missing_program_is_named_with_its_package(machine: Machine) -> None:
    with pytest.raises(MissingBinary, match=r"not installed: initdb\. .* apt-get install postgresql;"):
        binaries.path_of("initdb")


def test_nothing_is_installed_when_all_is_there(machine: Machine) -> None:
    machine.add_apt("")
    for name in ALL.split():
        machine.add(name)
    assert binaries.ensure(policy=machine.policy) == []
    assert not (machine.folder / "apt.log").exists()


def test_only_what_is_missing_is_installed_and_no_service_is_started(machine: Machine) -> None:
    machine.add("nginx")
    machine.add_apt(ALL)
    assert binaries.ensure(policy=machine.policy) == ["postgresql", "redis-server"]
    update, policy, install, policy_again = (machine.folder / "apt.log").read_text().splitlines()
    assert update.endswith(" update")
    assert install.endswith(" install -y --no-install-recommends postgresql redis-server")
    assert policy == policy_again == "policy 101"
    assert not machine.policy.exists()


def test_what_only_tests_need_is_installed_when_asked_for(machine: Machine) -> None:
    machine.add_apt(f"{ALL} chromium docker-compose")
    for name in ALL.split():
        machine.add(name)
    assert binaries.ensure(policy=machine.policy) == []
    assert binaries.ensure(["chromium"], policy=machine.policy) == ["chromium"]
    assert binaries.path_of("chromium") == str(machine.bin / "chromium")


def test_a_policy_that_was_there_stays(machine: Machine) -> None:
    machine.add_apt(ALL)
    machine.policy.write_text("#!/bin/sh\nexit 7\n")
    machine.policy.chmod(0o755)
    binaries.ensure(policy=machine.policy)
    assert "exit 7" in machine.policy.read_text()
    assert "policy 7" in (machine.folder / "apt.log").read_text()


def test_a_failed_installation_shows_what_apt_said(machine: Machine) -> None:
    machine.add_apt("", code=100)
    with pytest.raises(MissingBinary, match=r"install .* ended with 100:\na line of apt"):
        binaries.ensure(policy=machine.policy)
    assert not machine.policy.exists()


def test_an_installation_that_brings_too_little_is_named(machine: Machine) -> None:
    machine.add_apt("redis-server postgres initdb psql pg_isready")
    with pytest.raises(MissingBinary, match="not installed: nginx"):
        binaries.ensure(policy=machine.policy)


def test_who_is_not_root_is_told_what_to_install(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.add_apt(ALL)
    machine.become(1000, monkeypatch)
    assert binaries.main() == 1
    assert "sudo apt-get install nginx postgresql redis-server" in capsys.readouterr().err
    assert not (machine.folder / "apt.log").exists()


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert binaries.main() == 0
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {"redis-server", "postgres", "nginx"}
    assert b"PostgreSQL" in subprocess.run([lines["postgres"], "--version"], capture_output=True, check=True).stdout
