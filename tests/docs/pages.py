"""The pages of the documentation: their code blocks, their words in code, their links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_IN_DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "bench/README.md", *_IN_DOCS]
"""Every page, as its path in the repository."""

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*?) -->\n)?"
    r"^(?P<fence>```+)(?P<language>[\w-]*)[^\n]*\n(?P<text>.*?)^(?P=fence)[^\S\n]*$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_INDENTED = re.compile(r"^ {4,}(\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block. `not_run` is the reason of a comment before it, None without one."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """Return a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """Return a page's fenced blocks, in order."""
    text = text_of(page)
    return [
        Block(
            page,
            text.count("\n", 0, found.start("fence")) + 1,
            found["language"].lower(),
            found["text"],
            found["reason"],
        )
        for found in _BLOCK.finditer(text)
    ]


def without_blocks(page: str) -> str:
    """Return a page without its fenced blocks."""
    return _BLOCK.sub("", text_of(page))


def code_of(page: str) -> list[str]:
    """Return all that a page has in code: lines of blocks, lines that are indented, and words between backticks."""
    prose = without_blocks(page)
    lines = [line for block in blocks_of(page) for line in block.text.replace("\\\n", " ").splitlines()]
    return [*lines, *_INDENTED.findall(prose), *_INLINE.findall(prose)]
