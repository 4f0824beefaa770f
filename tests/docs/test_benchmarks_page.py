"""`docs/benchmarks.md` has the figures of the README and every benchmark of the Makefile."""

from __future__ import annotations

import re

from docs.pages import ROOT, text_of

PAGE = text_of("docs/benchmarks.md")
FIGURES = re.search(r"^## Figures\n(.*?)(?=^## |\Z)", text_of("README.md"), re.MULTILINE | re.DOTALL)


def test_every_row_of_figures_in_the_readme_stands_here_too() -> None:
    assert FIGURES
    rows = [
        line for line in FIGURES[1].splitlines() if line.startswith("|") and any(letter.isdigit() for letter in line)
    ]
    assert rows
    assert [row for row in rows if row not in PAGE.splitlines()] == [], "change the figures in both"


def test_every_benchmark_is_named() -> None:
    recipes = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    benchmarks = {name for name, lines in recipes if "$(BENCH)" in lines}
    assert benchmarks
    assert {name for name in benchmarks if f"`make {name}`" not in PAGE} <= {"bench-cluster-all"}
