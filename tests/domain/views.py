"""Processor views for the routing tests: by hand, and any that a board could give."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from payrouter.domain.board import ProcessorView, Standing
from payrouter.domain.processor import Processor

NOW_S = 1000.0
NAMES = ("first", "second", "third", "fourth")


def view(
    standing: Standing,
    *,
    name: str = "first",
    expected_ms: float = 10.0,
    reported_ms: float = 0.0,
    in_flight: int | None = None,
    limit: int = 32,
    retry_s: float | None = None,
    since_s: float | None = None,
) -> ProcessorView:
    """One view; unless said otherwise it was always in service, or is down since just now."""
    fee = Decimal("0.05") * (NAMES.index(name) + 1)
    if in_flight is None:
        in_flight = limit if standing is Standing.FULL else 0
    if since_s is None:
        since_s = NOW_S if standing is Standing.DOWN else float("-inf")
    if retry_s is None:
        retry_s = NOW_S + 0.2 if standing in (Standing.DOWN, Standing.SLOW) else NOW_S
    return ProcessorView(
        Processor(name, f"http://{name}", fee),
        standing,
        expected_ms,
        reported_ms,
        in_flight,
        limit,
        retry_s,
        since_s,
    )


def row(*standings: Standing) -> list[ProcessorView]:
    """One view per standing, cheapest first."""
    return [view(standing, name=name) for name, standing in zip(NAMES, standings, strict=False)]


_SINCE_S = st.one_of(st.just(float("-inf")), st.floats(0, 3).map(NOW_S.__sub__), st.floats(0, 30).map(NOW_S.__sub__))


@st.composite
def views(draw: st.DrawFn) -> list[ProcessorView]:
    """One to four views, cheapest first: full means no permit is left, usable that one is."""
    drawn = []
    for name in NAMES[: draw(st.integers(1, 4))]:
        standing = draw(st.sampled_from(Standing))
        limit = draw(st.integers(1, 300))
        in_flight = {
            Standing.FULL: st.integers(limit, limit + 9),
            Standing.USABLE: st.integers(0, limit - 1),
        }.get(standing, st.integers(0, limit + 9))
        drawn.append(
            view(
                standing,
                name=name,
                expected_ms=draw(st.floats(0, 10_000)),
                reported_ms=draw(st.sampled_from([0.0, 1.0, 5.0, 100.0, 1000.0, 5000.0])),
                in_flight=draw(in_flight),
                limit=limit,
                retry_s=NOW_S + draw(st.floats(0.05, 2.0)),
                since_s=draw(_SINCE_S),
            )
        )
    return drawn
