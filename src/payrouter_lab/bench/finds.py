"""One payment by its id, among millions of settled ones: over HTTP, from a client's address and from the operator's."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import msgspec

from payrouter_lab.bench.bed import FEES, PAYROUTER, Bed, Contender, started_bed
from payrouter_lab.bench.calls import CallError, Peer
from payrouter_lab.bench.figures import Figure
from payrouter_lab.bench.fill import fill_ledger, filled_id
from payrouter_lab.bench.jobs import quantiles
from payrouter_lab.bench.processes import free_port
from payrouter_lab.bench.summaries import NEWEST, Engine, oldest_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from payrouter.entrypoints.cli.progress import Tell

MOST_P99_MS = 50.0
WARM_UP = 20


def measure_finds(directory: Path, engine: Engine, payments: int, asks: int, tell: Tell) -> list[Figure]:
    """Fill a ledger, serve it, and ask for payments drawn at random, and for unknown ones. `tell`: rows so far.

    Raises:
        ChildError, CallError: if the router does not start, or does not know what was filled in.
    """
    if engine is Engine.POSTGRES:
        return _measure_cluster(directory, payments, asks, tell)

    def prepare(bed: Bed) -> None:
        fill_ledger(bed.database, payments, oldest=oldest_of(payments), newest=NEWEST, tell=tell)

    admin = f"127.0.0.1:{free_port()}"
    contender = Contender(PAYROUTER, settings={"PAYROUTER_ADMIN_BIND": admin})
    with started_bed(contender, directory, FEES, prepare=prepare) as bed:
        return _measure(bed.target.url, f"http://{admin}", engine, payments, asks)


def _measure_cluster(directory: Path, payments: int, asks: int, tell: Tell) -> list[Figure]:
    # Only here: a benchmark of the embedded engine needs none of the cluster's packages.
    from payrouter_lab.bench import fill_postgres  # noqa: PLC0415
    from payrouter_lab.cluster.local import DATABASE, LocalCluster  # noqa: PLC0415

    directory.chmod(0o755)  # PostgreSQL runs as somebody else
    with LocalCluster(directory, port=0, admin_port=0) as cluster:
        url = cluster.postgres.url_of(DATABASE)
        fill_postgres.fill_ledger(url, payments, oldest=oldest_of(payments), newest=NEWEST, tell=tell)
        return _measure(cluster.url, cluster.admin_url, Engine.POSTGRES, payments, asks)


def _measure(url: str, admin_url: str, engine: Engine, payments: int, asks: int) -> list[Figure]:
    chance = random.Random(payments)

    def known() -> tuple[str, int]:
        return filled_id(chance.randrange(payments)), 200

    def unknown() -> tuple[str, int]:
        return filled_id(payments + chance.randrange(payments)), 404

    among = f"{payments:,}".replace(",", " ")
    return [
        _figure(f"{engine}: find among {among}, {who}", f"{base}{path}", draw, asks)
        for base, path, who, draw in (
            (url, "/payments/", "as a client", known),
            (url, "/payments/", "unknown id", unknown),
            (admin_url, "/api/payments/", "as an operator", known),
        )
    ]


def _figure(label: str, url: str, draw: Callable[[], tuple[str, int]], asks: int) -> Figure:
    base, slash, path = url.rpartition("//")[2].partition("/")
    peer = Peer(f"http://{base}")
    found = []
    for _ in range(WARM_UP + asks):
        name, expected = draw()
        begun_s = time.perf_counter()
        status, body = peer.ask("GET", f"{slash}{path}{name}")
        found.append(1000 * (time.perf_counter() - begun_s))
        if status != expected or (status == 200 and msgspec.json.decode(body)["correlationId"] != name):
            raise CallError(f"GET {url}{name} was answered {status}, not {expected}: {body[:200]!r}")
    peer.close()
    took_ms = quantiles(found[WARM_UP:])
    detail = f"p50 {took_ms['p50']:.2f}, max {took_ms['max']:.2f} ms of {asks} drawn at random"
    return Figure(f"{label}, p99", took_ms["p99"], "ms", MOST_P99_MS, detail)
