"""The page on a real router with simulated processors."""

from __future__ import annotations

import re
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from integration.admin_client import Operator
from integration.router_service import wait_until
from payrouter_lab.simulator.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from browser.conftest import Pages
    from integration.router_service import Service

    Routing = Callable[..., tuple[Service, str]]

TOKEN = "an operator's token"


def pay(service: Service, count: int) -> list[str]:
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for one in ids:
        assert service.pay(one).status == 202
    return ids


def card(page: Page, name: str) -> Any:
    return page.get_by_role("article", name=name)


def refuse_all(service: Service, faults: Faults) -> None:
    for one in (service.default, service.fallback):
        service.on_loop(partial(setattr, one, "faults", faults))


# The most that a figure ever showed.
MOST = """() => {
  const figure = document.getElementById("t-accepted");
  window.most = 0;
  const look = () => { window.most = Math.max(window.most, Number(figure.textContent.replaceAll("\u202f", ""))); };
  new MutationObserver(look).observe(figure, { childList: true });
}"""


def test_numbers_move_while_payments_come(routing: Routing, pages: Pages) -> None:
    service, url = routing()
    page = pages.open(url)
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("#m-count")).to_have_text("0 payments")
    page.evaluate(MOST)
    for _ in range(5):
        pay(service, 40)
        page.wait_for_timeout(200)
    page.wait_for_function("window.most > 20")
    expect(page.locator("#m-count")).to_have_text("200 payments")
    expect(page.locator("#m-amount")).to_have_text("3\u202f980.00")
    expect(page.locator("#m-fees")).to_have_text("199.00")
    expect(page.locator("#m-saved")).to_have_text("398.00")
    expect(card(page, "default")).to_contain_text("Usable")
    expect(card(page, "default").get_by_role("meter", name="Share of settled")).to_have_attribute("aria-valuenow", "1")
    expect(page.get_by_role("row", name=re.compile("router-1"))).to_contain_text("leads")
    # The lines show it too: not every point of them is on the ground.
    heights = page.locator(".chart .line").first.get_attribute("d") or ""
    assert len(set(re.findall(r" (\d+\.\d)", heights))) > 1, heights
    page.reload()  # the last minutes come from the router
    reading = page.get_by_role("slider", name="Throughput, per second: reading line")
    expect(reading).to_have_attribute("aria-valuemax", re.compile("[2-9]|[1-9][0-9]+"))


def test_a_payment_is_found_with_its_story(routing: Routing, pages: Pages) -> None:
    service, url = routing()
    [one] = pay(service, 1)
    service.settled(one)
    page = pages.open(url)
    page.get_by_role("searchbox", name="Payment by correlation id").fill(f"  {one.upper()} ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Payment", exact=True)).to_be_focused()
    expect(page.locator("#payment")).to_contain_text("default was the cheapest and usable")
    expect(page.locator("#payment .chip").first).to_have_text("Settled")
    kinds = page.locator(".story h3")
    expect(kinds.first).to_have_text("Accepted")
    expect(kinds.last).to_have_text("Settled")
    expect(page.locator("#announce")).to_have_text("Payment settled at default")
    assert page.evaluate("decodeURIComponent(location.hash)").lower() == f"#payment={one}"
    # The address is a link that can be sent to somebody.
    linked = pages.open(f"{url}/#payment={one}")
    expect(linked.locator("#payment .amount")).to_have_text("19.90")


def test_a_story_has_the_failures_and_moves_on_by_itself(routing: Routing, pages: Pages) -> None:
    service, url = routing(patience_s=1.0)
    assert service.pages is not None
    operator = Operator(service.pages)
    operator.change("/api/processors/fallback/pause")  # until the browser had time to look
    service.on_loop(partial(service.default.configure, failing=True))
    [one] = pay(service, 1)
    page = pages.open(f"{url}/#payment={one}")
    state, steps = page.locator("#payment .chip").first, page.locator(".story li")
    expect(state).to_have_text("Queued")
    operator.change("/api/processors/fallback/resume")
    expect(page.locator("#announce")).to_have_text("Payment settled at fallback")
    expect(state).to_have_text("Settled")
    expect(steps.filter(has_text="Failed").first).to_contain_text("answered 500")
    expect(steps.last).to_contain_text("charged by fallback")
    expect(page.locator("#payment")).to_contain_text("after patience ran out (default was down)")


def test_what_is_no_id_and_what_is_unknown_is_said(routing: Routing, pages: Pages) -> None:
    _, url = routing()
    page = pages.open(f"{url}/#payment=12345")
    expect(page.locator("#payment")).to_contain_text("Not a payment id")
    expect(page.locator("#payment")).to_contain_text("got “12345”")
    search = page.get_by_role("searchbox", name="Payment by correlation id")
    expect(search).to_have_attribute("aria-invalid", "true")
    search.fill("4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#payment")).to_contain_text("Unknown payment")
    expect(search).not_to_have_attribute("aria-invalid", "true")
    pages.allow("404")


def test_a_dead_letter_is_inspected_and_sent_again(routing: Routing, pages: Pages) -> None:
    service, url = routing()
    page = pages.open(url)
    refuse_all(service, Faults(status=400))
    ids = pay(service, 3)
    expect(page.get_by_role("link", name="Dead letters 3")).to_be_visible()
    page.get_by_role("link", name="Dead letters 3").click()
    expect(page.get_by_role("row")).to_have_count(1 + 3)
    page.get_by_role("link", name=ids[1]).click()
    expect(page.locator("#payment .chip").first).to_have_text("Dead letter")
    page.go_back()
    refuse_all(service, Faults())
    page.get_by_role("checkbox", name=f"Select {ids[0]}").check()
    page.get_by_role("button", name="Retry 1 selected").click()
    dialog = page.get_by_role("dialog", name="Retry 1 payment?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Retry 1 selected").click()
    dialog.get_by_role("button", name="Retry").click()
    expect(page.locator("#dead-result")).to_have_text("1 payment sent again.")
    service.settled(ids[0])
    expect(page.get_by_role("row")).to_have_count(1 + 2)
    page.get_by_role("button", name="Retry all 2").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.locator("#dead-result")).to_have_text("2 payments sent again.")
    expect(page.locator("#dead-count")).to_have_text("No dead letters.")
    for one in ids:
        service.settled(one)
    assert sorted(service.charges()) == sorted(ids)


def test_the_router_obeys_pause_and_resume(routing: Routing, pages: Pages) -> None:
    service, url = routing()
    page = pages.open(url)
    page.get_by_role("button", name="Pause default").click()
    page.get_by_role("dialog", name="Pause default?").get_by_role("button", name="Pause").click()
    expect(card(page, "default")).to_contain_text("default is paused.")
    expect(card(page, "default").locator(".chip").first).to_have_text("Paused")
    [dear] = pay(service, 1)
    assert service.settled(dear)["processor"] == "fallback"
    expect(page.get_by_role("button", name="Resume default")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("dialog", name="Resume default?").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause default")).to_be_visible()
    wait_until(lambda: service.settled(pay(service, 1)[0])["processor"] == "default")


def test_the_books_are_compared_when_asked(routing: Routing, pages: Pages) -> None:
    _, url = routing(audit_every_s=0.0)
    page = pages.open(f"{url}/#books")
    expect(page.locator("#books-verdict")).to_contain_text("Off")
    page.get_by_role("button", name="Compare now").click()
    expect(page.locator("#books-result")).to_have_text("The books agree.")
    expect(page.get_by_role("row", name=re.compile("^default"))).to_contain_text("Agree")


def test_who_knows_the_token_gets_in_and_out_again(routing: Routing, pages: Pages) -> None:
    _, url = routing(admin_token=TOKEN)
    page = pages.open(f"{url}/#books")
    expect(page).to_have_url(f"{url}/login#books")
    page.get_by_label("Admin token").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    page.get_by_label("Admin token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Books", exact=True)).to_be_visible()
    expect(page.locator("#live")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_without_a_token_there_is_nothing_to_sign_out_of(routing: Routing, pages: Pages) -> None:
    _, url = routing()
    page = pages.open(url)
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()


FIRST_FIGURE = """addEventListener("DOMContentLoaded", () => {
  const figure = document.getElementById("t-accepted");
  const shown = () => { window.shownMs ??= performance.now(); };
  if (figure) new MutationObserver(shown).observe(figure, { childList: true });
});"""

SIZES = """() => Object.fromEntries(
  [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .map((one) => [new URL(one.name).pathname, [one.encodedBodySize, one.decodedBodySize]]))"""


def test_the_page_is_small_and_soon_there(routing: Routing, pages: Pages) -> None:
    _, url = routing()
    page = pages.open("about:blank", script=FIRST_FIGURE)
    shown_ms, sizes = [], {}
    for _ in range(3):
        page.goto(url)
        page.wait_for_function("window.shownMs !== undefined")
        page.wait_for_load_state("load")
        shown_ms.append(page.evaluate("window.shownMs"))
        sizes = sizes or page.evaluate(SIZES)  # later loads take them from the browser's store
    assert {"/", "/assets/app.css", "/assets/app.js", "/assets/chart.js", "/api/history"} <= set(sizes)
    assert min(sizes.values()) > [0, 0]
    sent, unpacked = (sum(column) for column in zip(*sizes.values(), strict=True))
    assert sent < 60_000, sizes
    assert unpacked < 150_000, sizes
    assert min(shown_ms) <= 500, shown_ms
    print(f"{sent / 1000:.1f} KB, unpacked {unpacked / 1000:.1f} KB; first figures after {min(shown_ms):.0f} ms")
