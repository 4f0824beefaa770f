"""`deploy/nginx.conf` in a real nginx before two APIs: what is asked again, what never is, what nginx refuses."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from integration.api_stand_ins import ApiStandIn, api_stand_ins
from integration.raw_http import Answer
from payrouter_lab.cluster.binaries import path_of
from payrouter_lab.cluster.deployed import nginx_config
from payrouter_lab.cluster.nginx import NginxServer, local_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAYMENT = b'{"correlationId": "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3", "amount": 19.90}'
# How long it waits for an API that hangs: the deployed patience, and one for tests.
HANGS, HANGS_HERE = "proxy_read_timeout 5s;", "proxy_read_timeout 1s;"


class Balanced:
    """nginx and the two APIs behind it."""

    def __init__(self, nginx: NginxServer, apis: tuple[ApiStandIn, ApiStandIn]) -> None:
        self.nginx = nginx
        self.apis = apis
        self.first, self.second = apis

    @property
    def asked(self) -> list[str]:
        return self.first.asked + self.second.asked

    def behave(self, manner: str) -> None:
        for api in self.apis:
            api.manner = manner

    def call(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.nginx.port, timeout=10)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            given = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, given, response.read())
        finally:
            connection.close()

    def pay(self) -> int:
        return self.call("POST", "/payments", PAYMENT).status

    def raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.nginx.port), timeout=5) as client:
            client.sendall(data)
            return client.recv(65536)


@contextmanager
def balanced(folder: Path, *changes: tuple[str, str]) -> Iterator[Balanced]:
    with api_stand_ins(folder) as apis:
        text = nginx_config()
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        nginx = NginxServer(folder / "nginx", "")
        paths = [api.path for api in apis]
        nginx.config = local_config(text, port=nginx.port, apis=paths, directory=nginx.directory)
        with nginx:
            yield Balanced(nginx, apis)


@pytest.fixture
def bed(servers_directory: Path, tmp_path: Path) -> Iterator[Balanced]:
    with balanced(tmp_path) as both:
        yield both


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    text = local_config(nginx_config(), port=1, apis=[tmp_path / "a", tmp_path / "b"], directory=tmp_path)
    (tmp_path / "nginx.conf").write_text(text)
    done = subprocess.run(
        [path_of("nginx"), "-t", "-e", "stderr", "-c", str(tmp_path / "nginx.conf")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"[warn]" not in done.stderr


# -- who is asked, and who is asked again


def test_both_apis_are_asked_over_connections_that_are_kept(bed: Balanced) -> None:
    with ThreadPoolExecutor(8) as clients:
        assert set(clients.map(lambda _: bed.pay(), range(200))) == {202}
    assert len(bed.asked) == 200
    assert min(len(api.asked) for api in bed.apis) > 0
    assert len(bed.first.connections | bed.second.connections) <= 16


def test_a_payment_whose_api_dies_before_it_answers_is_given_to_the_other(bed: Balanced) -> None:
    bed.first.manner = "cut"
    assert [bed.pay() for _ in range(10)] == [202] * 10
    assert len(bed.second.asked) == 10
    assert bed.first.asked


def test_a_question_is_asked_again_and_any_other_post_is_not(bed: Balanced) -> None:
    bed.behave("cut")
    assert bed.call("GET", "/payments-summary").status == 502
    assert bed.asked == ["GET /payments-summary"] * 2
    assert bed.call("POST", "/other", b"x").status == 502
    assert bed.asked.count("POST /other x") == 1


KEYS = {
    "Authorization": "Bearer 0123456789abcdef",
    "X-API-Key": "0123456789abcdef",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
}


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "wait=5"}])
def test_keys_preferences_and_traces_pass_through_and_nginx_says_who_asks(
    bed: Balanced, prefer: dict[str, str]
) -> None:
    sent = {**KEYS, **prefer, "X-Real-IP": "192.0.2.1"}
    assert bed.call("POST", "/payments", PAYMENT, sent).status == 202
    assert bed.asked == [f"POST /payments {PAYMENT.decode()[:80]}"]
    (got,) = bed.first.headers + bed.second.headers
    assert {name: got.get(name.lower()) for name in sent} == {**sent, "X-Real-IP": "127.0.0.1"}


def test_a_payment_that_waits_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    with balanced(tmp_path, (HANGS, HANGS_HERE)) as bed:
        bed.behave("hang")
        with ThreadPoolExecutor(1) as clients:
            waiting = clients.submit(bed.call, "POST", "/payments?x=1", PAYMENT, {"Prefer": "respond-async, wait = 5"})
            time.sleep(2.0)
            assert bed.asked == [f"POST /payments?x=1 {PAYMENT.decode()[:80]}"]
            for api in bed.apis:
                api.let_go()
            assert waiting.result().status == 202


def test_a_payment_that_waits_is_given_to_the_other_api_as_any_other(bed: Balanced) -> None:
    bed.first.manner = "cut"
    assert [bed.call("POST", "/payments", PAYMENT, {"Prefer": "wait=1"}).status for _ in range(10)] == [202] * 10
    bed.second.manner = "cut"
    refused = bed.call("POST", "/payments", PAYMENT, {"Prefer": "wait=1"})
    assert (refused.status, refused.headers["content-type"]) == (502, "application/problem+json")
    assert bed.call("GET", "/payments", headers={"Prefer": "wait=1"}).status == 502


def test_a_client_that_waits_no_longer_is_not_waited_for(bed: Balanced) -> None:
    bed.behave("hang")
    with socket.create_connection(("127.0.0.1", bed.nginx.port), timeout=5) as client:
        head = f"POST /payments HTTP/1.1\r\nHost: a\r\nPrefer: wait=9\r\nContent-Length: {len(PAYMENT)}\r\n\r\n"
        client.sendall(head.encode() + PAYMENT)
        while not bed.asked:
            time.sleep(0.01)
        (held,) = bed.first.held + bed.second.held
        assert not held.client_gone
    deadline_s = time.monotonic() + 5
    while not held.client_gone:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_where_payments_wait_cannot_be_asked_for(bed: Balanced) -> None:
    assert bed.call("POST", "/payments-waiting", PAYMENT).status == 404
    assert bed.asked == []


def test_a_purge_that_was_sent_is_never_repeated(bed: Balanced) -> None:
    bed.behave("cut")
    answers = [bed.call("POST", "/purge-payments") for _ in range(4)]
    assert [answer.status for answer in answers] == [502] * 4
    assert bed.asked == ["POST /purge-payments"] * 4


def test_a_purge_goes_to_the_api_that_is_there(bed: Balanced) -> None:
    bed.first.stop()
    assert [bed.call("POST", "/purge-payments").status for _ in range(4)] == [202] * 4
    assert bed.second.asked == ["POST /purge-payments"] * 4


def test_an_api_that_hangs_delays_only_what_it_holds(tmp_path: Path) -> None:
    with balanced(tmp_path, (HANGS, HANGS_HERE)) as bed:
        bed.behave("hang")
        with ThreadPoolExecutor(1) as clients:
            held = clients.submit(bed.pay)
            while not bed.asked:
                time.sleep(0.01)
            hung, other = bed.apis if bed.first.asked else bed.apis[::-1]
            other.manner = "answer"
            since_s = time.monotonic()
            assert [bed.pay() for _ in range(20)] == [202] * 20
            assert time.monotonic() - since_s < 0.9
            assert held.result() == 202
        assert (len(hung.asked), len(other.asked)) == (1, 21)


def test_restarting_one_api_after_the_other_loses_nothing(bed: Balanced) -> None:
    statuses: list[int] = []
    ended = threading.Event()

    def pay_on() -> None:
        while not ended.is_set():
            statuses.append(bed.pay())

    payers = [threading.Thread(target=pay_on) for _ in range(4)]
    for payer in payers:
        payer.start()
    try:
        for api in bed.apis * 2:
            api.stop()
            time.sleep(0.05)
            api.start()
    finally:
        ended.set()
        for payer in payers:
            payer.join()
    assert len(statuses) > 50
    assert set(statuses) == {202}


def test_with_no_api_left_it_says_so_and_serves_as_soon_as_one_is_back(bed: Balanced) -> None:
    for api in bed.apis:
        api.stop()
    for _ in range(3):
        answer = bed.call("POST", "/payments", PAYMENT)
        assert (answer.status, answer.headers["retry-after"]) == (502, "1")
        assert "correlationId" in problem(answer)["detail"]
    bed.first.start()
    assert [bed.pay() for _ in range(5)] == [202] * 5


# -- what is refused, and by whom


def problem(answer: Answer) -> dict[str, object]:
    """Return the problem document, which must fit its answer."""
    assert answer.headers["content-type"] == "application/problem+json"
    found = json.loads(answer.body)
    assert (found["type"], found["status"]) == ("about:blank", answer.status)
    assert found["title"]
    assert found["detail"]
    return dict(found)


def test_what_an_api_refuses_passes_unchanged(bed: Balanced) -> None:
    bed.behave("refuse")
    answer = bed.call("POST", "/payments", PAYMENT)
    assert (answer.status, answer.body) == (503, b'{"detail":"mine"}')
    assert (answer.headers["content-type"], answer.headers["x-own"]) == ("application/x-mine", "1")
    assert len(bed.asked) == 1


def test_bodies_and_heads_are_bounded_as_by_the_api(bed: Balanced) -> None:
    assert bed.call("POST", "/payments", b"x" * 65_536).status == 202
    assert bed.call("GET", "/payments-summary", headers={"A": "a" * 16_000}).status == 202
    asked = len(bed.asked)
    for status, answer in {
        413: bed.call("POST", "/payments", b"x" * 65_537),
        431: bed.call("GET", "/payments-summary", headers={"A": "a" * 17_000}),
        414: bed.call("GET", "/" + "a" * 17_000),
    }.items():
        assert answer.status == status
        assert "retry-after" not in answer.headers
        problem(answer)
    assert len(bed.asked) == asked


def test_what_is_not_http_and_what_is_internal_gets_a_problem_document(bed: Balanced) -> None:
    head, _, body = bed.raw(b"what is this\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400
    answer = bed.call("GET", "/problem")
    assert answer.status == 404
    problem(answer)
    assert bed.asked == []


def test_trace_is_refused_with_the_methods_there_are(bed: Balanced) -> None:
    for target, allowed in {
        "/payments": "POST",
        "/purge-payments?": "POST",
        "/payments/x": "GET",
        "/health": "GET",
    }.items():
        answer = bed.call("TRACE", target)
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
        problem(answer)
    assert bed.asked == []


@pytest.mark.parametrize(
    "line", ["GET /health", "GET /nowhere", "GET /%zz", "GET /payments-summary?from=x", 'G_T-S /health"HTTP/1.1']
)
def test_http_0_9_is_cut_off_as_its_answer_would_have_no_head(bed: Balanced, line: str) -> None:
    with pytest.raises(ConnectionResetError):
        bed.raw(f"{line}\r\n".encode())
    assert bed.asked == []


def test_more_requests_at_once_than_fit_into_its_memory_are_told_to_come_back(tmp_path: Path) -> None:
    with balanced(tmp_path, ("limit_conn under_way 800;", "limit_conn under_way 2;")) as bed:
        bed.behave("hang")
        with ThreadPoolExecutor(2) as clients:
            held = [clients.submit(bed.pay) for _ in range(2)]
            while len(bed.asked) < 2:
                time.sleep(0.01)
            answer = bed.call("POST", "/payments", PAYMENT)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            problem(answer)
            for api in bed.apis:
                api.let_go()
            assert [one.result() for one in held] == [202, 202]
        bed.behave("answer")
        assert bed.pay() == 202
