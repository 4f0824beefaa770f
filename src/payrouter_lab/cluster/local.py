"""A whole cluster on this machine: what is started, in which order, with which settings, and ended how."""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from payrouter_lab.bench.processes import Child, ChildError, Manner, free_port
from payrouter_lab.cluster import deployed
from payrouter_lab.cluster.nginx import local_config
from payrouter_lab.cluster.programs import Admin, Api, Dispatcher, SimulatedProcessor
from payrouter_lab.cluster.servers import NginxServer, PostgresServer, RedisServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from payrouter_lab.cluster.limits import Limits
    from payrouter_lab.cluster.server import Server

DATABASE = "payrouter"
FEES = {"default": "0.05", "fallback": "0.15"}
_READY_WITHIN_S = 60.0
_MIGRATED_WITHIN_S = 60.0
# A unix socket's path has at most 107 bytes (unix(7)); the longest here is postgres/.s.PGSQL.65535.
_LONGEST_DIRECTORY = 107 - len("/postgres/.s.PGSQL.65535")


@dataclass
class LocalCluster:
    """nginx, APIs, dispatchers, Redis, PostgreSQL and, unless told not to, two simulated processors.

    The servers have the options that `deploy/docker-compose.yml` gives them, and are reached over sockets, as there.
    As a context manager: everything serves once it is entered, everything is gone once it is left; the data in
    `directory` stays. Where root runs it, every user must be able to enter `directory`.

    `port`: where nginx listens; 0 picks a free one. `admin_port`: the same for the operator's pages; None for none.
    `limits`: opened and closed by the cluster.
    `settings`: PAYROUTER_... for APIs and dispatchers. Without simulated processors they name the real ones.
    `processor_ports`: of the simulated ones, by name; missing ones are picked.
    `prefixes`: words before the command of a service, by its name; a program that becomes the rest.
    `appendfsync`, `redis_config` and `postgres_options` come on top of what is deployed. `postgres_template`: as of
    `PostgresServer`.
    """

    directory: Path
    apis: int = 2
    dispatchers: int = 1
    port: int = 9999
    admin_port: int | None = None
    limits: Limits | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    processors: bool = True
    processor_ports: Mapping[str, int] = field(default_factory=dict)
    prefixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    appendfsync: str = "always"
    redis_config: tuple[str, ...] = ()
    postgres_options: tuple[str, ...] = ()
    postgres_template: Path | None = None

    services: dict[str, Server] = field(init=False, default_factory=dict)
    """Every process by its name, to kill, pause and start again: nginx, api1, dispatcher1, redis, postgres, ..."""
    redis: RedisServer = field(init=False)
    postgres: PostgresServer = field(init=False)
    _ports: dict[str, int] = field(init=False, default_factory=dict)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)

    @property
    def url(self) -> str:
        """Where clients send payments."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """Where the operator's pages are."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def processor_urls(self) -> dict[str, str]:
        """Where the simulated processors are, by name; empty without them."""
        return {name: f"http://127.0.0.1:{port}" for name, port in self._ports.items()}

    @property
    def environment(self) -> dict[str, str]:
        """The settings of every process here, and of any command that is to work on this cluster."""
        return {
            "PAYROUTER_REDIS_URL": self.redis.socket_url,
            "PAYROUTER_POSTGRES_URL": self.postgres.socket_url_of(DATABASE),
            **({"PAYROUTER_PROCESSORS": self._processors_setting()} if self.processors else {}),
            **self.settings,
        }

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
            ChildError: saying which process did not start and what it wrote last, or what is in the way.
            MissingBinary: if one of the servers is not installed.
            UnknownDeployment: if the files in `deploy/` cannot be read.
        """
        try:
            self._take_place()
            if self.limits is not None:
                self._stack.callback(self.limits.close)
                self.limits.open()
            stores = self._stores()
            processors = self._processors()
            # What is begun first is ended last: so attempts under way get their answers, and outcomes into the books.
            self._begin(processors)
            self._begin(stores)
            self._wait(processors + stores)
            self._migrate()
            dispatchers, apis = self._dispatchers(), self._apis()
            self._begin(dispatchers)
            self._begin(apis)
            self._wait(dispatchers + apis)
            nginx = [self._nginx()]
            pages = self._admin()
            self._begin(pages)
            self._begin(nginx)
            self._wait(pages + nginx)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything: nginx first, then APIs, dispatchers, stores and processors."""
        self._stack.close()

    def check(self) -> None:
        """Raise `ChildError`, with the end of its log, if a process has ended."""
        for service in self.services.values():
            service.child.check()

    def _take_place(self) -> None:
        self.directory = self.directory.resolve()
        if len(str(self.directory).encode()) > _LONGEST_DIRECTORY:
            raise ChildError(f"choose a directory of at most {_LONGEST_DIRECTORY} bytes, got {self.directory}: sockets")
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = self._stack.enter_context((self.directory / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ChildError(f"another cluster runs in {self.directory}: stop it, or choose another one") from None
        self.port = self.port or free_port()
        names = FEES if self.processors else ()
        self._ports = {name: self.processor_ports.get(name) or free_port() for name in names}
        if self.admin_port is not None:
            self.admin_port = self.admin_port or free_port()
        for port in (self.port, self.admin_port, *self._ports.values()):
            if port is not None:
                _check_free(port)

    # -- what there is to start

    def _manner(self, service: str) -> Manner:
        limited = self.limits.prefix(service) if self.limits is not None else ()
        return Manner(prefix=(*limited, *self.prefixes.get(service, ())))

    def _stores(self) -> list[Server]:
        services = deployed.read_services()
        unlimited = () if self.limits is not None else ("maxmemory 0",)
        self.redis = RedisServer(
            self.directory / "redis",
            config=(
                *deployed.redis_config(services),
                *unlimited,
                f"appendfsync {self.appendfsync}",
                *self.redis_config,
            ),
            manner=self._manner("redis"),
        )
        # What is deployed has connections for two APIs and a dispatcher.
        clients = self.apis + self.dispatchers + (self.admin_port is not None)
        more = (f"max_connections={10 + 8 * clients}",) if clients > 3 else ()
        self.postgres = PostgresServer(
            self.directory / "postgres",
            template=self.postgres_template,
            options=(*deployed.postgres_options(services), *more, *self.postgres_options),
            manner=self._manner("postgres"),
        )
        return [self.redis, self.postgres]

    def _processors(self) -> list[Server]:
        return [
            SimulatedProcessor(name, self.directory, port, FEES[name], self._manner(f"processor-{name}"))
            for name, port in self._ports.items()
        ]

    def _dispatchers(self) -> list[Server]:
        names = [f"dispatcher{number}" for number in range(1, self.dispatchers + 1)]
        return [Dispatcher(name, self.directory, self.environment, self._manner(name)) for name in names]

    def _apis(self) -> list[Server]:
        return [Api(name, path, self.environment, self._manner(name)) for name, path in self._sockets().items()]

    def _nginx(self) -> Server:
        directory = self.directory / "nginx"
        config = local_config(
            deployed.nginx_config(), port=self.port, apis=list(self._sockets().values()), directory=directory
        )
        return NginxServer(directory, config, port=self.port, manner=self._manner("nginx"))

    def _admin(self) -> list[Server]:
        if self.admin_port is None:
            return []
        return [Admin(self.directory, self.admin_port, self.environment, self._manner("admin"))]

    def _sockets(self) -> dict[str, Path]:
        names = [f"api{number}" for number in range(1, self.apis + 1)]
        return {name: self.directory / f"{name}.sock" for name in names}

    def _processors_setting(self) -> str:
        return json.dumps([{"name": name, "url": url, "fee": FEES[name]} for name, url in self.processor_urls.items()])

    # -- starting and ending

    def _begin(self, servers: Sequence[Server]) -> None:
        self._stack.callback(_stop_together, servers)
        for server in servers:
            self.services[server.name] = server
            server.begin()

    def _wait(self, servers: Sequence[Server]) -> None:
        for server in servers:
            server.wait_until_ready(_READY_WITHIN_S)

    def _migrate(self) -> None:
        if not self.postgres.run_sql(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):
            self.postgres.create_database(DATABASE)
        argv = [sys.executable, "-m", "payrouter", "migrate"]
        with Child("migrate", argv, directory=self.directory, env=self.environment) as child:
            try:
                code = child.process.wait(_MIGRATED_WITHIN_S)
            except subprocess.TimeoutExpired:
                code = None
        if code != 0:
            raise ChildError(f"payrouter migrate {f'ended with {code}' if code else 'hangs'}:\n{child.tail()}")


def _stop_together(servers: Sequence[Server]) -> None:
    for server in servers:
        server.ask_to_stop()
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        # What a server may do: take over a port whose last connections are still closing.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ChildError(
                f"port {port} cannot be used ({error.strerror}): end what uses it, or choose another"
            ) from None
