"""What can be said about a data file without opening it for writing: for whoever checks an installation."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from payrouter.adapters.sqlite.books import SqliteBooks
from payrouter.domain.errors import StoreError

if TYPE_CHECKING:
    from payrouter.domain.payment import PaymentState


@dataclass(frozen=True, slots=True)
class FileReport:
    """`size_bytes` is None when there is no file yet, `free_bytes` when there is no folder either.

    `problem` says why the file cannot be used; None when it can. `unsettled` counts payments by state.
    """

    path: Path
    size_bytes: int | None
    free_bytes: int | None
    writable: bool
    in_use: bool
    problem: str | None
    unsettled: dict[PaymentState, int]


def report_on(path: Path) -> FileReport:
    """Look at a data file; changes nothing."""
    folder = path.absolute().parent
    exists, there = path.is_file(), folder.is_dir()
    problem: str | None = None
    unsettled: dict[PaymentState, int] = {}
    if exists:
        try:
            with SqliteBooks(path) as books:
                unsettled = books.unsettled()
        except StoreError as error:
            # An empty file is as good as none: the router fills it.
            problem = str(error) if path.stat().st_size else None
    elif path.exists():
        problem = f"{path} is not a file"
    return FileReport(
        path=path,
        size_bytes=path.stat().st_size if exists else None,
        free_bytes=shutil.disk_usage(folder).free if there else None,
        writable=there and os.access(folder, os.W_OK) and (not exists or os.access(path, os.W_OK)),
        in_use=_in_use(Path(f"{path}.lock")),
        problem=problem,
        unsettled=unsettled,
    )


def _in_use(lock_path: Path) -> bool:
    """Return whether a router holds the file: its lock excludes even a shared one."""
    try:
        lock = os.open(lock_path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
