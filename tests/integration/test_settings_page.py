"""`docs/settings.md` names every setting with its default, and nothing else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from payrouter.settings import PREFIX, Settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(PAYROUTER_\w+)` \| ([^|]+) \|", re.MULTILINE)


def in_words(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ("", ()):
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_every_setting_is_on_the_page_with_its_default() -> None:
    wanted = {PREFIX + field.name.upper(): in_words(getattr(Settings(), field.name)) for field in fields(Settings)}
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert dict(rows) == wanted
    assert len(rows) == len(wanted)
