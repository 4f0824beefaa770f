"""The command line run as its users run it: processes on free ports, ended by whoever started them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = [sys.executable, "-W", "error", "-m", "payrouter"]
TOKEN = {"X-Rinha-Token": "123"}
WITHIN_S = 15.0


def clean_environment(**settings: str) -> dict[str, str]:
    """Return our environment without settings and proxies of whoever runs the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PAYROUTER_")
        and not name.lower().endswith("_proxy")
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    # Compiled once for all the processes to come, whatever the machine's habits are.
    compiled = str(Path(tempfile.gettempdir()) / "payrouter-test-pycache")
    ours = {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPYCACHEPREFIX": compiled, "PAYROUTER_ADMIN_BIND": "127.0.0.1:0"}
    ours["PAYROUTER_LOG_FORMAT"] = "text"
    return kept | ours | settings


def processors_json(**urls: str) -> str:
    fees = {"default": "0.05", "fallback": "0.15"}
    return json.dumps([{"name": name, "url": url, "fee": fees.get(name, "0.5")} for name, url in urls.items()])


def payrouter(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return run([*COMMAND, *arguments], folder, **settings)


def run(argv: list[str], folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a process to its end."""
    return subprocess.run(
        argv,
        cwd=folder,
        env=clean_environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


class Started:
    """A process in the background. What it writes goes to files, so that nobody ever waits for a pipe."""

    def __init__(self, argv: list[str], folder: Path, settings: dict[str, str]) -> None:
        self._logs = Path(tempfile.mkdtemp(prefix="payrouter-test-"))
        with self._log("out").open("wb") as out, self._log("err").open("wb") as err:
            self._process = subprocess.Popen(
                argv,
                cwd=folder,
                env=clean_environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.pid = self._process.pid

    def _log(self, name: str) -> Path:
        return self._logs / name

    @property
    def out(self) -> str:
        return self._log("out").read_text()

    @property
    def err(self) -> str:
        return self._log("err").read_text()

    def line(self, marker: str) -> str:
        """Return the first line with `marker`, on either stream, once there is one."""

        def found() -> list[str]:
            lines = (self.out + self.err).splitlines(keepends=True)
            return [line for line in lines if marker in line and line.endswith("\n")]

        wait_for(lambda: bool(found()) or self._process.poll() is not None)
        assert found(), f"it ended: {self.out}{self.err}"
        return found()[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(number)
        return self._process.wait(WITHIN_S)

    def end(self) -> None:
        """Make sure that it is gone, and its logs."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._logs)


@contextmanager
def started(argv: list[str], folder: Path, **settings: str) -> Iterator[Started]:
    """Run a process in the background; it is ended on leaving."""
    process = Started(argv, folder, settings)
    try:
        yield process
    finally:
        process.end()


@dataclass(frozen=True)
class Service:
    """Something that answers HTTP at `url`."""

    url: str
    process: Started

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return call(self.url, method, path, body, **headers)

    def faults(self, **changes: Any) -> None:
        assert self.call("PUT", "/admin/configurations/faults", changes, **TOKEN)[0] == 200

    def pay(self, correlation_id: str, amount: float = 19.90, **more: str) -> int:
        return self.call("POST", "/payments", {"correlationId": correlation_id, "amount": amount, **more})[0]

    def state(self, correlation_id: str) -> str:
        status, payment = self.call("GET", f"/payments/{correlation_id}")
        return payment["state"] if status == 200 else f"answered {status}"


def call(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
    finally:
        connection.close()


@contextmanager
def simulator(folder: Path, name: str = "default", *arguments: str) -> Iterator[Service]:
    """Run `payrouter simulate-processor` on a free port."""
    argv = [*COMMAND, "simulate-processor", "--port", "0", "--name", name, *arguments]
    with started(argv, folder) as process:
        yield Service(process.line("listens on").split()[-1], process)


@contextmanager
def router(folder: Path, **settings: str) -> Iterator[Service]:
    """Run `payrouter serve` on a free port."""
    with started([*COMMAND, "serve"], folder, PAYROUTER_BIND="127.0.0.1:0", **settings) as process:
        line = process.line("is listening on")
        yield Service(f"http://{line.split('listening on ')[1].split(',')[0]}", process)


def new_id() -> str:
    return str(uuid.uuid4())


def wait_for(condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Return once something holds that other processes bring about."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.05)


def refuses(url: str) -> bool:
    """Return whether nothing listens at a url any more."""
    try:
        call(url, "GET", "/")
    except ConnectionError:
        return True
    return False


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
