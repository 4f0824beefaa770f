"""Redis, PostgreSQL and nginx as processes of ours: on loopback, in a given directory, to be killed and paused.

A server that was stopped or killed and is started again has the same addresses and the same data.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import hiredis

from payrouter_lab.bench.processes import Child, ChildError, Manner, free_port, wait_for_port
from payrouter_lab.cluster.binaries import path_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

_START_WITHIN_S = 30.0
_LOOK_AGAIN_S = 0.01


class Server:
    """One server process. As a context manager it is started on entering and ended on leaving."""

    name = "server"

    def __init__(self, directory: Path, *, port: int | None = None, manner: Manner | None = None) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.manner = manner or Manner()
        self._child: Child | None = None

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

    def start(self, within_s: float = _START_WITHIN_S) -> None:
        """Start the server and return once it answers.

        Raises:
            ChildError: with the end of its log, if it ends or does not answer in time.
        """
        if self.alive:
            raise ChildError(f"{self.name} is running already, as process {self.child.process.pid}")
        self._prepare()
        self._child = Child(self.name, self._command(), directory=self.directory, manner=self.manner)
        try:
            self._wait(time.monotonic() + within_s)
        except BaseException:
            self._child.kill()
            raise

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

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _wait(self, deadline_s: float) -> None:
        while not self._answers():
            self.child.check()
            if time.monotonic() > deadline_s:
                raise ChildError(f"{self.name} did not answer in time:\n{self.child.tail()}")
            time.sleep(_LOOK_AGAIN_S)


class RedisServer(Server):
    """Redis with an append-only file, and no eviction: as the queue needs it.

    `appendfsync`: `always` (every write is on disk before its answer) or `everysec`.
    `maxmemory`: such as `40mb`; over it writes are refused. `config`: further lines of redis.conf; later ones win.
    """

    name = "redis"

    def __init__(  # noqa: PLR0913 - one keyword per line of redis.conf that somebody varies
        self,
        directory: Path,
        *,
        port: int | None = None,
        manner: Manner | None = None,
        appendfsync: str = "always",
        maxmemory: str = "0",
        password: str | None = None,
        config: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, port=port, manner=manner)
        self.appendfsync = appendfsync
        self.maxmemory = maxmemory
        self.password = password
        self.config = tuple(config)

    @property
    def url(self) -> str:
        """`redis://` over TCP, with the password if there is one."""
        return f"redis://{self._credentials}127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """`unix://` over the Unix socket, with the password if there is one."""
        return f"unix://{self._credentials}{self.socket_path}?db=0"

    @property
    def socket_path(self) -> Path:
        """The Unix socket."""
        return self.directory / "redis.sock"

    @property
    def _credentials(self) -> str:
        return f":{quote(self.password, safe='')}@" if self.password else ""

    def ask(self, *words: str | bytes | int, timeout_s: float = 5.0) -> Any:
        """Send one command on a connection of its own, and return the answer, texts decoded.

        Raises:
            hiredis.ReplyError: if Redis answers with an error.
            OSError: if it does not answer.
        """
        commands: list[tuple[Any, ...]] = [words]
        if self.password:
            commands.insert(0, ("AUTH", self.password))
        reader = hiredis.Reader(encoding="utf-8", errors="replace")
        answer: Any = None
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as link:
            for command in commands:
                link.sendall(hiredis.pack_command(command))
                while (answer := reader.gets()) is False:
                    received = link.recv(65536)
                    if not received:
                        raise ConnectionResetError("Redis closed the connection")
                    reader.feed(received)
                if isinstance(answer, hiredis.ReplyError):
                    raise answer
        return answer

    def _prepare(self) -> None:
        (self.directory / "data").mkdir(exist_ok=True)
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"unixsocket {self.socket_path}",
            f"dir {self.directory / 'data'}",
            "daemonize no",
            'save ""',
            "appendonly yes",
            f"appendfsync {self.appendfsync}",
            f"maxmemory {self.maxmemory}",
            "maxmemory-policy noeviction",
            *([f'requirepass "{_quoted(self.password)}"'] if self.password else []),
            *self.config,
        ]
        target = self.directory / "redis.conf"
        target.touch(mode=0o600)
        target.write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [path_of("redis-server"), str(self.directory / "redis.conf")]

    def _answers(self) -> bool:
        try:
            # While it reads its file back it listens already, and answers LOADING.
            return bool(self.ask("PING") == "PONG")
        except (OSError, hiredis.ReplyError):
            return False


def _quoted(text: str) -> str:
    """Return text as it stands between the double quotes of redis.conf."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


class PostgresServer(Server):
    """PostgreSQL with its defaults for safety (fsync on) and small buffers. Everybody local may enter as `postgres`.

    Root may not run it, so then it runs as the user `postgres`, or else `nobody`, and that user must be able to enter
    the directory. `template`: an initialised data directory to copy instead of making one; made if it is missing.
    `options`: further settings as of postgresql.conf, such as `max_connections=20`; later ones win.
    """

    name = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        manner: Manner | None = None,
        template: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, port=port, manner=manner)
        # SIGTERM would wait for every client to leave.
        self.manner = replace(self.manner, user=server_user(), stop_signal=signal.SIGINT)
        self.template = template
        self.options = tuple(options)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def url(self) -> str:
        """The database `postgres`, over TCP."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the address of a database, over TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def socket_url_of(self, database: str) -> str:
        """Return the address of a database, over the Unix socket."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.directory))}&port={self.port}"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Create a database as a copy of another one that nobody is using, and return its address.

        Raises:
            ChildError: with PostgreSQL's message.
        """
        self.run_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, also under the hands of who uses it."""
        self.run_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def run_sql(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement in a session of its own and return its rows: one a line, columns parted by `|`.

        Raises:
            ChildError: with PostgreSQL's message.
        """
        argv = [path_of("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [*argv, "-c", statement, self.socket_url_of(database)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ChildError(f"PostgreSQL refused {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        self._hand_over()
        if self.template is None:
            self._initialise(self.data)
            return
        if not (self.template / "PG_VERSION").exists():
            self._initialise(self.data)
            self._run("cp", "-a", str(self.data), str(self.template))
        else:
            self._run("cp", "-a", str(self.template), str(self.data))

    def _hand_over(self) -> None:
        user = self.manner.user
        if user is None:
            return
        shutil.chown(self.directory, user)
        if self._try(Manner(user=user), "test", "-w", str(self.directory)).returncode:
            raise ChildError(
                f"PostgreSQL may not run as root, and the user {user} may not enter {self.directory}: "
                "choose a directory under one that all users may enter, such as /tmp or /var/lib"
            )

    def _initialise(self, data: Path) -> None:
        # --no-sync: nothing is lost if the power fails before the server's first checkpoint; it is made anew.
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run(path_of("initdb"), "--no-instructions", *options, "-D", str(data), user=self.manner.user)

    def _run(self, *argv: str, user: str | None = None) -> None:
        done = self._try(Manner(user=user), *argv)
        if done.returncode:
            raise ChildError(f"{argv[0]} failed for {self.name}: {(done.stderr or done.stdout).strip()}")

    def _try(self, manner: Manner, *argv: str) -> subprocess.CompletedProcess[str]:
        command = manner.command(argv)
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False)

    def _command(self) -> list[str]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            f"unix_socket_directories={self.directory}",
            "fsync=on",
            "shared_buffers=32MB",
            "max_connections=50",
            "cluster_name=payrouter",
            *self.options,
        ]
        return [path_of("postgres"), "-D", str(self.data), *(word for one in settings for word in ("-c", one))]

    def _answers(self) -> bool:
        argv = [path_of("pg_isready"), "-q", "-h", str(self.directory), "-p", str(self.port), "-t", "2"]
        return subprocess.run(argv, check=False).returncode == 0


def server_user() -> str | None:
    """Return the user PostgreSQL runs as: None for our own, which must not be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ChildError("PostgreSQL may not run as root, and there is neither a user postgres nor nobody: add one")


class NginxServer(Server):
    """nginx with a configuration of the caller's, which must listen on `port` and stay out of the background."""

    name = "nginx"

    def __init__(self, directory: Path, config: str, *, port: int | None = None, manner: Manner | None = None) -> None:
        super().__init__(directory, port=port, manner=manner)
        # Its workers would outlive a killed master; SIGTERM lets it take them along.
        self.manner = replace(self.manner, death_signal=signal.SIGTERM)
        self.config = config

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        (self.directory / "nginx.conf").write_text(self.config)

    def _command(self) -> list[str]:
        return [path_of("nginx"), "-e", "stderr", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def _wait(self, deadline_s: float) -> None:
        wait_for_port(self.child, self.port, deadline_s - time.monotonic())
