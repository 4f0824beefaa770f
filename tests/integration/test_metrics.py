"""`GET /metrics` of a running router: what happened is counted, and nothing else is asked of it."""

from __future__ import annotations

import uuid

from integration.metric_text import families, samples, total
from integration.promtool import PROMTOOL, promtool
from integration.router_service import wait_until
from integration.test_admin_api import operated
from payrouter.domain.metrics import CATALOGUE, PREFIX
from payrouter.settings import Address
from payrouter_lab.simulator import Faults

NOT_YET = {"store_failures_total", "books_differ"}
"""What has not failed and what was not compared."""


def test_every_metric_of_the_catalogue_appears_after_some_traffic(tmp_path):
    nobody = Address("127.0.0.1", 1)
    webhooks = {"webhook_url": f"http://{nobody}/", "webhook_secret": "a-secret-of-many-characters"}
    with operated(tmp_path, **webhooks) as (service, operator):
        for _ in range(10):
            service.settled(_paid(service))
        service.default.faults = Faults(status=400)
        dead = _paid(service)
        wait_until(lambda: service.get(f"/payments/{dead}").json()["state"] == "dead-letter")
        wait_until(lambda: total(samples(operator.get("/metrics").body), "payrouter_dead_letters") == 1)
        scraped = operator.get("/metrics")
        assert scraped.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert families(scraped.body) == {PREFIX + one.name for one in CATALOGUE if one.name not in NOT_YET}
        found = samples(scraped.body)
        for name, wanted in {
            "payments_accepted_total": 11,
            "payments_settled_total": 10,
            "settled_amount_minor_total": 19_900,
            "fees_minor_total": 995,
            "attempts_total": 11,
            "dead_letters_total": 1,
            "accept_seconds_count": 11,
            "attempt_seconds_count": 11,
            "queue_wait_seconds_count": 10,
            "settle_seconds_count": 10,
            "leaders": 1,
            "webhooks_waiting": 11,
        }.items():
            assert total(found, PREFIX + name) == wanted, name
        assert total(found, "payrouter_processes", role="router") == 1
        assert total(found, "payrouter_process_resident_memory_bytes") > 10e6
        if PROMTOOL is not None:
            done = promtool("check", "metrics", text=scraped.body)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_pause_is_seen(tmp_path):
    with operated(tmp_path) as (_, operator):
        assert operator.change("/api/processors/default/pause").status == 200
        wait_until(
            lambda: (
                total(samples(operator.get("/metrics").body), "payrouter_processor_paused", processor="default") == 1
            )
        )


def test_metrics_need_the_token_and_are_read_only(tmp_path):
    token = "a-token-of-thirty-two-characters"
    with operated(tmp_path, admin_token=token) as (_, operator):
        assert operator.get("/metrics").status == 401
        assert operator.get("/metrics", Authorization="Bearer something else").status == 401
        assert operator.get("/metrics", Authorization=f"Bearer {token}").status == 200
        assert operator.call("POST", "/metrics", Authorization=f"Bearer {token}").status == 405


def _paid(service) -> str:
    one = str(uuid.uuid4())
    assert service.pay(one).status == 202
    return one
