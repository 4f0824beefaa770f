"""The operator's JSON on a running router: what it shows is what happened, and what it changes changes."""

from __future__ import annotations

import http.client
import json
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from integration.admin_client import Operator, processor
from integration.router_service import Service, running_service, wait_until
from payrouter.settings import Address
from payrouter_lab.simulator import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FREE = Address("127.0.0.1", 0)


@contextmanager
def operated(folder: Path, **settings: Any) -> Iterator[tuple[Service, Operator]]:
    with running_service(folder, admin_bind=FREE, **settings) as service:
        assert service.pages is not None
        yield service, Operator(service.pages)


def test_the_overview_counts_what_was_paid(tmp_path):
    with operated(tmp_path) as (service, operator):
        before = operator.json("/api/overview")
        assert (before["clustered"], before["problems"], before["deadLetters"]) == (False, [], {"count": 0})
        ids = [str(uuid.uuid4()) for _ in range(20)]
        for one in ids:
            assert service.pay(one).status == 202
        seen = operator.until(lambda overview: overview["money"]["settled"] == 20)
        assert seen["money"] == {
            "settled": 20,
            "amount": "398.00",
            "fees": "19.90",
            "savedAgainstDearest": "39.80",
            "lostAgainstCheapest": "0.00",
        }
        default = processor(seen, "default")
        assert (default["settled"], default["amount"], default["fees"], default["share"]) == (
            20,
            "398.00",
            "19.90",
            1.0,
        )
        assert (default["standing"], default["breaker"], default["paused"]) == ("usable", "closed", False)
        [node] = seen["nodes"]
        assert (node["name"], node["leads"], node["role"]) == ("router-1", True, "router")
        assert node["memoryMb"] > 10


def test_events_go_on_and_history_grows(tmp_path):
    with operated(tmp_path) as (service, operator):
        connection = http.client.HTTPConnection(operator.address.host, operator.address.port, timeout=5)
        connection.request("GET", "/api/events")
        response = connection.getresponse()
        assert response.headers["content-type"] == "text/event-stream"
        first = _event(response)
        service.pay()
        later = [_event(response) for _ in range(5)]
        assert sum(one["rates"]["accepted"] for one in later) > 0
        instants = [one["at"] for one in (first, *later)]
        assert instants == sorted(set(instants))
        connection.close()
        history = operator.json("/api/history")
        assert len(history["at"]) == len(history["settled"]) == len(history["processors"]["default"]["settled"]) >= 2


def _event(response: http.client.HTTPResponse) -> dict[str, Any]:
    assert response.readline() == b"event: overview\n"
    data = response.readline()
    assert response.readline() == b"\n"
    return dict(json.loads(data.removeprefix(b"data: ")))


def test_a_paused_processor_gets_no_payment_and_what_waits_is_said(tmp_path):
    with operated(tmp_path) as (service, operator):
        assert operator.change("/api/processors/default/pause").json() == {"processor": "default", "paused": True}
        paid = str(uuid.uuid4())
        service.pay(paid)
        assert service.settled(paid)["processor"] == "fallback"
        assert "an operator has paused the cheaper" in service.settled(paid)["reason"]["text"]
        operator.change("/api/processors/fallback/pause")
        held = str(uuid.uuid4())
        service.pay(held)
        seen = operator.until(lambda overview: overview["backlog"]["waiting"] == 1 and overview["problems"])
        assert "every processor is paused" in " ".join(seen["problems"])
        assert "paused" in seen["backlog"]["reason"]
        assert operator.change("/api/processors/default/resume").json()["paused"] is False
        assert service.settled(held)["processor"] == "default"
        seen = operator.until(lambda overview: not processor(overview, "default")["paused"], within_s=1.0)
        assert processor(seen, "fallback")["paused"]


def test_a_pause_outlasts_a_restart(tmp_path):
    with operated(tmp_path) as (_, operator):
        operator.change("/api/processors/default/pause")
    with operated(tmp_path) as (service, operator):
        paid = str(uuid.uuid4())
        service.pay(paid)
        assert service.settled(paid)["processor"] == "fallback"
        operator.until(lambda overview: processor(overview, "default")["paused"])


def test_a_payment_is_found_with_its_reason(tmp_path):
    with operated(tmp_path) as (service, operator):
        paid = str(uuid.uuid4())
        service.pay(paid)
        service.settled(paid)
        found = operator.json(f"/api/payments/{paid.upper()}")
        assert (found["correlationId"], found["state"], found["processor"]) == (paid, "settled", "default")
        assert "cheapest" in found["reason"]["text"]
        kinds = [step["kind"] for step in found["story"]]
        assert [kind for kind in kinds if kind != "waited"] == ["accepted", "attempt", "settled"]
        assert operator.get(f"/api/payments/{uuid.uuid4()}").status == 404
        assert operator.get("/api/payments/what").status == 400


def test_dead_letters_are_listed_filtered_and_sent_again(tmp_path):
    with operated(tmp_path) as (service, operator):
        service.default.faults = Faults(status=400)
        ids = sorted(str(uuid.uuid4()) for _ in range(3))
        for one in ids:
            service.pay(one)
        operator.until(lambda overview: overview["deadLetters"]["count"] == 3)
        listed = operator.json("/api/dead-letters")
        assert sorted(one["correlationId"] for one in listed["shown"]) == ids
        assert {one["amount"] for one in listed["shown"]} == {"19.90"}
        assert operator.json(f"/api/dead-letters?contains={ids[0][:13]}")["found"] == 1
        assert operator.json("/api/dead-letters?contains=nothing-like-it")["shown"] == []
        service.default.faults = Faults()
        retried = operator.change("/api/dead-letters/retry", {"correlationIds": [ids[0]]})
        assert retried.json() == {"retried": 1}
        service.settled(ids[0])
        assert operator.change("/api/dead-letters/retry", {"all": True}).json() == {"retried": 2}
        for one in ids:
            service.settled(one)
        operator.until(lambda overview: overview["deadLetters"]["count"] == 0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "send"),
        ("[", "send"),
        ("{}", "either"),
        ('{"all": true, "correlationIds": []}', "either"),
        ('{"correlationIds": ["x"]}', "UUID"),
        ('{"everything": true}', "unknown field"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(tmp_path, body, said):
    with operated(tmp_path) as (_, operator):
        got = operator.change("/api/dead-letters/retry", body)
        assert (got.status, got.headers["content-type"]) == (400, "application/problem+json")
        assert said in got.json()["detail"]


def test_the_books_are_compared_when_asked(tmp_path):
    with operated(tmp_path, audit_every_s=0.0) as (service, operator):
        assert operator.json("/api/audit")["state"] == "off"
        service.pay()
        assert operator.change("/api/audit").status == 202
        wait_until(lambda: operator.json("/api/audit")["state"] == "agree")
        books = operator.json("/api/audit")
        assert [one["state"] for one in books["processors"]] == ["agree", "agree"]
        assert operator.json("/api/overview")["audit"]["state"] == "agree"


def test_unknown_places_methods_and_processors_are_said(tmp_path):
    with operated(tmp_path) as (_, operator):
        assert operator.get("/nothing").status == 404
        got = operator.call("DELETE", "/api/overview")
        assert (got.status, got.headers["allow"]) == (405, "GET")
        got = operator.change("/api/processors/nobody/pause")
        assert got.status == 404
        assert "default, fallback" in got.json()["detail"]
        assert operator.get("/api/dead-letters?limit=0").status == 400


def test_payments_go_on_where_the_operators_address_is_taken(tmp_path, caplog):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with (
        operated(first) as (_, operator),
        running_service(second, admin_bind=operator.address) as service,
    ):
        assert service.pages is None
        service.goes_on()
    assert "no operator's pages" in caplog.text
