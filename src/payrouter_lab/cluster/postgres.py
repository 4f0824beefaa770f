"""PostgreSQL as a process of ours, on loopback, in a given directory."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from payrouter_lab.bench.processes import ChildError, Manner, free_port
from payrouter_lab.cluster.binaries import path_of
from payrouter_lab.cluster.server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
        super().__init__(directory, manner=manner)
        self.port = port or free_port()
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

    @property
    def place(self) -> str:
        """Address."""
        return f"127.0.0.1:{self.port}"

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
            f'unix_socket_directories="{self.directory}"',
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
