"""Runs the shell samples of the pages as a reader would, against real servers on ports of their own.

A sample's `curl` is the real one, and tells us the status it got. A `payrouter` that would serve for ever is stopped
once it serves, and `make` only has to name a target, which another test looks at.
"""

from __future__ import annotations

import hmac
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from docs.pages import ROOT

WITHIN_S = 30.0
DANGEROUS = re.compile(
    r"(?<![\w.-])(pkill|killall|kill|sudo|systemctl|docker|docker-compose|apt|apt-get|pip|pip3|pipx|rm|useradd|usermod)"
    r"(?![\w./=-])|\bcurl [^\n]*https?://(?!localhost|127\.0\.0\.1)"
)
"""What no sample may do to the machine that runs the tests, or from it: a block with one says that it is not run."""

_CURL = """#!/bin/sh
# The real one, within bounds; each status goes to a file, in order. A stream is read for a moment.
for word; do case "$word" in -N|--no-buffer) exec timeout --preserve-status 1 {curl} "$@" || exit 0;; esac; done
exec {curl} --no-progress-meter --max-time 20 -w '%{{stderr}}@@%{{http_code}}@@\\n' "$@"
"""
_PAYROUTER = """#!/bin/sh
exec {python} {briefly} "$@"
"""
_BRIEFLY = Path(__file__).with_name("briefly.py")
_STATUS = re.compile(r"@@(\d{3})@@")
_COMMAND = re.compile(r"^\s*(?:# (?P<expected>\d{3})\b[^\n]*|(?P<curl>[^#\n]*\bcurl\b))", re.MULTILINE)


@dataclass(frozen=True)
class World:
    """Where what the pages show on well-known addresses really runs, and the settings that go with it."""

    folder: Path
    settings: dict[str, str]
    router: str
    pages: str
    processors: dict[str, str]
    redis: str
    postgres: str

    def placed(self, text: str) -> str:
        """Return a sample with the addresses that are used here."""
        here = {
            "9999": self.router,
            "8080": self.pages,
            "8001": self.processors["default"],
            "8002": self.processors["fallback"],
        }
        text = re.sub(
            r"\b(?:localhost|127\.0\.0\.1):(9999|8080|8001|8002)\b", lambda found: _host(here[found[1]]), text
        )
        for number, name in (("5", "default"), ("6", "fallback")):
            text = text.replace(f"10.0.0.{number}:8080", _host(self.processors[name]))
        text = re.sub(r"redis://\S*10\.0\.0\.7\S*", self.redis, text)
        text = re.sub(r"postgresql://\S*10\.0\.0\.8/\w+", self.postgres, text)
        return re.sub(r"0\.0\.0\.0:\d+", "127.0.0.1:0", text)

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a sample to its end; it ends at the first command that fails.

        Raises:
            ValueError: for one that could harm the machine; nothing of it has run.
        """
        if DANGEROUS.search(text):
            raise ValueError(f"not run, as it could harm this machine: {text}")
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.placed(text)],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        return kept | self.settings | {"PATH": path, "PYTHONPATH": str(ROOT / "src")}


def _host(url: str) -> str:
    return url.removeprefix("http://")


def prepare(folder: Path) -> None:
    """Make a folder in which samples find what the top of a checkout has, and the commands they use."""
    commands = folder / "bin"
    commands.mkdir()
    curl = shutil.which("curl")
    assert curl, "curl is not installed; Debian: apt-get install curl"
    scripts = {
        "curl": _CURL.format(curl=curl),
        "payrouter": _PAYROUTER.format(python=sys.executable, briefly=_BRIEFLY),
        "make": "#!/bin/sh\nexit 0\n",
        "python3": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    for name, script in scripts.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    for name in ("deploy", "docs", "bench"):
        (folder / name).symlink_to(ROOT / name)


def webhook_at_hand(folder: Path) -> dict[str, str]:
    """Put a signed webhook's body into a folder, and return the rest of it as the samples name it."""
    key = b"what both sides know, and nobody else"
    at_hand = {"id": "settled_4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3", "timestamp": "1763845200"}
    body = b'{"type": "payment.settled"}'
    (folder / "body").write_bytes(body)
    signed = f"{at_hand['id']}.{at_hand['timestamp']}.".encode() + body
    signature = b64encode(hmac.digest(key, signed, "sha256")).decode()
    return at_hand | {"secret": f"whsec_{b64encode(key).decode()}", "signature": f"v1,{signature}"}


def statuses(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Return what the calls of a sample were answered, in order."""
    return [int(text) for text in _STATUS.findall(done.stderr)]


def expected(text: str) -> list[int | None]:
    """Return for each `curl` of a sample the status that the comment before it names, None for any success.

    Such a comment begins with the status: `# 409: the same id with another amount`.
    """
    found: list[int | None] = []
    named: int | None = None
    for command in _COMMAND.finditer(re.sub(r"\\\n", " ", text)):
        if command["expected"]:
            named = int(command["expected"])
        elif not re.search(
            r"\s(-N|--no-buffer)\b", command.string[command.start() : command.string.find("\n", command.start())]
        ):
            found.append(named)
            named = None
    return found


def fits(wanted: int | None, got: int) -> bool:
    """Return whether a call was answered as the page says."""
    return got == wanted if wanted is not None else 200 <= got < 400
