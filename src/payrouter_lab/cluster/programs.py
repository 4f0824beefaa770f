"""Our own processes in a local cluster: APIs, dispatchers, simulated processors."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from payrouter_lab.bench.processes import Manner, listening
from payrouter_lab.cluster.server import Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TOKEN = "123"
_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Program(Server):
    """A Python process of ours; `arguments` follow `python -m`."""

    def __init__(
        self, name: str, directory: Path, arguments: Sequence[str], settings: Mapping[str, str], manner: Manner
    ) -> None:
        super().__init__(directory, manner=manner)
        self.name = name
        self.arguments = tuple(arguments)
        self.settings = dict(settings)

    def _command(self) -> list[str]:
        return [sys.executable, "-m", *self.arguments]

    def _environment(self) -> Mapping[str, str]:
        # Lines for whoever reads along or asks what happened, unless they chose otherwise.
        return {"PAYROUTER_LOG_FORMAT": os.environ.get("PAYROUTER_LOG_FORMAT", "text")} | self.settings


class Api(Program):
    """A `payrouter api` on the unix socket `path`."""

    def __init__(self, name: str, path: Path, settings: Mapping[str, str], manner: Manner) -> None:
        bound = {**settings, "PAYROUTER_BIND": f"unix:{path}"}
        super().__init__(name, path.parent, ["payrouter", "api"], bound, manner)
        self.path = path

    @property
    def place(self) -> str:
        """Socket."""
        return f"unix:{self.path}"

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(2.0)
                link.connect(str(self.path))
                link.sendall(_HEALTH)
                return link.recv(64).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False


class Dispatcher(Program):
    """A `payrouter dispatcher`."""

    def __init__(self, name: str, directory: Path, settings: Mapping[str, str], manner: Manner) -> None:
        super().__init__(name, directory, ["payrouter", "dispatcher"], settings, manner)

    def _answers(self) -> bool:
        # It listens to nothing that could be asked.
        return "dispatcher is routing to" in self.said


class Admin(Program):
    """A `payrouter admin` on a port of loopback."""

    def __init__(self, directory: Path, port: int, settings: Mapping[str, str], manner: Manner) -> None:
        bound = {**settings, "PAYROUTER_ADMIN_BIND": f"127.0.0.1:{port}"}
        super().__init__("admin", directory, ["payrouter", "admin"], bound, manner)
        self.port = port

    @property
    def place(self) -> str:
        """Address."""
        return f"http://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        return listening(self.port)


class SimulatedProcessor(Program):
    """A simulated processor on a port of loopback; its process is called `processor-` and its name."""

    def __init__(self, name: str, directory: Path, port: int, fee: str, manner: Manner) -> None:
        given = {"--port": str(port), "--name": name, "--fee": fee, "--token": TOKEN}
        arguments = ["payrouter_lab.simulator", *(word for option in given.items() for word in option)]
        super().__init__(f"processor-{name}", directory, arguments, {}, manner)
        self.port = port
        self.fee = fee

    @property
    def place(self) -> str:
        """Address and fee."""
        return f"http://127.0.0.1:{self.port}, fee {self.fee}"

    def _answers(self) -> bool:
        return listening(self.port)
