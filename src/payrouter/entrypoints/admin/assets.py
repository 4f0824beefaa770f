"""The page's files, read once: no build step, nothing from anywhere else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. `etag` changes with what is in it."""

    body: bytes
    content_type: bytes
    etag: bytes


def load_assets() -> dict[str, Asset]:
    """Return every file of the page by its name."""
    found = {}
    for file in resources.files(__package__).joinpath("static").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            body = file.read_bytes()
            etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:20].encode()
            found[file.name] = Asset(body, _TYPES[kind], etag)
    return found
