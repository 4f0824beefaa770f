"""Lua scripts as they are shipped with the package. What they do is said in the scripts themselves."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

# Not importlib.resources, which brings zip, bzip2 and LZMA into processes that have little memory.
_FOLDER = Path(__file__).with_name("lua")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and the name Redis keeps it under: the SHA-1 of its source, in hexadecimal."""

    name: str
    source: str
    sha1: str

    @classmethod
    def of(cls, name: str, source: str) -> Script:
        """Return a script with its SHA-1. `name` is for people."""
        return cls(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@functools.cache
def load_script(*names: str) -> Script:
    """Return the script made of `lua/<name>.lua` of this package, one after the other; the last one names it.

    Raises:
        FileNotFoundError: if one of them is not there.
    """
    sources = [_FOLDER.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names]
    return Script.of(names[-1], "\n".join(sources))
