"""Where the programs of Redis, PostgreSQL and nginx are on this machine."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

# Debian keeps PostgreSQL's programs off the PATH, by version, and an ordinary user's PATH has no sbin.
_FURTHER = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin")
_POSTGRES = "/usr/lib/postgresql"


class MissingBinary(Exception):
    """A program the cluster needs is not installed."""


def find(name: str) -> str | None:
    """Return the path of a program, or None when it is not installed."""
    versions = sorted(Path(_POSTGRES).glob("*/bin"), key=_version, reverse=True)
    places = [*map(str, versions), os.environ.get("PATH", ""), *_FURTHER]
    return shutil.which(name, path=os.pathsep.join(places))


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", folder.parent.name)))


def path_of(name: str) -> str:
    """Return the path of a program.

    Raises:
        MissingBinary: if it is not installed.
    """
    found = find(name)
    if found is None:
        raise MissingBinary(f"{name} is not installed")
    return found
