"""The worked example of `docs/concepts.md` is what the policy does."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from payrouter.domain.board import ProcessorView, Standing
from payrouter.domain.money import fee_minor, format_minor
from payrouter.domain.processor import Processor
from payrouter.domain.routing import LeastCost, Send
from payrouter.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "concepts.md").read_text()
NOW_S = 1000.0
DEFAULT = Processor("default", "http://default", Decimal("0.05"))
FALLBACK = Processor("fallback", "http://fallback", Decimal("0.15"))
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.partition("| `default` is |")[2].partition("\n\n")[0].splitlines()[2:]
]
_LIMIT = Settings().max_in_flight


def view(processor: Processor, text: str, slow_ms: float) -> ProcessorView:
    """Return a processor as a cell of the table describes it."""
    found = re.fullmatch(r"(\w+)(?: for (\d+) s)?", text)
    assert found
    standing = Standing(found[1])
    since_s = NOW_S - float(found[2]) if found[2] else float("-inf")
    expected_ms = slow_ms if standing is Standing.SLOW else 20.0
    in_flight = _LIMIT if standing is Standing.FULL else 0
    return ProcessorView(processor, standing, expected_ms, 0.0, in_flight, _LIMIT, NOW_S + 0.5, since_s)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}, {row[1]}, {row[2]} s")
def test_each_line_of_the_example_is_what_least_cost_decides(row: tuple[str, ...]) -> None:
    settings = Settings()
    policy = LeastCost(settings.patience_s, settings.last_resort_s)
    views = [view(DEFAULT, row[0], 1400.0), view(FALLBACK, row[1], 1500.0)]
    decision = policy.route(float(row[2]), int(row[3]), views, NOW_S)
    assert (decision.processor if isinstance(decision, Send) else "waits") == row[4]


def test_the_example_has_every_kind_of_line_and_its_numbers_are_right() -> None:
    assert len(ROWS) == 10
    assert {row[4] for row in ROWS} == {"default", "fallback", "waits"}
    assert [format_minor(fee_minor(10_000, one.fee)) for one in (DEFAULT, FALLBACK)] == ["5.00", "15.00"]
    assert "A payment of 100.00 costs 5.00 or 15.00 there" in PAGE
    capacity = view(DEFAULT, "full", 0.0).capacity_per_s
    assert f"a limit of {_LIMIT} at 20 ms is {capacity:,.0f} payments a second".replace(",", " ") in PAGE
    assert Settings().patience_s == Settings().last_resort_s == 10
    assert Settings().latency_ceiling_ms == 1000
