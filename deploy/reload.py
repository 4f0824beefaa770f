"""Runs a command and starts it anew whenever a source file below a folder changes. For development only.

    python reload.py FOLDER COMMAND [ARGUMENT...]

It looks twice a second instead of being told: the notifications of a file system do not reach into containers from
every host, and looking needs nothing installed. A command that ends by itself is started again at the next change.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

LOOK_EVERY_S = 0.5
STOP_WITHIN_S = 10.0
SUFFIXES = {".py", ".lua", ".sql"}


def state_of(folder: Path) -> dict[str, int]:
    """Return the instant of each source file's last change, in nanoseconds, by path."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix in SUFFIXES:
            try:
                found[str(path)] = path.stat().st_mtime_ns
            except FileNotFoundError:  # gone between being listed and being looked at
                continue
    return found


def stop(child: subprocess.Popen[bytes]) -> None:
    """Let a command end what it is doing, and kill it if it takes too long."""
    child.terminate()
    try:
        child.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def main(folder: Path, command: list[str]) -> int:
    """Run until SIGTERM or SIGINT, and return the exit code."""
    # As an exception it ends the loop wherever it is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    child: subprocess.Popen[bytes] | None = None
    try:
        while True:
            seen = state_of(folder)
            child = subprocess.Popen(command)  # noqa: S603 - the developer's own command
            while (now := state_of(folder)) == seen:
                time.sleep(LOOK_EVERY_S)
            changed = sorted(path for path in now.keys() | seen.keys() if now.get(path) != seen.get(path))
            sys.stderr.write(f"reload: {changed[0]} changed, starting again\n")
            stop(child)
    except KeyboardInterrupt:
        if child is not None:
            stop(child)
        return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
