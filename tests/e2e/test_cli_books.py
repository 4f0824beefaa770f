"""`payrouter summary` and `payrouter audit`, against a router and two simulated processors."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli_client import TOKEN, Service, new_id, payrouter, processors_json, router, simulator, wait_for

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 8


@dataclass
class Bed:
    """Two processors, and a router that settled `COUNT` payments of 19.90 at default."""

    folder: Path
    default: Service
    fallback: Service
    router: Service
    processors: str
    ids: list[str]

    def run(self, *arguments: str, **settings: str) -> tuple[int, str]:
        ended = payrouter(self.folder, *arguments, **{"PAYROUTER_PROCESSORS": self.processors} | settings)
        assert "Traceback" not in ended.stderr
        return ended.returncode, ended.stdout + ended.stderr

    def json(self, *arguments: str) -> tuple[int, Any]:
        code, text = self.run(*arguments, "--json")
        return code, json.loads(text)

    def theirs(self) -> list[dict[str, Any]]:
        return self.default.call("GET", "/admin/payments", **TOKEN)[1]["payments"]

    def rewrite(self, payments: list[dict[str, Any]]) -> None:
        """Make these the books of default."""
        self.default.call("POST", "/admin/purge-payments", **TOKEN)
        for one in payments:
            assert self.default.call("POST", "/payments", one)[0] == 200


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    with ExitStack() as stack:
        default = stack.enter_context(simulator(folder))
        fallback = stack.enter_context(simulator(folder, "fallback", "--fee", "0.15"))
        processors = processors_json(default=default.url, fallback=fallback.url)
        serving = stack.enter_context(router(folder, PAYROUTER_PROCESSORS=processors))
        ids = [new_id() for _ in range(COUNT)]
        assert [serving.pay(one) for one in ids] == [202] * COUNT
        wait_for(lambda: serving.call("GET", "/payments-summary")[1]["default"]["totalRequests"] == COUNT)
        # The audit takes a window as closed two seconds after its end.
        time.sleep(2.1)
        yield Bed(folder, default, fallback, serving, processors, ids)


@pytest.fixture
def agreeing(bed):
    """The bed, and afterwards its processors' books as they were."""
    before = bed.theirs()
    yield bed
    bed.rewrite(before)
    bed.fallback.call("POST", "/admin/purge-payments", **TOKEN)


def test_the_summary_shows_payments_amounts_fees_and_shares(bed):
    code, text = bed.run("summary")
    assert code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    assert ["default", "8", "159.20", "7.96", "100.0 %"] in rows
    assert ["fallback", "0", "0.00", "0.00", "0.0 %"] in rows
    assert ["Total", "8", "159.20", "7.96", "100.0 %"] in rows


def test_the_summary_as_json_is_exact_and_knows_its_window(bed):
    code, answer = bed.json("summary", "--to", "2100-01-01T00:00:00Z")
    assert code == 0
    assert (answer["from"], answer["to"]) == (None, "2100-01-01T00:00:00.000000Z")
    assert answer["total"] == {"totalRequests": 8, "totalAmount": 159.2, "totalFee": 7.96}
    assert answer["processors"]["default"]["share"] == 1
    code, answer = bed.json("summary", "--from", "2100-01-01T00:00:00Z")
    assert (code, answer["total"]["totalRequests"]) == (0, 0)


def test_the_summary_needs_no_processors_but_then_knows_no_fees(bed):
    ended = payrouter(bed.folder, "summary")
    assert ended.returncode == 0
    assert "unknown" in ended.stdout


def test_books_that_agree_say_so_with_counts_and_end_with_zero(bed):
    code, text = bed.run("audit")
    assert code == 0
    assert "books agree: 8 payments, 159.20, at 2 processors" in text
    code, answer = bed.json("audit")
    assert (code, answer["agree"], answer["differences"]) == (0, True, [])
    assert answer["processors"]["default"]["ours"] == {"totalRequests": 8, "totalAmount": 159.2}


def test_a_payment_outside_the_window_is_not_compared(agreeing):
    agreeing.rewrite([])
    assert agreeing.json("audit", "--to", "2020-01-01T00:00:00Z")[0] == 0
    assert agreeing.json("audit", "--from", "2020-01-01T00:00:00Z")[0] == 1


def test_each_kind_of_difference_is_found_by_payment(agreeing):
    books = agreeing.theirs()
    missing_there, other_amount, other_instant, twice = books[:4]
    kept = [one for one in books if one is not missing_there]
    other_amount["amount"] = 19.91
    other_instant["requestedAt"] = (
        other_instant["requestedAt"][:-2] + ("1Z", "2Z")[other_instant["requestedAt"][-2] == "1"]
    )
    stray = {"correlationId": new_id(), "amount": 5, "requestedAt": books[0]["requestedAt"]}
    agreeing.rewrite([*kept, stray])
    assert agreeing.fallback.call("POST", "/payments", twice)[0] == 200

    code, answer = agreeing.json("audit")
    assert code == 1
    assert {(one["difference"], one["processor"], one["correlationId"]) for one in answer["differences"]} == {
        ("missing there", "default", missing_there["correlationId"]),
        ("missing here", "default", stray["correlationId"]),
        ("amount differs", "default", other_amount["correlationId"]),
        ("instant differs", "default", other_instant["correlationId"]),
        ("charged twice", "fallback", twice["correlationId"]),
    }
    code, text = agreeing.run("audit")
    assert code == 1
    assert "Differences: 5" in text
    assert f"{missing_there['correlationId']} │" in text
    assert "books differ: " in text


def test_more_differences_than_a_table_holds_are_counted(agreeing):
    at = agreeing.theirs()[0]["requestedAt"]
    agreeing.rewrite([{"correlationId": new_id(), "amount": 1, "requestedAt": at} for _ in range(60)])
    code, text = agreeing.run("audit")
    assert code == 1
    assert "Differences: the first 50 of 68" in text
    assert "60 missing here" in text
    assert "8 missing there" in text


def test_an_unresolved_attempt_is_listed_and_is_no_difference(tmp_path):
    with simulator(tmp_path) as default:
        processors = processors_json(default=default.url)
        default.faults(status=502)
        with router(tmp_path, PAYROUTER_PROCESSORS=processors) as serving:
            pinned = new_id()
            serving.pay(pinned)
            wait_for(lambda: serving.state(pinned) == "pinned")
        time.sleep(2)
        ended = payrouter(tmp_path, "audit", "--json", PAYROUTER_PROCESSORS=processors)
        answer = json.loads(ended.stdout)
        assert (ended.returncode, answer["agree"], answer["unresolvedCount"]) == (0, True, 1)
        assert answer["unresolved"][0]["correlationId"] == pinned


def test_a_wrong_token_is_said_with_what_to_do(bed):
    wrong = json.loads(bed.processors)
    wrong[0]["admin_token"] = "no"
    code, text = bed.run("audit", PAYROUTER_PROCESSORS=json.dumps(wrong))
    assert code == 2
    assert "processor default refused the admin token (401); set its admin_token in PAYROUTER_PROCESSORS" in text


def test_a_processor_that_cannot_be_asked_is_named(bed):
    processors = processors_json(default=bed.default.url, fallback="http://127.0.0.1:1")
    code, text = bed.run("audit", PAYROUTER_PROCESSORS=processors)
    assert code == 2
    assert "processor fallback cannot be asked: cannot connect: " in text


def test_something_that_is_no_processor_is_named(bed):
    processors = processors_json(default=bed.router.url)
    code, text = bed.run("audit", PAYROUTER_PROCESSORS=processors)
    assert code == 2
    assert "processor default answered 404; check its url" in text


def test_payments_of_a_former_processor_are_said_not_to_be_compared(bed):
    code, text = bed.run("audit", PAYROUTER_PROCESSORS=processors_json(fallback=bed.fallback.url))
    assert code == 0
    assert "Not compared: 8 payments, 159.20, at default" in text


def test_the_books_can_be_read_while_no_router_runs_and_a_router_can_run_again(tmp_path):
    with simulator(tmp_path) as default:
        processors = processors_json(default=default.url)
        with router(tmp_path, PAYROUTER_PROCESSORS=processors) as serving:
            serving.pay(new_id())
            wait_for(lambda: serving.call("GET", "/payments-summary")[1]["default"]["totalRequests"] == 1)
        ended = payrouter(tmp_path, "summary", "--json")
        assert json.loads(ended.stdout)["total"]["totalRequests"] == 1
        with router(tmp_path, PAYROUTER_PROCESSORS=processors) as serving:
            assert serving.call("GET", "/payments-summary")[1]["default"]["totalRequests"] == 1
