"""The drawing of the states is the table."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from payrouter.domain.payment import TRANSITIONS, PaymentState

if TYPE_CHECKING:
    from types import ModuleType

DRAWER = Path(__file__).parents[2] / "docs" / "draw_states.py"


@pytest.fixture(scope="module")
def drawer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_states", DRAWER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_states_page_is_drawn_from_the_current_table(drawer: ModuleType) -> None:
    assert drawer.PAGE.read_text() == drawer.states_page(), "run `make states`"
    assert drawer.DRAWING.read_text() == drawer.states_drawing(), "run `make states`"


def test_the_drawing_has_every_state_and_an_arrow_for_each_pair_of_them(drawer: ModuleType) -> None:
    drawing = ElementTree.fromstring(drawer.states_drawing())
    of_svg = "{http://www.w3.org/2000/svg}"
    texts = [" ".join(text.itertext()) for text in drawing.iter(f"{of_svg}text")]
    assert {state.label for state in PaymentState} <= set(texts)
    arrows = [path for path in drawing.iter(f"{of_svg}path") if "marker-end" in path.attrib]
    # And one from the start, and one to the end.
    assert len(arrows) == len({(before, after) for (before, _), after in TRANSITIONS.items()}) + 2
    said = " ".join(re.sub(r"\s+", " ", text) for text in texts)
    assert all(event.value in said for _, event in TRANSITIONS)


def test_every_arrow_and_word_lies_within_the_drawing(drawer: ModuleType) -> None:
    drawing = ElementTree.fromstring(drawer.states_drawing())
    width, height = (float(drawing.attrib[name]) for name in ("width", "height"))
    for one in drawing.iter():
        numbers = [float(text) for text in re.findall(r"-?\d+\.?\d*", one.attrib.get("d", ""))]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if "x" in one.attrib:
            points.append((float(one.attrib["x"]), float(one.attrib["y"])))
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
