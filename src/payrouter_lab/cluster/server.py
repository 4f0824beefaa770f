"""One server as a process of ours: started, killed, paused, and started again on the same addresses and data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from payrouter_lab.bench.processes import Child, ChildError, Manner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_START_WITHIN_S = 30.0
_LOOK_AGAIN_S = 0.01


class Server:
    """One process that serves others. As a context manager it is started on entering and ended on leaving."""

    name = "server"

    def __init__(self, directory: Path, *, manner: Manner | None = None) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.manner = manner or Manner()
        self._child: Child | None = None
        self._log_before = 0

    @property
    def child(self) -> Child:
        """The process, or the last one there was."""
        if self._child is None:
            raise ChildError(f"{self.name} was never started")
        return self._child

    @property
    def alive(self) -> bool:
        """True while the process runs, paused or not."""
        return self._child is not None and self._child.alive

    @property
    def place(self) -> str:
        """Where it is reached, for people; empty if nowhere."""
        return ""

    @property
    def log(self) -> Path:
        """What it wrote, over all its lives."""
        return self.directory / f"{self.name}.log"

    @property
    def said(self) -> str:
        """What it wrote since it was last begun."""
        return self.log.read_bytes()[self._log_before :].decode(errors="replace")

    def start(self, within_s: float = _START_WITHIN_S) -> None:
        """Start the server and return once it answers.

        Raises:
            ChildError: with the end of its log, if it ends or does not answer in time.
        """
        self.begin()
        self.wait_until_ready(within_s)

    def begin(self) -> None:
        """Start the server; it answers a moment later."""
        if self.alive:
            raise ChildError(f"{self.name} is running already, as process {self.child.process.pid}")
        self._prepare()
        self._log_before = self.log.stat().st_size if self.log.exists() else 0
        self._child = Child(
            self.name, self._command(), directory=self.directory, env=self._environment(), manner=self.manner
        )

    def wait_until_ready(self, within_s: float = _START_WITHIN_S) -> None:
        """Return once the server answers; it is ended if it does not.

        Raises:
            ChildError: with the end of its log, if it ends or does not answer in time.
        """
        try:
            self._wait(within_s)
        except BaseException:
            self.kill()
            raise

    def ask_to_stop(self) -> None:
        """Ask the server to end, without waiting for it; nothing if it has already."""
        if self.alive:
            self.child.ask_to_stop()

    def stop(self) -> None:
        """Ask the server to end, and wait until it has; nothing if it has already."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End the server at once, as a power cut would."""
        self.child.kill()

    def pause(self) -> None:
        """Stop the server where it stands: it holds its connections and answers nothing."""
        self.child.pause()

    def resume(self) -> None:
        """Let a paused server go on."""
        self.child.resume()

    def restart(self) -> None:
        """Stop the server and start it again, on the same addresses and data."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        """Write what the server reads when it starts."""

    def _wait(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while not self._answers():
            self.child.check()
            if time.monotonic() > deadline_s:
                raise ChildError(f"{self.name} did not answer within {within_s:g} s:\n{self.child.tail()}")
            time.sleep(_LOOK_AGAIN_S)

    def _environment(self) -> Mapping[str, str]:
        return {}

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError
