"""What MkDocs does beyond reading `docs/`: pages from elsewhere in the repository, and links that lead out of the site.

Files link to each other as GitHub shows them, relative to where they lie. Here a link to a file that is a page of the
site becomes a link to that page; of a link to anything else (sources, Compose files) only its text stays.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "bench/README.md": "bench.md",
}
"""Files outside `docs/` that are pages, by path in the repository, and where the site has them."""

_WHERE = {page: path for path, page in PAGES.items()}
_FENCE = re.compile(r"^(```|~~~).*?^\1[^\S\n]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_ELSEWHERE = re.compile(r"[a-z]+:|#|/")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from outside `docs/`."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Return a page with its links as the site needs them; what stands in code blocks stays."""
    uri = page.file.src_uri
    here = posixpath.dirname(_WHERE.get(uri, f"docs/{uri}"))
    parts, at = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_relinked(markdown[at : fence.start()], here, uri), fence[0]]
        at = fence.end()
    return "".join([*parts, _relinked(markdown[at:], here, uri)])


def _relinked(text: str, here: str, uri: str) -> str:
    """Return text of the page `uri`, whose file lies in the folder `here`, with its links changed."""

    def changed(link: re.Match[str]) -> str:
        image, words, target = link.groups()
        if _ELSEWHERE.match(target):
            return link[0]
        path, hash_sign, anchor = target.partition("#")
        page = _page_of(posixpath.normpath(posixpath.join(here, path)))
        if page is None:
            if image:
                raise ValueError(f"{uri} shows {target}, which is not in docs/; the site would not have it")
            return words
        to = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"{image}[{words}]({to}{hash_sign}{anchor})"

    return _LINK.sub(changed, text)


def _page_of(path: str) -> str | None:
    """Return where the site has a file of the repository, None where it has not."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/") and (ROOT / path).is_file() and not path.endswith(".py"):
        return path.removeprefix("docs/")
    return None
