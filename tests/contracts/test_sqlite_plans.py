"""Reading the queue costs what waits in it, not what was ever settled: every query goes by the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from payrouter.adapters.sqlite import ledger, queue
from payrouter.adapters.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

QUERIES = {
    "count what waits": (queue._COUNT, "payment_unsettled"),
    "read what waits": (queue._WAITING, "payment_unsettled"),
    "standing intents": (queue._ORPHANS, "payment_unsettled"),
    "count dead letters": (queue._COUNT_DEAD, "payment_unsettled"),
    "dead letters": (queue._DEAD_LETTERS, "payment_unsettled"),
    "raw edge of a window": (ledger._EDGE, "payment_settled"),
    "one payment": (ledger._FIND, "sqlite_autoindex_payment_1"),
    "settle": (ledger._SETTLE, "sqlite_autoindex_payment_1"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_goes_by_its_index(name: str, tmp_path: Path) -> None:
    sql, index = QUERIES[name]
    store = SqliteStore(tmp_path / "books.db")
    rows = store.connection.execute(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?")).fetchall()
    store.close()
    plan = "; ".join(row[3] for row in rows)
    assert f"INDEX {index}" in plan, plan
    assert "SCAN" not in plan.replace(f"SCAN payment USING COVERING INDEX {index}", ""), plan
