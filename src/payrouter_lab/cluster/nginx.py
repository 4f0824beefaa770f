"""nginx as a process of ours, with `deploy/nginx.conf`: other addresses and paths, all else as it is deployed."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from payrouter_lab.bench.processes import Manner, free_port, listening
from payrouter_lab.cluster.binaries import path_of
from payrouter_lab.cluster.deployed import UnknownDeployment
from payrouter_lab.cluster.server import Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_UPSTREAM = re.compile(r"^(\s*server) \S+?((?: [^;]*)?;) # upstream: \S+\n", re.MULTILINE)
_LISTEN = re.compile(r"^(\s*listen) \S+?((?: [^;]*)?;) # listen\n", re.MULTILINE)
_TEMPORARY = re.compile(r"(?<=\s)/tmp/(nginx[\w.-]*)(?=;)")


def local_config(deployed: str, *, port: int, apis: Sequence[Path], directory: Path) -> str:
    """Return the configuration that listens on `port` of loopback and passes on to the sockets `apis`.

    What nginx writes goes below `directory`. Replaced are the lines that end in `# upstream: NAME` and `# listen`, and
    the paths that begin with `/tmp/nginx`.

    Raises:
        UnknownDeployment: if there are no such lines.
    """
    upstreams = list(_UPSTREAM.finditer(deployed))
    if not upstreams or not _LISTEN.search(deployed):
        raise UnknownDeployment("nginx.conf needs a line ending in '# listen', and one in '# upstream: NAME' per API")
    first, last = upstreams[0], upstreams[-1]
    servers = "".join(f'{first[1]} "unix:{path}"{first[2]}\n' for path in apis)
    text = deployed[: first.start()] + servers + deployed[last.end() :]
    text = _LISTEN.sub(rf"\1 127.0.0.1:{port}\2\n", text)
    text = _TEMPORARY.sub(lambda found: f'"{directory}/{found[1]}"', text)
    # Started by root, the workers would be a user who may not write to the sockets.
    user = "user root;\n" if os.geteuid() == 0 else ""
    return f"daemon off;\n{user}{text}"


class NginxServer(Server):
    """nginx with a configuration of the caller's, which must listen on `port` and stay out of the background."""

    name = "nginx"

    def __init__(self, directory: Path, config: str, *, port: int | None = None, manner: Manner | None = None) -> None:
        super().__init__(directory, manner=manner)
        self.port = port or free_port()
        # Its workers would outlive a killed master; SIGTERM lets it take them along.
        self.manner = replace(self.manner, death_signal=signal.SIGTERM)
        self.config = config

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def place(self) -> str:
        """Address."""
        return self.url

    def reload(self) -> None:
        """Let new workers take over with the configuration as it is now; the old ones end what they have begun."""
        self._prepare()
        self.child.process.send_signal(signal.SIGHUP)

    def _prepare(self) -> None:
        (self.directory / "nginx.conf").write_text(self.config)

    def _command(self) -> list[str]:
        return [path_of("nginx"), "-e", "stderr", "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def _answers(self) -> bool:
        return listening(self.port)
