"""What this process is and uses, as its machine has it."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


def node_name() -> str:
    """Return a name for this process that no other has, ever."""
    return f"{host_name()}-{os.getpid()}-{secrets.token_hex(3)}"


def host_name() -> str:
    """Return this host's name."""
    return socket.gethostname()


def resident_bytes() -> int:
    """Return this process's resident memory; 0 where the machine does not tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def cpu_s() -> float:
    """Return the CPU time this process has used."""
    return time.process_time()
