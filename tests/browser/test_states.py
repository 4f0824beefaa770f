"""States of the page that a real router comes into only with effort, on a server with scripted numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from browser.fake_admin import PAYMENT, fake_admin, letter

if TYPE_CHECKING:
    from browser.conftest import Pages
    from browser.fake_admin import FakeAdmin

DIFFERING = {
    "state": "differ",
    "text": "the books differ",
    "at": "2026-11-22T21:00:00.123000Z",
    "from": "2026-11-22T20:00:00.000000Z",
    "to": "2026-11-22T20:59:30.000000Z",
    "processors": [
        {
            "name": "default",
            "state": "differ",
            "ours": {"count": 12, "amount": "238.80"},
            "theirs": {"count": 13, "amount": "258.70"},
            "text": "",
        },
        {
            "name": "fallback",
            "state": "unavailable",
            "ours": {"count": 3, "amount": "20.00"},
            "theirs": None,
            "text": "fallback does not answer",
        },
    ],
    "differences": [
        {
            "correlationId": PAYMENT,
            "processor": "default",
            "kind": "only theirs",
            "text": "theirs 19.90 at 2026-11-22T20:30:00.000000Z",
            "at": "2026-11-22T20:30:00.000000Z",
        }
    ],
    "differencesInAll": 250,
}


def test_a_lost_connection_is_said_and_made_again(admin: FakeAdmin, pages: Pages) -> None:
    pages.allow("ERR_")
    page = pages.open(admin.url)
    expect(page.locator("#live")).to_have_text("Live")
    admin.away = True
    expect(page.locator("#away")).to_contain_text(re.compile(r"Not connected since \d\d:\d\d:\d\d UTC"))
    expect(page.locator("#live")).to_have_text("Not connected")
    expect(page.locator("#announce")).to_have_text("The connection to the router is lost")
    admin.away = False
    admin.overview["backlog"]["waiting"] = 4321
    page.get_by_role("button", name="Try now").click()
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#away")).to_be_hidden()
    expect(page.locator("#announce")).to_have_text("Connected again")
    expect(page.locator("#t-waiting")).to_have_text("4\u202f321")


def test_a_connection_is_made_again_without_anybody_doing_anything(admin: FakeAdmin, pages: Pages) -> None:
    pages.allow("ERR_")
    page = pages.open(admin.url)
    expect(page.locator("#live")).to_have_text("Live")
    admin.away = True
    expect(page.locator("#live")).to_have_text("Not connected")
    admin.away = False
    expect(page.locator("#live")).to_have_text("Live")


def test_a_stream_that_falls_silent_is_a_lost_connection(admin: FakeAdmin, pages: Pages) -> None:
    admin.event_every_s = 30.0
    page = pages.open("about:blank")
    page.clock.install()
    page.goto(admin.url)
    expect(page.locator("#live")).to_have_text("Live")
    page.clock.fast_forward(4000)
    expect(page.locator("#live")).to_have_text("Live")
    page.clock.fast_forward(2000)
    expect(page.locator("#live")).to_have_text("Not connected")


def test_a_session_that_ended_leads_to_the_login_page_and_back(pages: Pages) -> None:
    with fake_admin(token="t0ken") as admin:
        page = pages.open(f"{admin.url}/login")
        page.get_by_label("Admin token").fill("t0ken")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Books").click()
        expect(page.get_by_role("heading", name="Books", exact=True)).to_be_focused()
        admin.sessions_end = True
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        admin.sessions_end = False
        page.get_by_label("Admin token").fill("t0ken")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Books", exact=True)).to_be_visible()
        page.context.close()
    pages.allow("401")


def test_books_that_differ_are_shown_with_every_payment(admin: FakeAdmin, pages: Pages) -> None:
    admin.audit = DIFFERING
    admin.overview["audit"] = {"state": "differ", "at": DIFFERING["at"], "text": "the books differ", "differences": 250}
    admin.overview["problems"] = ["the books differ from a processor's: see the audit"]
    page = pages.open(admin.url)
    expect(page.locator("#t-books")).to_have_text("differ")
    expect(page).to_have_title("1 problem · Payrouter")
    page.get_by_role("link", name="Books 250").click()
    default = page.get_by_role("table", name="Sums by processor").get_by_role("row", name=re.compile("^default"))
    expect(default).to_contain_text("+19.90 in +1 payment")
    expect(page.get_by_role("row", name=re.compile("^fallback"))).to_contain_text("fallback does not answer")
    expect(page.locator("#differences-count")).to_have_text("The first 1 of 250.")
    page.get_by_role("link", name=PAYMENT).click()
    expect(page.locator("#payment")).to_contain_text("Unknown payment")
    pages.allow("404")


def test_of_hundreds_of_dead_letters_some_are_chosen(admin: FakeAdmin, pages: Pages) -> None:
    admin.letters = [letter(one, pinned="default" if one <= 2 else None) for one in range(1, 301)]
    admin.letters += [letter(900 + one, reason="400: no such currency") for one in range(7)]
    admin.poison = [{"place": "1732312-0", "text": "no amount field"}]
    page = pages.open(f"{admin.url}/#dead-letters")
    expect(page.locator("#dead-count")).to_have_text("The first 200 of 307.")
    expect(page.get_by_role("button", name="Retry all 307")).to_be_enabled()
    expect(page.get_by_role("table", name="Poison entries")).to_contain_text("no amount field")
    page.get_by_role("searchbox", name="Filter by id or reason").fill("currency")
    expect(page.locator("#dead-count")).to_have_text("7 dead letters.")
    expect(page.get_by_role("button", name="Retry all")).to_be_disabled()  # it would mean those hidden, too
    page.get_by_role("checkbox", name="Select all shown").check()
    page.get_by_role("button", name="Retry 7 selected").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.locator("#dead-result")).to_have_text("7 payments sent again.")
    [(path, body)] = admin.done
    assert path == "/api/dead-letters/retry"
    assert sorted(body["correlationIds"]) == [f"00000000-0000-4000-8000-{900 + one:012d}" for one in range(7)]
    page.get_by_role("searchbox", name="Filter by id or reason").fill("")
    page.get_by_role("checkbox", name=re.compile("0001$")).check()
    page.get_by_role("button", name="Retry 1 selected").click()
    expect(page.get_by_role("dialog")).to_contain_text("can only go to the same processor")
    admin.letters.pop(0)  # somebody else is faster
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.locator("#dead-result")).to_have_text(
        "0 of 1 payment sent again; the others were no dead letters any more."
    )


def test_what_a_call_is_refused_with_is_shown(admin: FakeAdmin, pages: Pages) -> None:
    page = pages.open(admin.url)
    expect(page.locator("#live")).to_have_text("Live")
    page.route("**/api/processors/**", lambda route: route.fulfill(status=503, json={"detail": "Redis is away"}))
    page.get_by_role("button", name="Pause fallback").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("article", name="fallback")).to_contain_text("Not paused: Redis is away")
    expect(page.get_by_role("button", name="Pause fallback")).to_be_enabled()
    pages.allow("503")


def test_a_text_from_outside_is_text(admin: FakeAdmin, pages: Pages) -> None:
    nasty = "<img src=x onerror=alert(1)><b>bold</b>"
    admin.letters = [letter(1, reason=nasty)]
    admin.overview["problems"] = [nasty]
    page = pages.open(f"{admin.url}/#dead-letters")
    expect(page.get_by_role("row", name=re.compile("onerror"))).to_contain_text(nasty)
    expect(page.locator("#problems-list")).to_have_text(nasty)
    page.goto(f"{admin.url}/#payment=%3Cimg%20src%3Dx%3E")
    expect(page.locator("#payment")).to_contain_text("got “<img src=x>”")
    assert page.locator("main img").count() == 0
