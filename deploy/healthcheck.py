"""Asks the server that this container runs for its health; exit code 0 when it is well.

    python -IS healthcheck.py [PAYROUTER_ADMIN_BIND]    the setting that says where it listens; PAYROUTER_BIND otherwise

The CPU for it comes from the API's own ration. So: `python -IS`, and the socket module's core instead of the module,
which takes longer to import than everything else here: 10 ms instead of 20.
"""

import _socket
import os
import sys

WITHIN_S = 3.0
_DEFAULTS = {"PAYROUTER_BIND": "127.0.0.1:9999", "PAYROUTER_ADMIN_BIND": "127.0.0.1:8080"}
_REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# Everywhere is not a place to connect to.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def connected(bind: str) -> _socket.socket:
    """Return a connection to where a setting says that the server listens."""
    address: str | tuple[str, int]
    if bind.startswith("unix:"):
        family, address = _socket.AF_UNIX, bind.removeprefix("unix:")
    else:
        name, _, port = bind.rpartition(":")
        host = name.strip("[]")
        family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
        address = (_LOOPBACK.get(host, host), int(port))
    link = _socket.socket(family, _socket.SOCK_STREAM)
    link.settimeout(WITHIN_S)
    link.connect(address)
    return link


def main() -> int:
    """Return the exit code; say what is wrong."""
    setting = sys.argv[1] if len(sys.argv) > 1 else "PAYROUTER_BIND"
    bind = os.environ.get(setting, _DEFAULTS[setting])
    try:
        link = connected(bind)
        link.sendall(_REQUEST)
        answer = link.recv(4096)
    except OSError as error:
        sys.stderr.write(f"nothing answers at {bind}: {error}\n")
        return 1
    status_line = answer.partition(b"\r\n")[0].decode("latin-1")
    if not status_line.startswith("HTTP/1.1 200 "):
        sys.stderr.write(f"{bind} answers {status_line!r}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
