"""The do-nothing reference of the cluster: what nginx and the limits leave of a router that promises nothing.

Do-nothing APIs (`reference_api`) behind `deploy/nginx.conf`, each within the limits that `deploy/docker-compose.yml`
gives to an API. There are no stores and no dispatcher: their share of CPU and memory stays unused.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from payrouter_lab.bench.processes import Manner, free_port
from payrouter_lab.cluster.deployed import nginx_config
from payrouter_lab.cluster.nginx import NginxServer, local_config
from payrouter_lab.cluster.programs import Program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from payrouter_lab.cluster.limits import Limits
    from payrouter_lab.cluster.server import Server


class ReferenceApi(Program):
    """One do-nothing API on the unix socket `path`."""

    def __init__(self, name: str, path: Path, others: Sequence[Path], processor: str, manner: Manner) -> None:
        rest = [word for other in others for word in ("--other", str(other))]
        arguments = ["payrouter_lab.bench.reference_api", "--socket", str(path), "--processor", processor, *rest]
        super().__init__(name, path.parent, arguments, {}, manner)
        self.path = path

    @property
    def place(self) -> str:
        """Socket."""
        return f"unix:{self.path}"

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0


@dataclass
class ReferenceCluster:
    """nginx and do-nothing APIs; looks from outside as a `LocalCluster` does.

    `processor`: the only one that is used. `port`: where nginx listens; 0 picks a free one. `limits`: opened and
    closed by the cluster.
    """

    directory: Path
    processor: str
    apis: int = 2
    port: int = 0
    limits: Limits | None = None

    services: dict[str, Server] = field(init=False, default_factory=dict)
    """Every process by its name: nginx, api1, api2."""
    _stack: ExitStack = field(init=False, default_factory=ExitStack)

    @property
    def url(self) -> str:
        """Where clients send payments."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; whatever fails, nothing is left running.

        Raises:
            ChildError: saying which process did not start and what it wrote last.
            MissingBinary: if nginx is not installed.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        paths = {f"api{number}": self.directory / f"api{number}.sock" for number in range(1, self.apis + 1)}
        try:
            if self.limits is not None:
                self._stack.callback(self.limits.close)
                self.limits.open()
            for name, path in paths.items():
                others = [other for other in paths.values() if other != path]
                self._begin(ReferenceApi(name, path, others, self.processor, self._manner(name)))
            for service in self.services.values():
                service.wait_until_ready()
            self._begin(self._nginx(list(paths.values()))).wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything, nginx first."""
        self._stack.close()

    def check(self) -> None:
        """Raise `ChildError`, with the end of its log, if a process has ended."""
        for service in self.services.values():
            service.child.check()

    def _manner(self, service: str) -> Manner:
        return Manner(prefix=self.limits.prefix(service) if self.limits is not None else ())

    def _nginx(self, apis: list[Path]) -> NginxServer:
        directory = self.directory / "nginx"
        config = local_config(nginx_config(), port=self.port, apis=apis, directory=directory)
        return NginxServer(directory, config, port=self.port, manner=self._manner("nginx"))

    def _begin(self, server: Server) -> Server:
        self._stack.callback(server.stop)
        self.services[server.name] = server
        server.begin()
        return server
