"""The do-nothing cluster: honest about what it charged, whichever of its APIs is asked."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from payrouter_lab.bench.ids import payment_id
from payrouter_lab.bench.processes import Child, free_port, wait_for_port
from payrouter_lab.bench.reference_api import add_up
from payrouter_lab.bench.reference_cluster import ReferenceCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WINDOW = "?from=2020-01-01T00:00:00Z&to=2120-01-01T00:00:00Z"


def call(url: str, body: object | None = None, *, method: str = "GET") -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "X-Rinha-Token": "123"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read() or "null")


@contextmanager
def processor(directory: Path) -> Iterator[str]:
    port = free_port()
    argv = [sys.executable, "-m", "payrouter_lab.simulator", "--port", str(port)]
    with Child("processor", argv, directory=directory) as child:
        wait_for_port(child, port)
        yield f"http://127.0.0.1:{port}"


def test_whichever_api_is_asked_the_summary_is_what_the_processor_has(servers_directory: Path, tmp_path: Path) -> None:
    with (
        processor(tmp_path) as url,
        ReferenceCluster(servers_directory / "reference", url) as cluster,
    ):
        for number in range(40):
            payment = {"correlationId": payment_id(7, 1, number), "amount": 0.1}
            call(f"{cluster.url}/payments", payment, method="POST")
        deadline_s = time.monotonic() + 5
        while call(f"{cluster.url}/payments-summary")["default"]["totalRequests"] < 40:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        theirs = call(f"{url}/admin/payments-summary{WINDOW}")
        for _ in range(6):
            ours = call(f"{cluster.url}/payments-summary{WINDOW}")
            assert ours["default"] == {"totalRequests": 40, "totalAmount": 4.0}
            assert ours["default"] == {name: theirs[name] for name in ("totalRequests", "totalAmount")}
            assert ours["fallback"] == {"totalRequests": 0, "totalAmount": 0.0}
        call(f"{cluster.url}/purge-payments", method="POST")
        assert [call(f"{cluster.url}/payments-summary")["default"]["totalRequests"] for _ in range(6)] == [0] * 6
        assert set(cluster.services) == {"nginx", "api1", "api2"}
    assert not any(service.alive for service in cluster.services.values())


def test_summaries_are_added_up_exactly() -> None:
    one = {"default": {"totalRequests": 1, "totalAmount": 0.1}}
    other = {"default": {"totalRequests": 2, "totalAmount": 0.2}}
    assert add_up([one, other]) == {"default": {"totalRequests": 3, "totalAmount": 0.3}}
