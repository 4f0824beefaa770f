"""Webhooks from a real router and a real cluster, through kills: each settled payment and dead letter is told."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
import time
from pathlib import Path

from e2e.cli_client import payrouter
from e2e.cluster_client import api, dispatcher, migrated, stores
from e2e.lives import behave, fill, free_port, lives, pay
from integration.receivers import Hook, webhook_server
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.keys import Keys
from payrouter.application.webhooks import MOST_AT_ONCE
from payrouter.domain.notice import LEASE_S
from payrouter_lab.bench.ids import payment_id

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes of key").decode()
PLAIN_SECRET = "no base64 in this one!".replace(" ", "-")


def wait_until(condition, within_s: float = 20.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "not in time"
        time.sleep(0.02)


def told_to(port: int, secret: str = SECRET) -> dict[str, str]:
    return {"PAYROUTER_WEBHOOK_URL": f"http://127.0.0.1:{port}/hook?shop=1", "PAYROUTER_WEBHOOK_SECRET": secret}


def test_what_settled_while_the_receiver_was_down_is_told_after_a_kill_and_a_restart(tmp_path):
    port = free_port()
    with lives(tmp_path, **told_to(port)) as router:
        router.start()
        settled = fill(router.port, 40, salt=71)
        router.wait_until_settled(len(settled), within_s=15)
        wait_until(lambda: "will be tried again: cannot connect" in router.log.read_text())
        behave(router.processors["default"], status=400)
        behave(router.processors["fallback"], status=400)
        dead = payment_id(72, 1, 1)
        assert pay(router.url, dead)[0] == 202
        wait_until(lambda: router.get(f"/payments/{dead}")["state"] == "dead-letter")
        router.kill()
        router.begin()
        with webhook_server(port) as receiver:
            router.wait_until_serving()
            wait_until(lambda: set(receiver.taken()) == settled and receiver.taken("payment.dead_letter") == [dead])
            hook = receiver.hooks[0]
            assert hook.path == "/hook?shop=1"
            [told] = [one.json() for one in receiver.hooks if one.json()["type"] == "payment.dead_letter"]
            assert told["data"] == router.get(f"/payments/{dead}")
            [told] = [one.json() for one in receiver.hooks if one.json()["data"]["correlationId"] == min(settled)]
            assert told["data"] == router.get(f"/payments/{min(settled)}")
            verify_as_the_page_says(SECRET, hook)
            assert _in_a_shell(tmp_path, hook, hook.body) == "genuine\n"
            assert _in_a_shell(tmp_path, hook, hook.body.replace(b"settled", b"Settled")) == "forged\n"
            time.sleep(0.3)
            # Delivered is delivered: another life tells nothing twice.
            router.kill()
            count = len(receiver.hooks)
            router.start()
            time.sleep(0.5)
            assert len(receiver.hooks) == count
        log = router.log.read_text()
        assert "Traceback" not in log
        assert "whsec_" not in log


def test_a_receiver_that_fails_and_redirects_delays_no_payment_and_hears_of_each_in_the_end(tmp_path):
    with webhook_server() as receiver, lives(tmp_path, **told_to(receiver.port, PLAIN_SECRET)) as router:
        receiver.status, receiver.headers = 302, {"Location": receiver.url}
        router.start()
        accepted = fill(router.port, 60, salt=73)
        assert router.wait_until_settled(len(accepted), within_s=15) < 10
        wait_until(lambda: len(receiver.hooks) >= 16)
        time.sleep(0.5)
        seen = len(receiver.hooks)
        time.sleep(1.5)
        # One a second in all while it is down.
        assert len(receiver.hooks) - seen <= 2
        receiver.status = 200
        wait_until(lambda: set(receiver.taken()) == accepted, within_s=30)
        ids = {one.headers["webhook-id"] for one in receiver.hooks}
        assert ids == {f"settled_{one}" for one in accepted}
        # Once it is up, each is taken once: no answer got lost here.
        assert len(receiver.taken()) == len(accepted)
        verify_as_the_page_says(PLAIN_SECRET, receiver.hooks[-1])


async def skip_leases(redis_url: str) -> None:
    """Let all that is claimed, or put off, be due now."""
    link, due = RedisLink(redis_url), Keys("webhooks").of_notices[0]
    await link.open(5.0)
    for member in await link.call("ZRANGE", due, 0, -1):
        await link.call("ZINCRBY", due, -round(LEASE_S * 1_000_000), member)
    await link.close()


def test_a_cluster_tells_everything_though_a_dispatcher_is_killed(tmp_path, redis_server, postgres_server):
    with webhook_server() as receiver, lives(tmp_path) as processors:
        url = postgres_server.create_database("webhooks")
        names = processors._settings["PAYROUTER_PROCESSORS"]
        settings = migrated(tmp_path, stores(redis_server.url, url, "webhooks", names)) | told_to(receiver.port)
        receiver.status = 500
        with api(tmp_path, settings) as front, dispatcher(tmp_path, settings):
            with dispatcher(tmp_path, settings) as victim:
                accepted = fill(int(front.url.rpartition(":")[2]), 300, salt=75)
                wait_until(lambda: len(receiver.hooks) > 10)
                victim.stop(9)
            receiver.status = 204
            wait_until(lambda: len(set(receiver.taken())) >= len(accepted) - MOST_AT_ONCE, within_s=25)
            time.sleep(1.0)
            # What the killed one had in its hands is due again when its lease ends, which takes long: let it.
            asyncio.run(skip_leases(redis_server.url))
            wait_until(lambda: set(receiver.taken()) == accepted, within_s=25)
            duplicates = len(receiver.taken()) - len(accepted)
            print(f"{len(accepted)} told, {duplicates} of them twice, {len(receiver.hooks)} webhooks in all")
            assert duplicates <= MOST_AT_ONCE
            time.sleep(0.5)
        with dispatcher(tmp_path, settings):
            told = len(receiver.hooks)
            time.sleep(1.0)
            assert len(receiver.hooks) == told


# -- what the page says


def _block(language: str, marker: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [found] = [block for block in blocks if marker in block]
    return found


def verify_as_the_page_says(secret: str, hook: Hook) -> None:
    namespace: dict = {}
    exec(compile(_block("python", "is_genuine"), str(PAGE), "exec"), namespace)
    is_genuine = namespace["is_genuine"]
    assert is_genuine(secret, hook.headers, hook.body)
    assert not is_genuine(secret, hook.headers, hook.body + b" ")
    assert not is_genuine("whsec_" + base64.b64encode(b"another key of 24 bytes!").decode(), hook.headers, hook.body)
    late = {**hook.headers, "webhook-timestamp": str(int(hook.headers["webhook-timestamp"]) - 400)}
    assert not is_genuine(secret, late, hook.body)


def _in_a_shell(folder: Path, hook: Hook, body: bytes) -> str:
    (folder / "body").write_bytes(body)
    given = {
        "id": hook.headers["webhook-id"],
        "timestamp": hook.headers["webhook-timestamp"],
        "signature": hook.headers["webhook-signature"],
        "secret": SECRET,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
    script = _block("sh", "openssl dgst")
    done = subprocess.run(["sh", "-c", script], cwd=folder, env=given, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_wrong_settings_are_named(tmp_path):
    processors = '[{"name":"default","url":"http://127.0.0.1:1","fee":"0.05"}]'
    wrong = {"PAYROUTER_WEBHOOK_URL": "http://", "PAYROUTER_WEBHOOK_SECRET": "whsec_no-base64-at-all"}
    ended = payrouter(tmp_path, "check", PAYROUTER_PROCESSORS=processors, **wrong)
    assert ended.returncode != 0
    assert "PAYROUTER_WEBHOOK_URL must look like https://host/path" in ended.stderr + ended.stdout
    wrong["PAYROUTER_WEBHOOK_URL"] = "https://shop.example/hook"
    ended = payrouter(tmp_path, "check", PAYROUTER_PROCESSORS=processors, **wrong)
    assert "after whsec_" in ended.stderr + ended.stdout
