"""How the page words numbers and scales its charts: its modules, called in the browser they run in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from browser.conftest import Pages
    from browser.fake_admin import FakeAdmin


@pytest.fixture
def module(admin: FakeAdmin, pages: Pages) -> Callable[..., Any]:
    """Call a function of one of the page's modules."""
    page = pages.open(f"{admin.url}/login")
    script = "async ([file, name, given]) => (await import(`/assets/${file}.js`))[name](...given)"
    return lambda file, name, *given: page.evaluate(script, [file, name, list(given)])


def test_numbers_are_worded_exactly(module: Callable[..., Any]) -> None:
    for name, given, said in (
        ("money", "90071992547409.93", "90 071 992 547 409.93"),  # more than a float can hold
        ("money", "0.05", "0.05"),
        ("money", 19.9, "19.90"),
        ("money", "-0.07", "\u22120.07"),
        ("money", None, "\u2013"),
        ("count", 1234567, "1 234 567"),
        ("rate", 99.94, "99.9"),
        ("rate", 99.96, "100"),
        ("rate", 12, "12"),
        ("milliseconds", 7.14, "7.1 ms"),
        ("milliseconds", 12345, "12.3 s"),
        ("span", 0.44, "0.4 s"),
        ("span", 59.6, "1 min 0 s"),
        ("span", 3 * 3600 + 61, "3 h 1 min"),
        ("span", 50 * 3600, "2 d 2 h"),
        ("instant", "2026-11-22T21:00:00.123456Z", "2026-11-22 21:00:00.123"),
        ("clock", 1_000_000_000, "01:46:40"),
    ):
        assert module("format", name, given).replace("\u202f", " ") == said, (name, given)


def test_charts_scale_to_round_numbers_and_stack(module: Callable[..., Any]) -> None:
    assert [module("chart", "roundStep", top, 4) for top in (4, 9, 100, 1000, 10_500)] == [1, 2.5, 25, 250, 5000]
    assert module("chart", "stacked", [[1, None, 2], [5, None, None]]) == [[1, None, 2], [6, None, 2]]
