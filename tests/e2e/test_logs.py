"""The log of a real router: an object per line, every payment at debug, and no secret whatever fails."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from e2e.cli_client import COMMAND, new_id, payrouter, router, simulator, started, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.cli_client import Service

SECRETS = {
    "PAYROUTER_ADMIN_TOKEN": "s3cret-of-the-operator",
    "PAYROUTER_WEBHOOK_URL": "http://me:s3cret-of-the-hook@127.0.0.1:1/hook",
    "PAYROUTER_WEBHOOK_SECRET": "s3cret-that-signs-the-hooks-000000000000",
}


def lines(service: Service) -> list[dict[str, Any]]:
    """Every whole line so far."""
    text = service.process.err
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def events(service: Service, correlation_id: str) -> list[str]:
    return [line["event"] for line in lines(service) if line.get("correlationId") == correlation_id]


def test_every_line_is_an_object_and_no_secret_is_in_any_of_them(tmp_path: Path) -> None:
    with simulator(tmp_path) as default:
        processors = json.dumps(
            [
                {"name": "default", "url": default.url, "fee": "0.05", "admin_token": "123-s3cret",
                 "headers": {"Authorization": "Bearer s3cret-of-the-processor"}},
                {"name": "away", "url": "http://me:s3cret@127.0.0.1:1", "fee": "0.15"},
            ]
        )  # fmt: skip
        settings = {
            "PAYROUTER_PROCESSORS": processors,
            "PAYROUTER_ATTEMPT_TIMEOUT_S": "1",
            "PAYROUTER_LOG_LEVEL": "debug",
            "PAYROUTER_LOG_FORMAT": "auto",
            **SECRETS,
        }
        with router(tmp_path, **settings) as service:
            paid, swallowed, refused = new_id(), new_id(), new_id()
            service.pay(paid)
            wait_for(lambda: service.state(paid) == "settled")
            default.faults(answer_lost=True)
            service.pay(swallowed)
            wait_for(lambda: "attempt_failed" in events(service, swallowed))
            default.faults(answer_lost=False, status=500)
            service.pay(refused)
            wait_for(lambda: "attempt_failed" in events(service, refused))
            default.faults(status=None)
            wait_for(lambda: service.state(swallowed) == service.state(refused) == "settled")
            service.call("GET", "/payments/nothing?key=s3cret-of-nobody")
            wait_for(lambda: "payment_settled" in events(service, refused))
            assert service.process.stop() == 0
            assert events(service, paid)[:3] == ["payment_accepted", "attempt_charged", "payment_settled"]
            told = lines(service)
            assert "webhook_failed" in {line["event"] for line in told}
            for name in ("ts", "level", "event", "message"):
                assert all(name in line for line in told)
            assert {"started", "stopping", "stopped"} <= {line["event"] for line in told}
            assert "s3cret" not in service.process.err + service.process.out


PROCESSORS = '[{"name":"default","url":"http://127.0.0.1:1","fee":"0.05"}]'


def test_a_start_that_fails_tells_so_in_one_object(tmp_path: Path) -> None:
    settings = {"PAYROUTER_PROCESSORS": PROCESSORS, "PAYROUTER_LOG_FORMAT": "json"}
    (tmp_path / "notes.db").write_text("not a database" * 100)
    ended = payrouter(tmp_path, "serve", PAYROUTER_DATA="notes.db", **settings)
    assert ended.returncode == 1
    [line] = [json.loads(line) for line in ended.stderr.splitlines()]
    assert (line["event"], line["level"]) == ("ended", "critical")
    assert "notes.db" in line["message"]


def test_waiting_for_a_store_tells_no_password(tmp_path: Path) -> None:
    stores = {
        "PAYROUTER_REDIS_URL": "redis://me:s3cret@127.0.0.1:1",
        "PAYROUTER_POSTGRES_URL": "postgresql://me:s3cret@127.0.0.1:1/books",
        "PAYROUTER_PROCESSORS": PROCESSORS,
        "PAYROUTER_LOG_FORMAT": "json",
    }
    with started([*COMMAND, "dispatcher"], tmp_path, **stores) as process:
        told = json.loads(process.line("waiting for Redis"))
        assert told["level"] == "warning"
        assert "s3cret" not in process.err + process.out
        process.stop(signal.SIGKILL)
