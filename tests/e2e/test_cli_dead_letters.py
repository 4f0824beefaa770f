"""`payrouter dead-letters`, while a router runs and while none does."""

from __future__ import annotations

import json
from contextlib import contextmanager

from e2e.cli_client import new_id, payrouter, processors_json, router, simulator, wait_for


@contextmanager
def served(folder):
    with simulator(folder) as default:
        settings = {"PAYROUTER_PROCESSORS": processors_json(default=default.url)}
        with router(folder, **settings) as serving:
            yield default, serving, settings


def listed(folder, *arguments):
    ended = payrouter(folder, "dead-letters", "list", "--json", *arguments)
    assert ended.returncode == 0
    return json.loads(ended.stdout)


def bury(serving, default, count=1):
    """Return payments that default has refused for good."""
    default.faults(status=400)
    ids = [new_id() for _ in range(count)]
    for one in ids:
        assert serving.pay(one) == 202
    wait_for(lambda: all(serving.state(one) == "dead-letter" for one in ids))
    default.faults(status=None)
    return ids


def test_dead_letters_are_listed_and_sent_again_all_or_none_while_a_router_runs(tmp_path):
    with served(tmp_path) as (default, serving, _):
        assert payrouter(tmp_path, "dead-letters", "list").stdout == "no dead letters\n"
        assert payrouter(tmp_path, "dead-letters", "retry", "--all").stdout == "no dead letters\n"
        first, second, third = bury(serving, default, 3)
        answer = listed(tmp_path, "--limit", "2")
        assert answer["count"] == 3
        assert [one["correlationId"] for one in answer["deadLetters"]] == [first, second]
        assert answer["deadLetters"][0]["amount"] == 19.9
        assert "answered 400" in answer["deadLetters"][0]["reason"]
        shown = payrouter(tmp_path, "dead-letters", "list", "--limit", "1").stdout
        assert "the oldest 1 of 3" in shown
        assert first in shown

        ended = payrouter(tmp_path, "dead-letters", "retry", second.upper(), second)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == "1 back in the queue; the running router takes over within seconds\n"
        wait_for(lambda: serving.state(second) == "settled")
        assert serving.state(first) == "dead-letter"

        unknown = new_id()
        ended = payrouter(tmp_path, "dead-letters", "retry", first, second, unknown)
        assert ended.returncode == 1
        assert f"{second} is settled" in ended.stderr
        assert f"{unknown} is unknown here" in ended.stderr
        assert serving.state(first) == "dead-letter"

        ended = payrouter(tmp_path, "dead-letters", "retry", "--all", "--yes", "--json")
        assert json.loads(ended.stdout) == {"sentAgain": 2, "routerRunning": True}
        wait_for(lambda: [serving.state(one) for one in (first, third)] == ["settled"] * 2)
        assert listed(tmp_path) == {"count": 0, "deadLetters": [], "poisonCount": 0, "poison": []}


def test_one_that_is_unresolved_repeats_its_attempt_at_the_same_processor(tmp_path):
    with served(tmp_path) as (default, serving, _):
        payment = new_id()
        default.faults(status=502)
        serving.pay(payment)
        wait_for(lambda: serving.state(payment) == "pinned")
        requested_at = serving.call("GET", f"/payments/{payment}")[1]["requestedAt"]
        default.faults(status=400)
        wait_for(lambda: serving.state(payment) == "dead-letter")
        assert listed(tmp_path)["deadLetters"][0]["unresolvedAt"] == "default"
        default.faults(status=None)
        assert payrouter(tmp_path, "dead-letters", "retry", payment).returncode == 0
        wait_for(lambda: serving.state(payment) == "settled")
        assert default.call("GET", f"/payments/{payment}")[1]["requestedAt"] == requested_at


def test_without_a_router_they_wait_for_the_next_one(tmp_path):
    with simulator(tmp_path) as default:
        settings = {"PAYROUTER_PROCESSORS": processors_json(default=default.url)}
        with router(tmp_path, **settings) as serving:
            (dead,) = bury(serving, default)
        ended = payrouter(tmp_path, "dead-letters", "retry", dead)
        assert ended.stdout == "1 back in the queue; sent when a router runs again\n"
        with router(tmp_path, **settings) as serving:
            wait_for(lambda: serving.state(dead) == "settled")
