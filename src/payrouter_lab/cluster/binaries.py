"""Redis, PostgreSQL and nginx on this machine: where their programs are, and installing them where that is ours to do.

`python -m payrouter_lab.cluster.binaries` says what it found, and installs what is missing; named behind it are
programs that a cluster does not need, but its tests do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGES = {
    "redis-server": "redis-server",
    "postgres": "postgresql",
    "initdb": "postgresql",
    "psql": "postgresql",
    "pg_isready": "postgresql",
    "nginx": "nginx",
}
"""Program to the Debian package that brings it."""
FURTHER_PACKAGES = {"docker-compose": "docker-compose", "chromium": "chromium", "promtool": "prometheus"}
"""The same for programs that only tests need: of the deployment, of the operator's page, of the alerts."""
# Debian keeps PostgreSQL's programs off the PATH, by version, and an ordinary user's PATH has no sbin.
_POSTGRES = Path("/usr/lib/postgresql")
_FURTHER = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin")
POLICY = Path("/usr/sbin/policy-rc.d")
_INSTALL_WITHIN_S = 900.0


class MissingBinary(Exception):
    """A program the cluster needs is not installed."""


def find(name: str) -> str | None:
    """Return the path of a program, or None when it is not installed."""
    versions = sorted(_POSTGRES.glob("*/bin"), key=_version, reverse=True)
    places = [*map(str, versions), os.environ.get("PATH", ""), *_FURTHER]
    return shutil.which(name, path=os.pathsep.join(places))


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", folder.parent.name)))


def path_of(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingBinary: if it is not installed; the text says how to get it.
    """
    found = find(name)
    if found is None:
        raise MissingBinary(advice([name]))
    return found


def missing(also: Sequence[str] = ()) -> list[str]:
    """Return the programs that are not installed, of all a cluster needs and these; empty when all are there."""
    return [name for name in (*PACKAGES, *also) if find(name) is None]


def advice(names: Sequence[str]) -> str:
    """Return what is missing and how to get it."""
    packages = " ".join(_packages(names))
    return (
        f"not installed: {', '.join(names)}. On Debian and Ubuntu: sudo apt-get install {packages}; "
        "elsewhere install Redis 7, PostgreSQL 15 and nginx, or newer, and put their programs on the PATH"
    )


def _packages(names: Sequence[str]) -> list[str]:
    return sorted({(PACKAGES | FURTHER_PACKAGES)[name] for name in names})


def ensure(also: Sequence[str] = (), *, policy: Path = POLICY) -> list[str]:
    """Install what is missing, where we are root and there is apt-get; return the packages installed.

    `also`: of `FURTHER_PACKAGES`.

    `policy`: where Debian looks whether a service may be started.

    Raises:
        MissingBinary: if something is missing afterwards; the text says what to do.
    """
    names = missing(also)
    if not names:
        return []
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingBinary(advice(names))
    packages = _packages(names)
    with services_held_back(policy):
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *packages)
    if names := missing(also):
        raise MissingBinary(f"{' '.join(packages)} came without what was expected; {advice(names)}")
    return packages


@contextmanager
def services_held_back(policy: Path) -> Iterator[None]:
    """Keep packages from starting the services they bring: a cluster here starts servers of its own.

    Asked by Debian's invoke-rc.d, `policy-rc.d` forbids it by ending with 101. One that is there already is left alone.
    """
    try:
        with policy.open("x") as file:
            file.write("#!/bin/sh\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink()


def _apt(*words: str) -> None:
    argv = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *words]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_INSTALL_WITHIN_S,
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-15:])
        raise MissingBinary(f"{' '.join(argv)} ended with {done.returncode}:\n{said}")


def main(also: Sequence[str] = ()) -> int:
    """Say what is there, after installing what was not, and return the exit code."""
    if unknown := [name for name in also if name not in FURTHER_PACKAGES]:
        sys.stderr.write(f"do not know {', '.join(unknown)}, only {', '.join(FURTHER_PACKAGES)}\n")
        return 2
    try:
        if names := missing(also):
            sys.stdout.write(f"not installed: {', '.join(names)}; installing the packages, without starting services\n")
            sys.stdout.flush()
            sys.stdout.write(f"installed {' '.join(ensure(also))}\n")
        shown = ("redis-server", "postgres", "nginx", *also)
        sys.stdout.write("".join(f"{name}: {path_of(name)}\n" for name in shown))
    except MissingBinary as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
