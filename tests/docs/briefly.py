"""Runs `payrouter` with the words given; what would go on for ever is stopped in good order once it runs.

A server gets free ports and a data file of its own, so that it is in nobody's way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading

COMMAND = [sys.executable, "-m", "payrouter"]
SERVERS = {"serve", "api", "dispatcher", "admin"}
RUNNING = ("is listening on", "is routing to", "admin is on")
WITHIN_S = 15.0
INTERRUPTED = 130


def main(words: list[str]) -> int:
    """Return the command's exit code; 0 for one that had to be stopped and did so as it should."""
    server = words[:1] != [] and words[0] in SERVERS
    if not server and words[:1] != ["top"] and "--follow" not in words:
        return subprocess.run([*COMMAND, *words], check=False).returncode
    environment = dict(os.environ)
    if server:
        folder = tempfile.mkdtemp(dir=os.getcwd())
        environment |= {"PAYROUTER_DATA": f"{folder}/payrouter.db", "PAYROUTER_ADMIN_BIND": "127.0.0.1:0"}
        environment.setdefault("PAYROUTER_BIND", "127.0.0.1:0")
    process = subprocess.Popen([*COMMAND, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    impatient = threading.Timer(WITHIN_S, process.kill)
    impatient.start()
    assert process.stdout is not None
    for line in process.stdout:
        sys.stderr.write(line.decode())
        if not server or any(text in line.decode() for text in RUNNING):
            process.send_signal(signal.SIGTERM if server else signal.SIGINT)
            break
    sys.stderr.write(process.stdout.read().decode())
    code = process.wait()
    impatient.cancel()
    return 0 if code == INTERRUPTED and not server else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
