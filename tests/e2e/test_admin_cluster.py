"""The operator's pages of a whole cluster: what every process tells, what every dispatcher obeys, and what is away."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from e2e.cli_client import call
from e2e.lives import fill, pay
from integration.admin_client import Operator, processor
from integration.metric_text import Labels, families, samples, total
from payrouter.domain.metrics import CATALOGUE, PREFIX
from payrouter.settings import Address
from payrouter_lab.cluster.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKEN = "a-token-of-thirty-two-characters"
COUNTED = ("_total", "_count", "_bucket")
MAYBE_ABSENT = {
    PREFIX + name
    for name in (
        "webhooks_waiting",
        "webhooks_oldest_seconds",
        "store_failures_total",
        "books_differ",
    )
}
"""Of what is not in use, has not failed and was not compared yet."""


@pytest.fixture(scope="module")
def cluster(servers_directory: Path, postgres_template: Path) -> Iterator[LocalCluster]:
    given = LocalCluster(
        servers_directory / "admin",
        dispatchers=2,
        port=0,
        admin_port=0,
        settings={"PAYROUTER_ADMIN_TOKEN": TOKEN},
        postgres_template=postgres_template,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PAYROUTER_")]:
            patch.delenv(name)
        with given as cluster:
            yield cluster


@pytest.fixture
def operator(cluster: LocalCluster) -> Operator:
    return Operator(Address("127.0.0.1", cluster.admin_port or 0), {"Authorization": f"Bearer {TOKEN}"})


def test_every_process_tells_of_itself_and_one_leads(cluster: LocalCluster, operator: Operator) -> None:
    names = ["api-1", "api-2", "dispatcher-1", "dispatcher-2"]
    seen = operator.until(lambda overview: [one["name"] for one in overview["nodes"]] == names)
    operator.until(lambda overview: sum(one["leads"] for one in overview["nodes"]) == 1)
    assert (seen["clustered"], seen["engine"]) == (True, "Redis")
    assert all(one["memoryMb"] > 10 for one in seen["nodes"])


def test_payments_of_all_processes_are_counted_and_priced(cluster: LocalCluster, operator: Operator) -> None:
    paid = len(fill(cluster.port, 300, 71))
    seen = operator.until(lambda overview: overview["money"]["settled"] >= paid)
    assert seen["money"]["settled"] == sum(one["settled"] for one in seen["processors"])
    assert seen["backlog"]["waiting"] == 0
    assert seen["problems"] == []


def test_both_dispatchers_obey_a_pause_within_a_second_and_so_does_one_that_comes_later(
    cluster: LocalCluster, operator: Operator
) -> None:
    assert operator.call("POST", "/api/processors/default/pause").json()["paused"] is True
    operator.until(lambda overview: processor(overview, "default")["standing"] == "paused", within_s=2.0)
    ids = [str(uuid.uuid4()) for _ in range(20)]
    for one in ids:
        assert pay(cluster.url, one)[0] == 202
    assert [_settled_by(cluster, one) for one in ids] == ["fallback"] * 20
    later = cluster.services["dispatcher1"]
    later.stop()
    later.start()
    one = str(uuid.uuid4())
    assert pay(cluster.url, one)[0] == 202
    assert _settled_by(cluster, one) == "fallback"
    operator.call("POST", "/api/processors/default/resume")
    resumed_s = time.monotonic()
    while _settled_by(cluster, _paid(cluster)) != "default":
        assert time.monotonic() < resumed_s + 2.0


def test_metrics_count_what_all_processes_did(cluster: LocalCluster, operator: Operator) -> None:
    time.sleep(1.0)  # longer than a process takes to tell, and the desk to look: nothing is on its way
    ids = [str(uuid.uuid4()) for _ in range(30)]
    before = samples(operator.get("/metrics").body)
    assert [pay(cluster.url, one)[0] for one in ids] == [202] * 30
    assert pay(cluster.url, ids[0])[0] == 202
    scraped = _scraped_until(
        operator,
        lambda now: (
            _more(now, before, "payments_accepted_total") >= 31 and _more(now, before, "payments_settled_total") >= 30
        ),
    )
    found = samples(scraped)
    assert _more(found, before, "payments_accepted_total", result="accepted") == 30
    assert _more(found, before, "payments_accepted_total", result="duplicate") == 1
    assert _more(found, before, "accept_seconds_count") == 31
    assert _more(found, before, "settle_seconds_count") == 30
    assert _more(found, before, "queue_wait_seconds_bucket", le="+Inf") == 30
    assert _more(found, before, "settled_amount_minor_total") == 30 * 1990
    assert (
        total(found, "payrouter_processes", role="api") == total(found, "payrouter_processes", role="dispatcher") == 2
    )
    assert total(found, "payrouter_leader") == total(found, "payrouter_leaders") == 1
    assert families(scraped) >= {PREFIX + one.name for one in CATALOGUE} - MAYBE_ABSENT


def test_counters_go_back_only_where_a_process_began_anew(cluster: LocalCluster, operator: Operator) -> None:
    before = samples(operator.get("/metrics").body)
    service = cluster.services["api1"]
    service.stop()
    service.start()
    began_s = time.time()
    operator.until(lambda overview: [one["name"] for one in overview["nodes"]][:2] == ["api-1", "api-2"])
    _paid(cluster)
    after = samples(operator.get("/metrics").body)
    started = after["payrouter_process_start_time_seconds"]
    [anew] = [
        series for series, value in started.items() if value != before["payrouter_process_start_time_seconds"][series]
    ]
    assert abs(started[anew] - began_s) < 10
    back = {
        series
        for name, all_of_it in before.items()
        if name.endswith(COUNTED)
        for series in _gone_back(all_of_it, after[name])
    }
    assert {dict(series)["process"] for series in back} == {dict(anew)["process"]}


def test_one_that_dies_is_said_and_then_gone(cluster: LocalCluster, operator: Operator) -> None:
    service = cluster.services["dispatcher2"]
    service.kill()
    said = operator.until(lambda overview: overview["problems"], within_s=10.0)
    assert "has told nothing" in " ".join(said["problems"])
    operator.until(lambda overview: len(overview["nodes"]) == 3, within_s=10.0)
    service.start()
    operator.until(lambda overview: len(overview["nodes"]) == 4 and not overview["problems"], within_s=10.0)


def test_with_redis_away_the_pages_are_there_and_say_so(cluster: LocalCluster, operator: Operator) -> None:
    redis = cluster.services["redis"]
    redis.kill()
    said = operator.until(lambda overview: overview["problems"])
    assert "Redis" in " ".join(said["problems"])
    assert operator.call("POST", "/api/processors/default/pause").status == 503
    # A 0 would say that nothing waits.
    scraped = operator.get("/metrics")
    assert scraped.status == 200
    assert families(scraped.body) <= {PREFIX + "books_compared_timestamp_seconds", PREFIX + "books_differ"}
    redis.start()
    operator.until(lambda overview: not overview["problems"] and len(overview["nodes"]) == 4, within_s=15.0)


def test_without_the_token_nothing_is_told(cluster: LocalCluster, operator: Operator) -> None:
    stranger = Operator(operator.address)
    for path in ("/api/overview", "/api/events", "/api/history", "/api/audit", "/metrics"):
        assert stranger.get(path).status == 401
    assert stranger.get("/").headers["location"] == "/login"
    assert stranger.get("/health").status == 200


def _scraped_until(operator: Operator, condition: Callable[[dict[str, dict[Labels, float]]], bool]) -> bytes:
    end_s = time.monotonic() + 5.0
    while not condition(samples(text := operator.get("/metrics").body)):
        assert time.monotonic() < end_s, text
        time.sleep(0.1)
    return text


def _more(
    now: dict[str, dict[Labels, float]], before: dict[str, dict[Labels, float]], name: str, **labels: str
) -> float:
    return total(now, PREFIX + name, **labels) - total(before, PREFIX + name, **labels)


def _gone_back(before: dict[Labels, float], after: dict[Labels, float]) -> list[Labels]:
    return [series for series, value in before.items() if after.get(series, -1) < value]


def _paid(cluster: LocalCluster) -> str:
    one = str(uuid.uuid4())
    assert pay(cluster.url, one)[0] == 202
    return one


def _settled_by(cluster: LocalCluster, correlation_id: str) -> str:
    end_s = time.monotonic() + 5.0
    while True:
        status, view = call(urlsplit(cluster.url).geturl(), "GET", f"/payments/{correlation_id}")
        if status == 200 and view["state"] == "settled":
            return str(view["processor"])
        assert time.monotonic() < end_s, view
        time.sleep(0.02)
