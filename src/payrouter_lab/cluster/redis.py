"""Redis as a process of ours, on loopback, in a given directory."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hiredis

from payrouter_lab.bench.processes import Manner, free_port
from payrouter_lab.cluster.binaries import path_of
from payrouter_lab.cluster.server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
        super().__init__(directory, manner=manner)
        self.port = port or free_port()
        self.appendfsync = appendfsync
        self.maxmemory = maxmemory
        self.password = password
        self.config = tuple(config)

    @property
    def url(self) -> str:
        """`redis://` over TCP, with the password if there is one."""
        return f"redis://{self._credentials}127.0.0.1:{self.port}/0"

    @property
    def place(self) -> str:
        """Address."""
        return f"127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        """`unix://` over the Unix socket, with the password if there is one."""
        return f"unix://{self._credentials}{quote(str(self.socket_path))}?db=0"

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
            f"unixsocket {_quoted(str(self.socket_path))}",
            f"dir {_quoted(str(self.directory / 'data'))}",
            "daemonize no",
            'save ""',
            "appendonly yes",
            f"appendfsync {self.appendfsync}",
            f"maxmemory {self.maxmemory}",
            "maxmemory-policy noeviction",
            *([f"requirepass {_quoted(self.password)}"] if self.password else []),
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
    """Return text as redis.conf quotes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
