"""Every relative link of the pages leads somewhere, as GitHub resolves it; anchors too."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from docs.pages import PAGES, ROOT, without_blocks

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(
    r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?:\s\"[^\"]*\")?\)|(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]: (\S+)",
    re.MULTILINE,
)
_CODE = re.compile(r"`[^`\n]*`")


def links_of(page: str) -> list[str]:
    """Return the targets of a page's links and images that do not lead out of the repository."""
    found = [next(filter(None, one)) for one in _LINK.findall(_CODE.sub("`code`", without_blocks(page)))]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def slug(heading: str) -> str:
    """Return a heading's anchor as GitHub makes it."""
    words = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


@cache
def anchors_of(path: Path) -> set[str]:
    """Return the anchors of a page; of headings with the same words the later ones get a number."""
    text = re.sub(r"^(```+).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        first = slug(heading)
        number = 0
        while (name := f"{first}-{number}" if number else first) in found:
            number += 1
        found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    wrong = []
    for target in links_of(page):
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.resolve().is_relative_to(ROOT) or not file.exists():
            wrong.append(target)
        elif anchor and anchor not in anchors_of(file.resolve()):
            wrong.append(f"{target}: there are {sorted(anchors_of(file.resolve()))}")
    assert wrong == []


def test_links_are_seen_and_wrong_ones_are_found() -> None:
    assert "docs/deploy.md" in links_of("README.md")
    assert "scaling-apis.svg" in links_of("docs/scaling.md")
    assert slug("`GET /payments/{correlationId}`") == "get-paymentscorrelationid"
    assert "with-systemd" in anchors_of(ROOT / "docs" / "deploy.md")
    assert "no-such-heading" not in anchors_of(ROOT / "README.md")
