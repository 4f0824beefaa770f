"""Small numbers for processor names, kept in the SQLite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3


class ProcessorIds:
    """Small numbers for processor names, kept in the file. Names ever used stay."""

    def __init__(self, connection: sqlite3.Connection, names: tuple[str, ...]) -> None:
        connection.executemany("INSERT INTO processor (name) VALUES (?) ON CONFLICT DO NOTHING", [(n,) for n in names])
        self.by_name: dict[str, int] = dict(connection.execute("SELECT name, id FROM processor"))
        self.by_id: dict[int, str] = {number: name for name, number in self.by_name.items()}
