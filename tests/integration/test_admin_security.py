"""The operator's pages from outside: what somebody without the token, and what another site in a browser, can do."""

from __future__ import annotations

import http.client
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from integration.admin_client import Operator
from integration.raw_http import scenario
from integration.router_service import running_service
from payrouter.adapters.http.message import Request
from payrouter.entrypoints.admin import sessions
from payrouter.entrypoints.admin.sessions import LASTS_S, MOST_SESSIONS, Sessions
from payrouter.settings import Address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "operator-token-0123456789"
FREE = Address("127.0.0.1", 0)
READ = ("/", "/api/session", "/api/overview", "/api/history", "/api/events", "/api/dead-letters", "/api/audit")
CHANGES = (
    "/api/processors/default/pause",
    "/api/processors/default/resume",
    "/api/dead-letters/retry",
    "/api/audit",
    "/logout",
)
TRUE_PRICE_S = sessions.WRONG_COSTS_S
PAUSE = "/api/processors/default/pause"


@contextmanager
def operated(folder: Path, token: str = TOKEN) -> Iterator[Operator]:
    with running_service(folder, admin_bind=FREE, admin_token=token) as service:
        assert service.pages is not None
        yield Operator(service.pages)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, operated(tmp_path_factory.mktemp("guarded")) as operator:
        # Every test here guesses once or twice; those about guessing have its true price.
        patch.setattr(sessions, "WRONG_COSTS_S", 0.01)
        yield operator


@pytest.fixture
def true_price(monkeypatch):
    monkeypatch.setattr(sessions, "WRONG_COSTS_S", TRUE_PRICE_S)


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory):
    with operated(tmp_path_factory.mktemp("unguarded"), "") as operator:
        yield operator


def stranger(operator: Operator) -> Operator:
    """Somebody else at the same address."""
    return Operator(operator.address)


def signed_in(operator: Operator) -> Operator:
    one = stranger(operator)
    assert one.sign_in(TOKEN).status == 303
    return one


def raw(operator: Operator, text: str) -> bytes:
    with socket.create_connection((operator.address.host, operator.address.port), timeout=5) as client:
        client.sendall(text.replace("\n", "\r\n").encode("latin-1"))
        received = b""
        while piece := client.recv(65536):
            received += piece
        return received


# -- without the token


@pytest.mark.parametrize("path", [*READ, "/api/payments/4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3", "/metrics", "/x"])
def test_nothing_is_shown_without_the_token(guarded, path):
    got = stranger(guarded).get(path)
    if path == "/":
        assert (got.status, got.headers["location"]) == (303, "/login")
    else:
        assert (got.status, got.headers["www-authenticate"]) == (401, "Bearer")
        assert got.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", CHANGES)
def test_nothing_is_changed_without_the_token(guarded, path):
    assert stranger(guarded).call("POST", path, "{}", X_CSRF_Token="x").status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "payrouter_session="},
        {"Cookie": "payrouter_session=x"},
        {"Cookie": f"payrouter_session={TOKEN}"},
        {"Cookie": "payrouter_session=" + "x" * 8000},
        {"Cookie": 'payrouter_session="\\073"; ; =; payrouter_session=None'},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"X-API-Key": TOKEN},
        {"X-Real-IP": "127.0.0.1", "X-Forwarded-For": "127.0.0.1", "Host": "127.0.0.1"},
    ],
)
def test_no_other_header_opens_anything(guarded, headers):
    got = Operator(guarded.address, headers).get("/api/overview")
    assert got.status == 401
    assert TOKEN.encode() not in got.body


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%2fapp.py",
        "/assets//etc/passwd",
        "/assets/index.html",
        "/assets/login.html",
        "/assets/.gitkeep",
        "/assets/",
    ],
)
def test_assets_are_the_listed_files_and_nothing_else_on_the_disk(guarded, path):
    assert stranger(guarded).get(path).status == 404


def test_a_program_with_the_token_may_do_everything(guarded):
    program = Operator(guarded.address, {"Authorization": f"Bearer {TOKEN}"})
    assert program.get("/api/overview").status == 200
    assert program.call("POST", "/api/processors/default/resume").status == 200


# -- the session


def test_the_cookie_is_for_this_address_and_no_script(guarded):
    cookie = stranger(guarded).sign_in(TOKEN).headers["set-cookie"]
    name, *flags = cookie.split("; ")
    assert name.startswith("payrouter_session=")
    assert len(name.partition("=")[2]) >= 40
    assert set(flags) == {"Path=/", f"Max-Age={LASTS_S:.0f}", "HttpOnly", "SameSite=Strict"}
    behind_tls = Operator(guarded.address, {"X-Forwarded-Proto": "https"}).sign_in(TOKEN)
    assert "Secure" in behind_tls.headers["set-cookie"].split("; ")


def test_a_session_brought_along_is_not_taken_over_at_sign_in(guarded):
    planted = "payrouter_session=planted-by-somebody-else"
    victim = Operator(guarded.address, {"Cookie": planted})
    victim.sign_in(TOKEN)
    assert victim.headers["Cookie"] != planted
    assert Operator(guarded.address, {"Cookie": planted}).get("/api/overview").status == 401


def test_every_session_has_a_word_of_its_own_and_ends_with_signing_out(guarded):
    one, other = signed_in(guarded), signed_in(guarded)
    assert one.json("/api/session")["csrf"] != other.json("/api/session")["csrf"]
    assert one.change("/logout").status == 303
    assert one.get("/api/overview").status == 401
    assert other.get("/api/overview").status == 200


def test_what_was_open_ends_with_signing_out(guarded):
    one = signed_in(guarded)
    connection = http.client.HTTPConnection(guarded.address.host, guarded.address.port, timeout=5)
    connection.request("GET", "/api/events", headers=one.headers)
    events = connection.getresponse()
    assert events.readline() == b"event: overview\n"
    one.change("/logout")
    events.read()  # returns, as the answer ends
    connection.close()


def test_what_was_open_ends_with_the_session(tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "LASTS_S", 1.0)
    with operated(tmp_path) as operator:
        one = signed_in(operator)
        connection = http.client.HTTPConnection(operator.address.host, operator.address.port, timeout=5)
        connection.request("GET", "/api/events", headers=one.headers)
        assert b"event: overview" in connection.getresponse().read()
        connection.close()
        assert one.get("/api/overview").status == 401


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def request(**headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(b"GET", b"/", pairs)


@scenario
async def test_a_session_ends_by_itself_and_the_oldest_when_there_are_too_many():
    clock = Clock()
    signed_in_here = Sessions(TOKEN, clock)
    first = await signed_in_here.sign_in(TOKEN)
    cookie = request(cookie=f"payrouter_session={first.key}")
    clock.now_s = LASTS_S - 1
    assert signed_in_here.of(cookie) is first
    clock.now_s = LASTS_S + 1
    assert signed_in_here.of(cookie) is None
    clock.now_s = 0.0
    assert signed_in_here.of(cookie) is None  # gone for good
    kept = [await signed_in_here.sign_in(TOKEN) for _ in range(MOST_SESSIONS + 1)]
    assert signed_in_here.of(request(cookie=f"payrouter_session={kept[0].key}")) is None
    assert signed_in_here.of(request(cookie=f"payrouter_session={kept[-1].key}")) is kept[-1]


# -- another site in the operator's browser


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "guessed"},
        {"Origin": "http://evil.example", "right": "yes"},
        {"Origin": "null", "right": "yes"},
        {"Origin": "http://127.0.0.1:1", "right": "yes"},
        {"Sec-Fetch-Site": "cross-site", "right": "yes"},
        {"Sec-Fetch-Site": "same-site", "right": "yes"},
    ],
)
@pytest.mark.parametrize("where", ["guarded", "unguarded"])
def test_a_change_that_another_site_sends_is_refused(request, where, headers):
    operator = request.getfixturevalue(where)
    one = signed_in(operator) if where == "guarded" else stranger(operator)
    given = dict(headers)
    if given.pop("right", None):
        given["X-CSRF-Token"] = one.json("/api/session")["csrf"]
    for path in CHANGES:
        assert Operator(one.address, one.headers | given).call("POST", path, "{}").status == 403
    assert not any(processor["paused"] for processor in one.json("/api/overview")["processors"])


def test_the_word_of_another_session_is_worth_nothing(guarded):
    one, other = signed_in(guarded), signed_in(guarded)
    word = other.json("/api/session")["csrf"]
    assert one.call("POST", PAUSE, X_CSRF_Token=word).status == 403


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
def test_another_site_cannot_sign_a_browser_in(guarded, headers):
    got = Operator(guarded.address, headers).sign_in(TOKEN)
    assert (got.status, "set-cookie" in got.headers) == (403, False)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "192.168.0.1",
        "0.0.0.0",
        "[::2]",
        "[::1].evil.example",
        "127.0.0.1@evil.example",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/session", "/api/overview", "/assets/app.js", "/login"])
def test_without_a_token_a_name_that_somebody_points_at_this_machine_gets_nothing(unguarded, host, path):
    answer = raw(unguarded, f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close\n\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"PAYROUTER_ADMIN_TOKEN" in answer


def test_nor_does_a_request_without_any_name(unguarded):
    assert b" 403 " in raw(unguarded, "GET /api/overview HTTP/1.0\n\n").partition(b"\r\n")[0]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"])
def test_this_machines_own_names_are_taken(unguarded, host):
    answer = raw(unguarded, f"GET /api/overview HTTP/1.1\nHost: {host}\nConnection: close\n\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/", "/login", "/assets/app.js", "/api/overview", "/api/nothing", "/api/session"])
def test_no_answer_can_be_framed_sniffed_or_read_by_another_site(guarded, path):
    got = signed_in(guarded).get(path, Origin="http://evil.example")
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert got.headers["x-frame-options"] == "DENY"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["referrer-policy"] == "same-origin"
    assert not [name for name in got.headers if name.startswith("access-control-")]
    if not path.startswith("/assets/"):
        assert got.headers["cache-control"] == "no-store"


def test_pages_have_neither_scripts_nor_styles_in_them(guarded):
    one = signed_in(guarded)
    for path in ("/", "/login"):
        page = one.get(path).body.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert " onclick=" not in page
        for script in page.split("<script")[1:]:
            assert script.partition("</script>")[0].rstrip().endswith(">")
            assert "src=" in script.partition(">")[0]
        assert "http://" not in page.replace("http://www.w3.org/", "")
        assert "https://" not in page


# -- guessing


def test_guessing_by_the_page_is_slow_however_many_try_at_once(tmp_path, true_price):
    with operated(tmp_path) as operator, ThreadPoolExecutor(12) as many:
        began_s = time.monotonic()
        got = list(many.map(lambda number: stranger(operator).sign_in(f"guess-{number}-0123456789"), range(24)))
        took_s = time.monotonic() - began_s
        tried = [one for one in got if one.status == 303]
        assert {one.status for one in got} == {303, 429}
        assert {one.headers["location"] for one in tried} == {"/login?wrong=1"}
        assert len(tried) <= 4 * (took_s + 1)
        assert not any("set-cookie" in one.headers for one in got)
        assert all("retry-after" in one.headers for one in got if one.status == 429)


def test_guessing_by_header_is_as_slow_and_the_right_one_is_not_told_apart_meanwhile(tmp_path, true_price):
    with operated(tmp_path) as operator, ThreadPoolExecutor(13) as many:

        def guess(number: int) -> int:
            token = TOKEN if number == 20 else f"guess-{number}-0123456789"
            return Operator(operator.address, {"Authorization": f"Bearer {token}"}).get("/api/overview").status

        began_s = time.monotonic()
        got = list(many.map(guess, range(24)))
        took_s = time.monotonic() - began_s
        assert got.count(401) <= 4 * (took_s + 1)
        assert got[20] == 429
        time.sleep(1.1)
        assert guess(20) == 200


def test_guesses_from_elsewhere_do_not_keep_an_operator_out(tmp_path, true_price):
    with operated(tmp_path) as operator, ThreadPoolExecutor(8) as many:
        guesses = [many.submit(stranger(operator).sign_in, f"guess-{number}-0123456789") for number in range(8)]
        time.sleep(0.3)
        connection = http.client.HTTPConnection(
            operator.address.host, operator.address.port, timeout=5, source_address=("127.0.0.2", 0)
        )
        connection.request("POST", "/login", f"token={TOKEN}")
        assert connection.getresponse().status == 303
        connection.close()
        assert {one.result().status for one in guesses} == {303, 429}


def test_the_token_is_in_no_log_and_on_no_page(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG), operated(tmp_path) as operator:
        stranger(operator).sign_in("wrong-token-0123456789")
        one = signed_in(operator)
        key = one.headers["Cookie"].partition("=")[2]
        shown = b"".join(one.get(path).body for path in (*READ, "/login", "/metrics") if path != "/api/events")
        Operator(operator.address, {"Authorization": f"Bearer {TOKEN}"}).get("/api/nothing")
    assert "wrong token" in caplog.text
    for secret in (TOKEN, "wrong-token-0123456789", key):
        assert secret not in caplog.text
        assert secret.encode() not in shown


def test_a_form_that_is_no_form_is_a_wrong_token(guarded):
    for body in (b"", b"token", b"token=\xff\xfe%ff%fe", b"token=" + b"x" * 60_000, b"\x00" * 100):
        got = stranger(guarded).call("POST", "/login", body)
        assert (got.status, got.headers["location"]) == (303, "/login?wrong=1")
    assert stranger(guarded).call("POST", "/login", b"token=" + b"x" * 70_000).status == 413
