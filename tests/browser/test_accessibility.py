"""Who cannot see, point, or read small or dark: names, keyboard, contrast, narrow screens, themes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from browser.fake_admin import PAYMENT, fake_admin, letter, processor
from browser.test_states import DIFFERING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from browser.conftest import Pages
    from browser.fake_admin import FakeAdmin

VIEWS = ("", f"#payment={PAYMENT}", "#payment=nonsense", "#dead-letters", "#books")
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}
STORY = {
    "correlationId": PAYMENT,
    "amount": 19.9,
    "state": "settled",
    "acceptedAt": "2026-11-22T21:00:00.123456Z",
    "processor": "fallback",
    "requestedAt": "2026-11-22T21:00:11.201001Z",
    "settledAt": "2026-11-22T21:00:11.241001Z",
    "latencyMs": 38.2,
    "attempts": 2,
    "reason": {"text": "fallback was the next usable", "fee": 2.99, "savedAgainstDearest": 0, "lostAgainstCheapest": 2},
    "story": [
        {"at": f"2026-11-22T21:00:0{at}.123456Z", "kind": kind, "text": f"it was {kind}"}
        for at, kind in enumerate(
            ("accepted", "waited", "attempt", "failed", "queued", "attempt", "pinned", "attempt", "settled")
        )
    ],
}


@pytest.fixture
def full() -> Iterator[FakeAdmin]:
    """A server on which everything there can be is to be seen."""
    with fake_admin(token="t0ken") as admin:
        admin.overview["processors"] = [
            processor("default", standing="down", breaker="open", reportedFailing=True),
            processor("fallback", standing="usable", breaker="half-open", paused=True),
            *(processor(f"third-{one}", standing=one) for one in ("probe", "full", "slow", "unknown")),
            processor("last", breaker=None, reportedMs=None, observedMs=None, limit=0, inFlight=0),
        ]
        admin.overview["backlog"] = {"waiting": 1234567, "oldestAgeSeconds": 4000.0, "reason": "default is down"}
        admin.overview["webhooks"] = {"waiting": 3, "oldestAgeSeconds": 5.5}
        admin.overview["problems"] = ["Redis is away: connection refused", "no dispatcher leads"]
        admin.overview["audit"] |= {"state": "differ", "differences": 1}
        admin.overview["nodes"] += [
            admin.overview["nodes"][0] | {"name": f"dispatcher-{one}", "leads": False} for one in (1, 2)
        ]
        admin.letters = [letter(one, reason="answered 400: " + "unpronounceable" * 9) for one in range(1, 5)]
        admin.poison = [{"place": "1732312-0", "text": "no amount field"}]
        admin.audit = DIFFERING
        admin.payments[PAYMENT] = STORY
        yield admin


def signed_in(pages: Pages, admin: FakeAdmin, **options: object) -> Page:
    page = pages.open(f"{admin.url}/login", **options)
    page.get_by_label("Admin token").fill("t0ken")
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator(".card")).to_have_count(7)
    return page


def visit(page: Page, admin: FakeAdmin, view: str) -> None:
    """Go to a view and wait until it shows what it has."""
    page.goto(f"{admin.url}/{view}")
    if view.startswith("#payment"):
        expect(page.locator("#payment h2").first).to_be_visible()
    elif view:
        expect(page.locator(f"#view-{view[1:]} tbody tr").first).to_be_visible()


def test_axe_finds_nothing(full: FakeAdmin, pages: Pages) -> None:
    page = signed_in(pages, full, reduced_motion="reduce")
    page.locator("details summary").first.click()
    check_every_view(page, full, RULES)


def test_there_is_contrast_in_the_dark(full: FakeAdmin, pages: Pages) -> None:
    page = signed_in(pages, full, color_scheme="dark", reduced_motion="reduce")
    rules = {"runOnly": ["color-contrast"]}
    check_every_view(page, full, rules)
    page.evaluate("document.querySelector('.muted').style.color = '#333'")
    assert Axe().run(page, options=rules).violations_count == 1, "the check cannot fail"


def check_every_view(page: Page, admin: FakeAdmin, rules: dict[str, object]) -> None:
    """Run axe on each view, on a dialog and on the login page."""

    def check(where: str) -> None:
        found = Axe().run(page, options=rules)
        assert found.violations_count == 0, f"{where}: {found.generate_report()}"

    for view in VIEWS:
        visit(page, admin, view)
        check(view or "#overview")
    visit(page, admin, "")
    page.get_by_role("button", name="Pause default").click()
    check("the dialog")
    page.goto(f"{admin.url}/login?wrong=1")
    expect(page.get_by_role("alert")).to_be_visible()
    check("/login")


def test_axe_finds_nothing_while_nobody_is_connected(full: FakeAdmin, pages: Pages) -> None:
    page = signed_in(pages, full)
    full.away = True
    expect(page.locator("#away")).to_be_visible()
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    pages.allow("ERR_")


def test_lines_and_controls_stand_out_from_their_ground(admin: FakeAdmin, pages: Pages) -> None:
    """What axe does not look at: graphics and borders of fields need 3 to 1 (WCAG 1.4.11)."""
    page = pages.open(admin.url)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ratios = page.evaluate(CONTRASTS)
        assert len(ratios) == 11
        assert {name: ratio for name, ratio in ratios.items() if ratio < 3} == {}, scheme


CONTRASTS = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  const light = (name) => {
    probe.style.color = `var(${name})`;
    const [r, g, b] = getComputedStyle(probe).color.match(/[\\d.]+/g).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const surface = light("--surface");
  const names = ["--s1", "--s2", "--s3", "--s4", "--s5", "--s6", "--accent", "--edge", "--good", "--warn", "--bad"];
  const ratio = (one) => Math.max(one, surface) / Math.min(one, surface);
  return Object.fromEntries(names.map((name) => [name, ratio(light(name))]));
}"""


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_scrolls_sideways_on_a_phone(full: FakeAdmin, pages: Pages, width: int) -> None:
    page = signed_in(pages, full, width=width, height=700)
    for view in VIEWS:
        visit(page, full, view)
        wide = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
        assert max(wide) <= width, (view, wide)
        out = page.evaluate(
            "(width) => [...document.querySelectorAll('main *, header *')].filter((node) => node.checkVisibility()"
            " && !node.closest('.out, .scroll, svg, thead') && node.getBoundingClientRect().right > width + 1)"
            ".map((node) => node.outerHTML.slice(0, 80))",
            width,
        )
        assert out == [], view
    page.goto(f"{full.url}/login")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_follows_the_system_until_it_is_chosen(admin: FakeAdmin, pages: Pages) -> None:
    page = pages.open(admin.url, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert dark != light
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Theme: dark").click()
    assert page.evaluate(ground) == light


def test_everything_has_its_name(full: FakeAdmin, pages: Pages) -> None:
    page = signed_in(pages, full)
    for name in ("Overview", "Now", "Last minutes", "Processors", "Money", "Processes", "2 problems"):
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_attached()
    expect(page.get_by_role("navigation", name="Sections").get_by_role("link")).to_have_count(3)
    expect(page.get_by_role("link", name="Overview")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("region", name="2 problems")).to_be_visible()
    default = page.get_by_role("article", name="default")
    expect(default).to_contain_text(re.compile("Down.*breaker open"))
    meter = default.get_by_role("meter", name="In flight")
    expect(meter).to_have_attribute("aria-valuetext", "3 of 256")
    names = page.get_by_role("main").aria_snapshot()
    assert 'slider "Backlog, payments waiting: reading line"' in names
    assert 'button "Resume fallback"' in names
    assert 'table "Processes"' in names


def test_changing_numbers_do_not_chatter(full: FakeAdmin, pages: Pages) -> None:
    page = signed_in(pages, full)
    page.evaluate(
        "window.heard = 0; for (const node of document.querySelectorAll('[role=status], [role=alert], [aria-live]'))"
        " new MutationObserver(() => { window.heard += 1; })"
        ".observe(node, { childList: true, subtree: true, characterData: true })"
    )
    for seconds in range(4):
        full.overview["rates"]["accepted"] = 100.0 + seconds
        full.overview["problems"][0] = f"default-1 has told nothing for {seconds} s"
        expect(page.locator("#t-accepted")).to_have_text(str(100 + seconds))
    assert page.evaluate("window.heard") == 0
    full.overview["problems"].append("a third")
    expect(page.locator("#announce")).to_contain_text("3 problems")


def test_a_chart_is_read_with_keys_and_as_a_table(admin: FakeAdmin, pages: Pages) -> None:
    page = pages.open(admin.url)
    expect(page.locator("#live")).to_have_text("Live")
    plot = page.get_by_role("slider", name="Settled by processor, per second: reading line")
    expect(plot).to_have_attribute("aria-valuemax", re.compile("1[12][0-9]"))
    plot.focus()
    value = re.compile(r"^\d\d:\d\d:\d\d: default \d+(\.\d)?, fallback \d+(\.\d)?$")
    expect(plot).to_have_attribute("aria-valuetext", value)
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    read = plot.get_attribute("aria-valuetext")
    page.wait_for_timeout(500)  # numbers come, but what is being read stays
    assert plot.get_attribute("aria-valuetext") == read
    page.keyboard.press("ArrowRight")
    assert plot.get_attribute("aria-valuetext") != read
    chart = page.get_by_role("figure").nth(2)
    chart.get_by_text("Data as a table").click()
    table = chart.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(["UTC", "default", "fallback"])
    assert table.get_by_role("row").count() > 100


def test_a_chart_is_read_with_the_pointer(admin: FakeAdmin, pages: Pages) -> None:
    page = pages.open(admin.url)
    expect(page.locator("#live")).to_have_text("Live")
    plot = page.get_by_role("slider", name="Throughput, per second: reading line")
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    expect(plot.locator(".cursor")).to_have_count(1)
    expect(plot.locator(".dot")).to_have_count(2)
    middle = plot.get_attribute("aria-valuetext")
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60)
    assert plot.get_attribute("aria-valuetext") != middle
    page.mouse.move(5, 5)
    expect(plot.locator(".cursor")).to_have_count(0)


def test_the_keyboard_reaches_everything_in_order(admin: FakeAdmin, pages: Pages) -> None:
    page = pages.open(admin.url)
    expect(page.locator(".card")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText")
        )
    assert [one for one in reached if "reading line" in one] == [
        "Throughput, per second: reading line",
        "Backlog, payments waiting: reading line",
        "Settled by processor, per second: reading line",
    ]
    assert "Pause default" in reached
    assert "Pause fallback" in reached
    page.get_by_role("button", name="Pause default").press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Pause default")).to_be_focused()
    assert admin.done == []
