"""One browser for all tests here, and pages that tell of everything a browser complains about."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect, sync_playwright

from browser.fake_admin import fake_admin
from integration.router_service import running_service
from payrouter.settings import Address
from payrouter_lab.cluster import binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, ConsoleMessage, Page

    from browser.fake_admin import FakeAdmin
    from integration.router_service import Service

WITHIN_MS = 8000


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, without a window. Where there is none and none can be installed, tests are skipped."""
    if binaries.find("chromium") is None:
        try:
            binaries.ensure(["chromium"])
        except binaries.MissingBinary as error:
            pytest.skip(f"no browser: {error}")
    expect.set_options(timeout=WITHIN_MS)
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=binaries.path_of("chromium"), args=arguments)
        yield chromium
        chromium.close()


class Pages:
    """Opens pages, each in a profile of its own, and keeps what the browser complained about."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.complaints: list[str] = []
        self._allowed: list[str] = []

    def open(self, url: str, *, width: int = 1280, height: int = 800, script: str = "", **options: Any) -> Page:
        """Open a page. `script` runs before the page's own; `options` are those of a Playwright context."""
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(WITHIN_MS)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.goto(url)
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def allow(self, pattern: str) -> None:
        """Let complaints pass that a test brings about itself."""
        self._allowed.append(pattern)

    def check(self) -> None:
        """Nobody complained of anything else."""
        assert [one for one in self.complaints if not any(re.search(allowed, one) for allowed in self._allowed)] == []


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Pages of a test. What a browser says is wrong with them, refused by their policy included, fails the test."""
    opened = Pages(browser)
    yield opened
    for context in browser.contexts:
        context.close()
    opened.check()


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    """A server with scripted numbers, without a token."""
    with fake_admin() as running:
        yield running


@contextmanager
def _routing(folder: Path, **settings: Any) -> Iterator[tuple[Service, str]]:
    with running_service(folder, admin_bind=Address("127.0.0.1", 0), **settings) as service:
        yield service, f"http://{service.pages}"


@pytest.fixture
def routing(tmp_path: Path) -> Iterator[Callable[..., tuple[Service, str]]]:
    """Start a real router with two simulated processors; gives it and the address of its operator's page."""
    entered = []

    def start(**settings: Any) -> tuple[Service, str]:
        context = _routing(tmp_path, **settings)
        given = context.__enter__()
        entered.append(context)
        return given

    yield start
    for context in entered:
        context.__exit__(None, None, None)
