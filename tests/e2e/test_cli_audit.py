"""`payrouter audit --follow` and `--repair`, against real processes: what is told, and that nobody is charged again."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli_client import (
    COMMAND,
    TOKEN,
    Service,
    new_id,
    payrouter,
    processors_json,
    router,
    simulator,
    started,
    wait_for,
)
from e2e.cluster_client import NO_PROCESSOR, api, dispatcher, migrated, stores

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cli_client import Started
    from payrouter_lab.cluster.servers import RedisServer

FOLLOW = ["audit", "--follow", "--every", "0.2", "--settle-for", "2"]
CLOSED_S = 2.1
NOWHERE = processors_json(default="http://127.0.0.1:1", fallback="http://127.0.0.1:1")


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def charge(processor: Service, correlation_id: str, requested_at: str, amount: float = 19.90) -> None:
    payment = {"correlationId": correlation_id, "amount": amount, "requestedAt": requested_at}
    assert processor.call("POST", "/payments", payment)[0] == 200


def refused(processor: Service) -> int:
    """Return how many attempts a failing processor has refused so far."""
    return int(processor.call("GET", "/admin/stats", **TOKEN)[1]["failed"])


def events(process: Started) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.out.splitlines(keepends=True) if line.endswith("\n")]


def of(process: Started, kind: str) -> list[dict[str, Any]]:
    return [one for one in events(process) if one["event"] == kind]


@pytest.fixture
def processors(tmp_path):
    with simulator(tmp_path) as default, simulator(tmp_path, "fallback", "--fee", "0.15") as fallback:
        yield default, fallback, processors_json(default=default.url, fallback=fallback.url)


def test_following_names_a_difference_once_and_says_when_it_is_none_any_more(tmp_path, processors):
    default, fallback, configured = processors
    settings = {"PAYROUTER_PROCESSORS": configured}
    with router(tmp_path, **settings) as serving:
        ids = [new_id() for _ in range(3)]
        assert [serving.pay(one) for one in ids] == [202] * 3
        wait_for(lambda: serving.call("GET", "/payments-summary")[1]["default"]["totalRequests"] == 3)
        with started([*COMMAND, *FOLLOW, "--json"], tmp_path, **settings) as following:
            stray = new_id()
            charge(fallback, stray, now())
            wait_for(lambda: bool(of(following, "difference")))
            wait_for(lambda: of(following, "pass")[-1]["paymentsSoFar"] == 3)
            [difference] = of(following, "difference")
            assert (difference["difference"], difference["processor"]) == ("missing here", "fallback")
            assert (difference["correlationId"], difference["note"]) == (stray, "unknown here")
            assert difference["advice"]
            assert of(following, "pass")[-1]["differences"] == 1
            assert serving.pay(new_id()) == 202
            wait_for(lambda: of(following, "pass")[-1]["paymentsSoFar"] == 4)
            fallback.call("POST", "/admin/purge-payments", **TOKEN)
            wait_for(lambda: bool(of(following, "resolved")))
            assert of(following, "resolved")[0]["correlationId"] == stray
            assert following.stop(signal.SIGINT) == 0
    assert default.call("GET", "/admin/payments-summary", **TOKEN)[1]["totalRequests"] == 4


def test_following_says_what_cannot_be_read_and_ends_with_two(tmp_path):
    with simulator(tmp_path) as default:
        with router(tmp_path, PAYROUTER_PROCESSORS=NOWHERE):
            pass
        configured = processors_json(default=default.url, fallback="http://127.0.0.1:1")
        with started([*COMMAND, *FOLLOW], tmp_path, PAYROUTER_PROCESSORS=configured) as following:
            assert "processor fallback cannot be asked" in following.line("not compared:")
            assert following.line(" 0 differences, 0 resolved").endswith(", due: fallback\n")
            assert following.stop() == 2
            assert following.err == ""


def test_a_charged_attempt_that_its_router_never_heard_of_is_settled_and_not_sent_again(tmp_path, processors):
    default, _, configured = processors
    settings = {"PAYROUTER_PROCESSORS": configured}
    one = new_id()
    with router(tmp_path, **settings) as serving:
        default.call("PUT", "/admin/configurations/delay", {"delay": 300}, **TOKEN)
        assert serving.pay(one) == 202
        wait_for(lambda: serving.state(one) == "attempting")
        assert serving.process.stop(signal.SIGKILL) < 0
    wait_for(lambda: default.call("GET", f"/payments/{one}")[0] == 200)
    requested_at = default.call("GET", f"/payments/{one}")[1]["requestedAt"]
    default.call("PUT", "/admin/configurations/delay", {"delay": 0}, **TOKEN)
    default.call("PUT", "/admin/configurations/failure", {"failure": True}, **TOKEN)
    time.sleep(CLOSED_S)
    with router(tmp_path, **settings) as serving:
        # Its repeats are refused: only the record proves the charge.
        wait_for(lambda: serving.state(one) == "pinned" and refused(default) > 0)
        ended = payrouter(tmp_path, "audit", "--repair", "--dry-run", **settings)
        assert ended.returncode == 0
        assert f"would settle {one} at default, 19.90 {requested_at}: pinned here" in ended.stdout
        assert serving.state(one) == "pinned"
        ended = payrouter(tmp_path, "audit", "--repair", "--json", **settings)
        answer = json.loads(ended.stdout)
        assert (ended.returncode, answer["agree"], answer["unresolvedCount"]) == (0, True, 0)
        assert [(repair["verdict"], repair["correlationId"]) for repair in answer["repairs"]] == [("settled", one)]
        payment = serving.call("GET", f"/payments/{one}")[1]
        assert (payment["state"], payment["processor"], payment["requestedAt"]) == ("settled", "default", requested_at)
        assert serving.call("GET", "/payments-summary")[1]["default"] == {"totalRequests": 1, "totalAmount": 19.9}
        assert serving.process.stop() == 0
    attempts = refused(default)
    with router(tmp_path, **settings) as serving:
        assert serving.pay(one) == 202
        time.sleep(1.5)
        assert serving.state(one) == "settled"
    assert refused(default) == attempts


def waits_and_was_charged(serving: Service, default: Service) -> tuple[str, str]:
    """Let default charge a payment that waits here; return its id and the charge's instant."""
    one = new_id()
    assert serving.pay(one) == 202
    requested_at = now()
    charge(default, one, requested_at)
    time.sleep(CLOSED_S)
    return one, requested_at


def test_a_waiting_payment_that_was_charged_is_settled_beside_its_router(tmp_path, processors):
    default, fallback, configured = processors
    # Nobody answers the router, or it would not wait.
    with router(tmp_path, PAYROUTER_PROCESSORS=NOWHERE) as serving:
        one, requested_at = waits_and_was_charged(serving, default)
        dry = [*COMMAND, *FOLLOW, "--repair", "--dry-run"]
        with started(dry, tmp_path, PAYROUTER_PROCESSORS=configured) as following:
            assert f"missing here at default {one}: theirs 19.90 {requested_at}; queued" in following.line(
                "difference:"
            )
            assert f"would settle {one} at default" in following.line("repair:")
            following.line(" 1 differences")
            assert following.stop() == 1
        with started([*COMMAND, *FOLLOW, "--repair", "--json"], tmp_path, PAYROUTER_PROCESSORS=configured) as following:
            wait_for(lambda: bool(of(following, "resolved")))
            assert [event["event"] for event in events(following)][:3] == ["difference", "repair", "resolved"]
            assert of(following, "repair")[0]["verdict"] == "settled"
            assert following.stop() == 0
        payment = serving.call("GET", f"/payments/{one}")[1]
        assert (payment["state"], payment["requestedAt"], payment["reason"]["code"]) == (
            "settled",
            requested_at,
            "proven",
        )
        other = new_id()
        assert [serving.pay(one), serving.pay(other)] == [202, 202]
        assert serving.state(other) in ("queued", "attempting")
    with router(tmp_path, PAYROUTER_PROCESSORS=configured) as serving:
        wait_for(lambda: serving.call("GET", "/payments-summary")[1]["default"]["totalRequests"] == 2)
    assert fallback.call("GET", "/admin/payments-summary", **TOKEN)[1]["totalRequests"] == 0


def test_on_a_cluster_it_is_settled_beside_the_dispatcher(
    tmp_path: Path, processors: Any, redis_server: RedisServer, redis_prefix: str, postgres_url: str
) -> None:
    default, fallback, configured = processors
    settings = migrated(tmp_path, stores(redis_server.url, postgres_url, redis_prefix, NO_PROCESSOR))
    with api(tmp_path, settings) as serving, dispatcher(tmp_path, settings):
        one, requested_at = waits_and_was_charged(serving, default)
        ended = payrouter(tmp_path, "audit", "--repair", "--json", **settings | {"PAYROUTER_PROCESSORS": configured})
        answer = json.loads(ended.stdout)
        assert (ended.returncode, answer["agree"]) == (0, True), answer
        assert [(repair["verdict"], repair["correlationId"]) for repair in answer["repairs"]] == [("settled", one)]
        payment = serving.call("GET", f"/payments/{one}")[1]
        assert (payment["state"], payment["requestedAt"]) == ("settled", requested_at)
        assert serving.call("GET", "/payments-summary")[1]["default"] == {"totalRequests": 1, "totalAmount": 19.9}
        assert serving.pay(one) == 202
        assert serving.state(one) == "settled"
        listed = json.loads(payrouter(tmp_path, "dead-letters", "list", "--json", **settings).stdout)
        assert (listed["count"], listed["poisonCount"]) == (0, 0)
    totals = [one.call("GET", "/admin/payments-summary", **TOKEN)[1]["totalRequests"] for one in (default, fallback)]
    assert totals == [1, 0]
