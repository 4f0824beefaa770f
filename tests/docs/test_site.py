"""`make docs`: the site builds without a warning, needs nothing from anywhere else, and every link in it works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from docs.pages import PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = ROOT / "mkdocs.yml"
_LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src", "object": "data"}
# What a browser fetches for a <link>; the others only tell.
_FETCHED = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}


class Page(HTMLParser):
    """What a built page loads, links to, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.classes |= set(given.get("class", "").split())
        if tag in _LOADED and _LOADED[tag] in given:
            self.loaded.append(given[_LOADED[tag]])
        if tag == "link" and _FETCHED & set(given.get("rel", "").split()):
            self.loaded.append(given["href"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(CONFIG), "--site-dir", str(folder)],
        # The theme's maker advertises a successor; that is no warning about our pages.
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[str, Page]:
    """The pages, by path in the site."""
    return {str(path.relative_to(site)): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def is_elsewhere(address: str) -> bool:
    return bool(urlsplit(address).netloc)


def test_every_page_of_the_repository_is_in_the_site_and_in_its_navigation(built: dict[str, Page]) -> None:
    listed = re.findall(r": ([\w-]+\.md)$", CONFIG.read_text(), re.MULTILINE)
    own = {"README.md": "index.md", "bench/README.md": "bench.md"}
    wanted = {own.get(page, page.removeprefix("docs/").lower()) for page in PAGES}
    assert sorted(listed) == sorted(wanted), "each page once in `nav` of mkdocs.yml"
    assert {name.removesuffix(".html") for name in built} == {name.removesuffix(".md") for name in wanted} | {"404"}


def test_no_page_loads_anything_from_elsewhere(site: Path, built: dict[str, Page]) -> None:
    assert {
        f"{name}: {address}" for name, page in built.items() for address in page.loaded if is_elsewhere(address)
    } == set()
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(https?:)?//|@import", style.read_text(encoding="utf-8"))
    # The theme would fetch a program from elsewhere for these.
    assert all("mermaid" not in page.classes for page in built.values())


def test_every_link_within_the_site_leads_somewhere(site: Path, built: dict[str, Page]) -> None:
    wrong = []
    for name, page in built.items():
        if name == "404.html":  # shown at any address, so its links begin at the root
            continue
        for address in [*page.links, *page.loaded]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                wrong.append(f"{name}: {address}")
            elif parts.fragment and target.suffix == ".html":
                anchors = built[str(target.resolve().relative_to(site.resolve()))].anchors
                if unquote(parts.fragment) not in anchors | {"__tabbed"}:
                    wrong.append(f"{name}: {address}")
    assert wrong == []


def test_no_link_of_a_page_is_left_as_markdown(built: dict[str, Page]) -> None:
    left = {f"{name}: {address}" for name, page in built.items() for address in page.links if address.endswith(".md")}
    assert left == set()


def test_the_search_finds_words_of_every_page(site: Path) -> None:
    index: dict[str, Any] = json.loads((site / "search" / "search_index.json").read_text())
    found = {entry["location"].partition("#")[0] for entry in index["docs"] if "patience" in entry["text"].lower()}
    assert {"concepts.html", "settings.html", "tour.html"} <= found
    assert {entry["location"].partition("#")[0] or "index.html" for entry in index["docs"]} >= {
        page.removesuffix(".md") + ".html" for page in re.findall(r": ([\w-]+\.md)$", CONFIG.read_text(), re.MULTILINE)
    }


def test_drawings_are_there(site: Path, built: dict[str, Page]) -> None:
    assert "states.svg" in built["states.html"].loaded
    assert (site / "states.svg").read_text() == (ROOT / "docs" / "states.svg").read_text()
    assert not list(site.rglob("*.py"))


def test_links_out_of_the_site_are_only_their_words(site: Path) -> None:
    text = (site / "guarantees.html").read_text(encoding="utf-8")
    assert "payrouter_lab.simulation" in text
    assert "src/payrouter_lab" not in re.sub(r"<code>[^<]*</code>", "", text)


def test_the_site_is_built_into_a_folder_that_git_ignores() -> None:
    [folder] = re.findall(r"^site_dir: (\S+)$", CONFIG.read_text(), re.MULTILINE)
    assert f"{folder}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_configuration_names_hooks_that_exist() -> None:
    class Loader(yaml.SafeLoader):
        """Reads the one tag of a Python function as nothing."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    config = yaml.load(CONFIG.read_text(), Loader)
    assert all((ROOT / hook).is_file() for hook in config["hooks"])
