"""The image, as far as it can be tested without building it: its Dockerfile, its health check, the live reload."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from integration.api_stand_ins import api_stand_ins
from payrouter.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]


def given(instruction: str) -> list[str]:
    """Return what follows an instruction, wherever it stands; in order."""
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def locked(file: str) -> set[str]:
    """Return the packages that a file of locked requirements pins, each with a hash."""
    text = (ROOT / file).read_text()
    return {name_of(found[1]) for found in re.finditer(r"^(\S+)==\S+ \\\n +--hash=sha256:", text, re.MULTILINE)}


# -- the Dockerfile


def test_two_stages_from_one_official_slim_interpreter_of_a_fixed_version() -> None:
    images = [rest.split()[0] for rest in given("FROM")]
    assert len(images) == 2
    assert set(images) == {"python:3.11-slim-bookworm"}


def test_it_runs_as_nobody_in_particular_and_nginx_as_the_same() -> None:
    compose = (DEPLOY / "docker-compose.yml").read_text()
    [user] = given("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert f'user: "{user}"' in compose
    assert f"--uid {user.partition(':')[0]} " in DOCKERFILE
    # Nothing is written into the image once it runs as that user.
    assert [name for name, _ in INSTRUCTIONS[INSTRUCTIONS.index(["USER", user]) :] if name in {"RUN", "COPY"}] == []


def test_it_starts_payrouter() -> None:
    assert given("ENTRYPOINT") == ['["payrouter"]']
    assert "payrouter" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_what_it_copies_is_there_and_not_kept_out() -> None:
    sources = [word for rest in given("COPY") if "--from" not in rest for word in rest.split()[:-1]]
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert set(sources) == let_in
    assert all((ROOT / source).exists() for source in sources)
    assert not any(fnmatch("src/payrouter/settings.py", line) for line in lines[2:] if not line.startswith("!"))


def test_everything_installed_is_pinned_by_its_hash() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name_of(one) for one in project["dependencies"]} <= locked("requirements.lock")
    installs = [step for run in given("RUN") for step in run.split("&&") if " install " in step and "pip" in step]
    assert len(installs) == 3
    assert all("--require-hashes" in step or "--no-deps dist/" in step for step in installs)


def test_the_tools_that_build_the_wheel_are_all_taken_from_the_lock() -> None:
    [chosen] = re.findall(r"/\^\(([a-z|-]+)\)==/", DOCKERFILE)
    tools = set(chosen.split("|"))
    needed: set[str] = set()
    unseen = {"hatchling"}
    while unseen:
        needed |= unseen
        found = [Requirement(one) for name in unseen for one in requires(name) or ()]
        unseen = {name_of(one.name) for one in found if not one.marker or one.marker.evaluate({"extra": ""})} - needed
    assert tools == needed
    assert tools <= locked("requirements-dev.lock")


# -- the health check


def healthcheck(bind: str, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-IS", str(DEPLOY / "healthcheck.py"), *settings]
    environment = os.environ | {(settings or (f"{PREFIX}BIND",))[0]: bind}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=False)


def test_the_health_check_asks_where_the_api_listens(tmp_path: Path) -> None:
    with api_stand_ins(tmp_path) as (api, _):
        assert healthcheck(f"unix:{api.path}").returncode == 1  # 202 is not how health is told
        api.manner = "well"
        assert healthcheck(f"unix:{api.path}").returncode == 0
        assert healthcheck(f"0.0.0.0:{api.port}").returncode == 0
        assert healthcheck(f"127.0.0.1:{api.port}", f"{PREFIX}ADMIN_BIND").returncode == 0
        assert api.asked == ["GET /health"] * 4
        api.manner = "refuse"
        done = healthcheck(f"unix:{api.path}")
        assert (done.returncode, "503" in done.stderr) == (1, True)
    done = healthcheck(f"unix:{api.path}")
    assert (done.returncode, "nothing answers" in done.stderr) == (1, True)


# -- live reload

# Says which life it is, and how it ended; a file `broken` keeps it from living.
PROGRAM = """
import pathlib, signal, sys, time
log = pathlib.Path("log").open("a", buffering=1)
if pathlib.Path("broken").exists():
    log.write("broken\\n")
    sys.exit(3)
def end(*_):
    log.write("ended\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
log.write("begun\\n")
time.sleep(60)
"""


@pytest.fixture
def reloading(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str], None]]]:
    (tmp_path / "src").mkdir()
    command = [sys.executable, str(DEPLOY / "reload.py"), "src", sys.executable, "-c", PROGRAM]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)

    def wait_for(lives: str) -> None:
        deadline_s = time.monotonic() + 10
        while True:
            log = tmp_path / "log"
            found = log.read_text().split() if log.exists() else []
            if found == lives.split():
                return
            assert time.monotonic() < deadline_s, f"waited for {lives}, got {found}"
            time.sleep(0.02)

    try:
        yield process, wait_for
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_changed_source_starts_the_command_again(
    reloading: tuple[subprocess.Popen[bytes], Callable[[str], None]], tmp_path: Path
) -> None:
    process, wait_for = reloading
    wait_for("begun")
    (tmp_path / "src" / "notes.txt").write_text("no source")
    (tmp_path / "src" / "new.py").write_text("x = 1")
    wait_for("begun ended begun")
    (tmp_path / "broken").touch()
    (tmp_path / "src" / "new.py").write_text("x = ")
    wait_for("begun ended begun ended broken")
    (tmp_path / "broken").unlink()
    (tmp_path / "src" / "new.py").unlink()
    wait_for("begun ended begun ended broken begun")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    wait_for("begun ended begun ended broken begun ended")
