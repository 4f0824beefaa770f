"""Starting, metering and ending the processes of a benchmark. Linux only: figures come from /proc.

Each child leads a session of its own, so its whole tree is found and ended by its id, and it dies with the
benchmark (`setpriv --pdeathsig`, where there is one).
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROXY_NAMES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
STOP_WITHIN_S = 15.0


class ChildError(Exception):
    """A process that did not start, or ended when it should not have."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its descendants have used so far: CPU seconds, and the sum of their peak memory."""

    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Manner:
    """How a process is run.

    `user`: whom it runs as; None for our own. Only root can choose.
    `prefix`: words before its command, still run as our own user: a program that does something and becomes the rest.
    `stop_signal`: what asks it to end. `death_signal`: what it gets when we die; it must take its own children along.
    To the kernel "we" is the thread that starts it (PR_SET_PDEATHSIG in prctl(2)): that thread must live as long.
    """

    user: str | None = None
    prefix: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in this manner.

        Raises:
            ChildError: if another user is asked for and `setpriv` is missing.
        """
        guard = shutil.which("setpriv")
        if guard is None:
            if self.user is not None:
                raise ChildError(
                    f"running {argv[0]} as {self.user} needs setpriv, which is missing: install util-linux"
                )
            return [*self.prefix, *argv]
        group = grp.getgrgid(pwd.getpwnam(self.user).pw_gid).gr_name if self.user else ""
        change = ["--reuid", self.user, "--regid", group, "--clear-groups"] if self.user else []
        # One setpriv for both: it asks for the death signal last, and a change of user would clear it.
        return [*self.prefix, guard, *change, "--pdeathsig", self.death_signal.name.removeprefix("SIG"), "--", *argv]


class Child:
    """A started process, with everything it starts itself. As a context manager it is ended on leaving."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        directory: Path,
        env: Mapping[str, str] | None = None,
        manner: Manner | None = None,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.manner = manner or Manner()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.manner.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env=clean_environment() | dict(env or {}),
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self.process.poll() is None

    def check(self) -> None:
        """Raise `ChildError`, with the end of its log, if the process has ended."""
        if not self.alive:
            raise ChildError(f"{self.name} ended with code {self.process.returncode}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """Return the last lines the process wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ask the process to end; kill what is left of its tree."""
        tree = process_tree(self.process.pid)
        if self.alive:
            self.ask_to_stop()
            try:
                self.process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.kill()
        for pid in tree & process_tree(self.process.pid):
            _signal(pid, signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """Ask the process to end, without waiting for it."""
        # A paused process takes no signal but SIGKILL before it runs again.
        self.resume()
        self.process.send_signal(self.manner.stop_signal)

    def kill(self) -> None:
        """End the process and its tree at once, as a power cut would."""
        for pid in process_tree(self.process.pid) | {self.process.pid}:
            _signal(pid, signal.SIGKILL)
        self.process.wait()
        # A child that was born while we looked is still of the session.
        while born := {pid for pid in process_tree(self.process.pid) if not is_zombie(pid)}:
            for pid in born:
                _signal(pid, signal.SIGKILL)
            time.sleep(0.001)

    def pause(self) -> None:
        """Stop the tree where it stands, until `resume`."""
        for pid in process_tree(self.process.pid):
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused tree go on."""
        for pid in process_tree(self.process.pid):
            _signal(pid, signal.SIGCONT)

    def usage(self) -> Usage:
        """Return what the tree has used so far."""
        pids = process_tree(self.process.pid)
        cpu_s = sum(stat.cpu_s for pid in pids if (stat := _stat(pid)) is not None)
        return Usage(cpu_s, sum(map(_peak_mb, pids)))


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def clean_environment() -> dict[str, str]:
    """Return our environment without proxies: everything here talks to this machine only."""
    return {name: value for name, value in os.environ.items() if name.lower() not in _PROXY_NAMES}


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    parent: int
    session: int
    cpu_s: float


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in brackets, may hold anything; fields after it are numbered from 3 (state) in proc(5).
    fields = text.rpartition(")")[2].split()
    ticks = sum(map(int, fields[11:15]))  # utime, stime, and both of children already waited for
    return _Stat(fields[0], int(fields[1]), int(fields[3]), ticks / _TICKS_PER_S)


def process_tree(root: int) -> set[int]:
    """Return the ids of the living processes of `root`'s session and of its descendants, itself included."""
    stats = {
        int(entry): stat for entry in os.listdir("/proc") if entry.isdigit() and (stat := _stat(int(entry))) is not None
    }
    tree = {pid for pid, stat in stats.items() if root in {pid, stat.session}}
    while more := {pid for pid, stat in stats.items() if stat.parent in tree} - tree:
        tree |= more
    return tree


def is_zombie(pid: int) -> bool:
    """Return whether a process is over, whoever has still to be told so."""
    stat = _stat(pid)
    return stat is None or stat.state == "Z"


def _peak_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """Return whether 127.0.0.1 accepts connections on `port`."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(child: Child, port: int, within_s: float = 30.0) -> None:
    """Return once `port` accepts connections.

    Raises:
        ChildError: if the child ends, or time runs out.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        child.check()
        if listening(port):
            return
        time.sleep(0.02)
    raise ChildError(f"{child.name} did not listen on port {port} within {within_s:g} s:\n{child.tail()}")
