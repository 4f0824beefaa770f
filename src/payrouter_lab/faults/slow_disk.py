"""A slow disk under one process: every fdatasync and fsync takes longer, as on a busy or failing disk.

That is when `appendfsync everysec` costs something: while a sync runs, Redis keeps what follows in its own memory, for
up to two seconds, and has answered it already.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from payrouter_lab.bench.processes import ChildError

if TYPE_CHECKING:
    from pathlib import Path

# Raw system calls, so that nothing here depends on which C library is in use.
_SOURCE = """
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static void take_long(void) {
    struct timespec left = {.tv_sec = %(seconds)d, .tv_nsec = %(nanoseconds)d};
    while (nanosleep(&left, &left)) {}
}
int fdatasync(int file) { take_long(); return (int)syscall(SYS_fdatasync, file); }
int fsync(int file) { take_long(); return (int)syscall(SYS_fsync, file); }
"""


def slow_disk_prefix(directory: Path, delay_s: float) -> tuple[str, ...]:
    """Return the words before a command whose syncs are to take `delay_s` longer. Writes to `directory`.

    Raises:
        ChildError: if there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ChildError("slowing syncs down needs a C compiler: install gcc")
    source, library = directory / "slow_disk.c", directory / "slow_disk.so"
    seconds, rest = divmod(delay_s, 1.0)
    source.write_text(_SOURCE % {"seconds": int(seconds), "nanoseconds": int(rest * 1e9)})
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ChildError(f"{compiler} failed: {done.stderr}")
    return ("env", f"LD_PRELOAD={library}")
