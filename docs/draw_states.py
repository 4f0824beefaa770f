"""Write `docs/states.md` and `docs/states.svg` from the transition table, so that the drawing cannot lie.

Run: `make states`. The layout is by hand: where each state lies, and how far each arrow bends.
"""

from __future__ import annotations

from pathlib import Path

from payrouter.domain.payment import TRANSITIONS, PaymentState

PAGE = Path(__file__).with_name("states.md")
DRAWING = Path(__file__).with_name("states.svg")

_MEANING = {
    PaymentState.QUEUED: "accepted and durable; waits to be sent",
    PaymentState.ATTEMPTING: "the intent is written; the attempt may be on its way",
    PaymentState.PINNED: "an attempt's outcome is unknown; it is repeated there, with the same instant, until proven",
    PaymentState.SETTLED: "charged, and in the ledger; final",
    PaymentState.DEAD_LETTER: "a processor will never take it as it is; an operator can send it again",
}

Point = tuple[float, float]

_WIDTH, _HEIGHT = 960, 560
_BOX: Point = (66, 22)
"""Half the width and height of a state's box."""

_START: Point = (40, 100)
_END: Point = (920, 330)
_PLACE: dict[PaymentState, Point] = {
    PaymentState.QUEUED: (130, 200),
    PaymentState.ATTEMPTING: (470, 200),
    PaymentState.PINNED: (470, 350),
    PaymentState.DEAD_LETTER: (470, 500),
    PaymentState.SETTLED: (830, 200),
}
_Q, _A, _P, _D, _S = _PLACE
_BEND: dict[tuple[PaymentState, PaymentState], float] = {
    (_Q, _A): -34,
    (_A, _Q): -34,
    (_Q, _S): -300,
    (_A, _D): 260,
    (_P, _D): 46,
    (_D, _P): 46,
    (_P, _S): 40,
    (_D, _S): 230,
    (_D, _Q): -110,
}
"""How far the middle of an arrow's control line lies beside the straight one, to the right of its direction."""

_LABEL_AT: dict[tuple[PaymentState, PaymentState], tuple[float, float, str]] = {
    (_P, _D): (-8, 4, "end"),
    (_D, _P): (8, 4, "start"),
    (_A, _D): (-8, -40, "end"),
    (_A, _P): (8, 4, "start"),
    (_A, _Q): (0, 18, "middle"),
    (_P, _S): (6, 18, "start"),
    (_D, _S): (10, 10, "start"),
    (_D, _Q): (-10, 8, "end"),
}
"""Where a label stands beside the middle of its arrow, and which end of it; else above it, in the middle."""


def states_page() -> str:
    """Return the page: the drawing, then each step and each state in words."""
    lines = [
        "# Payment states",
        "",
        "Drawn by `make states` from `TRANSITIONS` in `src/payrouter/domain/payment.py`. Nothing else can happen.",
        "",
        f"![The states of a payment, and what takes it from one to another]({DRAWING.name})",
        "",
        "| from | what happens | to |",
        "|---|---|---|",
        f"| | accepted | `{PaymentState.QUEUED.label}` |",
    ]
    lines += [
        f"| `{before.label}` | {event.value} | `{after.label}` |" for (before, event), after in TRANSITIONS.items()
    ]
    lines += ["", "| state | meaning |", "|---|---|"]
    lines += [f"| `{state.label}` | {_MEANING[state]} |" for state in PaymentState]
    return "\n".join(lines) + "\n"


def states_drawing() -> str:
    """Return the drawing as SVG: black on white, so that it can be read on any page."""
    steps: dict[tuple[PaymentState, PaymentState], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        steps.setdefault((before, after), []).append(event.value)
    queued, settled = _PLACE[PaymentState.QUEUED], _PLACE[PaymentState.SETTLED]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="14" role="img">',
        "<title>The states of a payment</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L10 5L0 10z" fill="#445"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#fff"/>',
        f'<circle cx="{_START[0]}" cy="{_START[1]}" r="8" fill="#445"/>',
        _arrow(_START, queued, 0),
        _label((84, 138), ["accepted"], "start"),
        f'<circle cx="{_END[0]}" cy="{_END[1]}" r="10" fill="none" stroke="#445" stroke-width="1.5"/>',
        f'<circle cx="{_END[0]}" cy="{_END[1]}" r="6" fill="#445"/>',
        _arrow(settled, _END, 0, short_by=12),
    ]
    # All arrows before all labels: no line crosses a word.
    parts += [_step(before, after) for before, after in steps]
    parts += [_words_of(before, after, words) for (before, after), words in steps.items()]
    parts += [_box(state) for state in PaymentState]
    return "\n".join([*parts, "</svg>", ""])


def _step(before: PaymentState, after: PaymentState) -> str:
    if before is after:
        x, y = _PLACE[before]
        right, far = x + _BOX[0], x + _BOX[0] + 70
        return _path(f"M{right} {y - 8}C{far} {y - 30} {far} {y + 48} {right} {y + 10}")
    return _arrow(_PLACE[before], _PLACE[after], _BEND.get((before, after), 0))


def _words_of(before: PaymentState, after: PaymentState, words: list[str]) -> str:
    lines = [line for text in words for line in text.replace(", ", ",\n").split("\n")]
    x, y = _PLACE[before]
    if before is after:
        return _label((x + _BOX[0] + 56, y + 14), lines, "start")
    middle = _on_curve(_PLACE[before], _control(before, after), _PLACE[after], 0.5)
    dx, dy, anchor = _LABEL_AT.get((before, after), (0, -7 - 16 * (len(lines) - 1), "middle"))
    return _label((middle[0] + dx, middle[1] + dy), lines, anchor)


def _control(before: PaymentState, after: PaymentState) -> Point:
    return _bent(_PLACE[before], _PLACE[after], _BEND.get((before, after), 0))


def _bent(start: Point, end: Point, bend: float) -> Point:
    """Return the control point of a curve: `bend` beside the middle of the straight line, right of its direction."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    return (start[0] + end[0]) / 2 - bend * dy / length, (start[1] + end[1]) / 2 + bend * dx / length


def _on_curve(start: Point, control: Point, end: Point, t: float) -> Point:
    """Return a point of a quadratic Bézier curve."""
    a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
    return a * start[0] + b * control[0] + c * end[0], a * start[1] + b * control[1] + c * end[1]


def _arrow(start: Point, end: Point, bend: float, *, short_by: float = 0.0) -> str:
    """Return an arrow from box to box: the part of the curve between their centres that lies outside of both."""
    control = _bent(start, end, bend)
    points = [_on_curve(start, control, end, step / 200) for step in range(201)]
    outside = [one for one in points if not (_within(one, start) or _within(one, end, short_by))]
    return _path("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in [*outside[::4], outside[-1]]))


def _within(point: Point, centre: Point, radius: float = 0.0) -> bool:
    """Return whether a point lies in a state's box, or so near to anything else."""
    half = _BOX if centre in _PLACE.values() else (max(radius, 9), max(radius, 9))
    return abs(point[0] - centre[0]) <= half[0] + 2 and abs(point[1] - centre[1]) <= half[1] + 2


def _path(data: str) -> str:
    return f'<path d="{data}" fill="none" stroke="#445" stroke-width="1.5" marker-end="url(#tip)"/>'


def _label(at: Point, lines: list[str], anchor: str) -> str:
    x, y = at
    spans = "".join(f'<tspan x="{x:.1f}" y="{y + 16 * n:.1f}">{line}</tspan>' for n, line in enumerate(lines))
    return (
        f'<text text-anchor="{anchor}" fill="#223" stroke="#fff" stroke-width="4" paint-order="stroke">{spans}</text>'
    )


def _box(state: PaymentState) -> str:
    x, y = _PLACE[state]
    fill = {_S: "#d9f2e1", _D: "#fbdcdc", _P: "#fdf0d0"}.get(state, "#e4ebfa")
    return (
        f'<rect x="{x - _BOX[0]}" y="{y - _BOX[1]}" width="{2 * _BOX[0]}" height="{2 * _BOX[1]}" rx="8" fill="{fill}"'
        f' stroke="#445" stroke-width="1.5"/><text x="{x}" y="{y + 5}" text-anchor="middle" font-weight="bold"'
        f' fill="#112">{state.label}</text>'
    )


if __name__ == "__main__":
    PAGE.write_text(states_page())
    DRAWING.write_text(states_drawing())
