"""The drawing of the states is the table."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DRAWING = Path(__file__).parents[2] / "docs" / "draw_states.py"


def test_the_states_page_is_drawn_from_the_current_table() -> None:
    spec = importlib.util.spec_from_file_location("draw_states", DRAWING)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.states_page(), "run `make states`"
