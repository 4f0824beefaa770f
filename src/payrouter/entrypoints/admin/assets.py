"""The page's files, read once: no build step, nothing from anywhere else. Compressed once, for whoever takes that."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_VARIES = (b"Vary", b"Accept-Encoding")


@dataclass(frozen=True, slots=True)
class Form:
    """A file as it is sent: its bytes, the headers that say what they are, and a tag that changes with them."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    etag: bytes


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is and compressed."""

    content_type: bytes
    plain: Form
    packed: Form

    def form(self, accepted: bytes | None) -> Form:
        """Return the form for a request's Accept-Encoding."""
        return self.packed if _takes_gzip(accepted or b"") else self.plain


def _takes_gzip(accepted: bytes) -> bool:
    for coding in accepted.lower().split(b","):
        name, _, quality = coding.replace(b" ", b"").partition(b";q=")
        if name == b"gzip":
            return quality.rstrip(b"0.") != b"" or not quality
    return False


def load_assets() -> dict[str, Asset]:
    """Return every file of the page by its name."""
    found = {}
    for file in resources.files(__package__).joinpath("static").iterdir():
        kind = file.name.rpartition(".")[2]
        if kind in _TYPES:
            body = file.read_bytes()
            digest = hashlib.sha256(body).hexdigest()[:20].encode()
            plain = Form(body, (_VARIES,), b'"%b"' % digest)
            packed = Form(
                gzip.compress(body, mtime=0), ((b"Content-Encoding", b"gzip"), _VARIES), b'"%b-gzip"' % digest
            )
            found[file.name] = Asset(_TYPES[kind], plain, packed)
    return found
