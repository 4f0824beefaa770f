from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.errors import InvalidInput
from payrouter.domain.window import (
    LAST_US,
    ROLLUP_SHIFTS,
    Cover,
    Window,
    cover,
    format_instant,
    parse_instant,
    parse_window,
)

NOON = "2025-07-15T12:34:56.123456Z"
NOON_US = 1_752_582_896_123_456
YEAR_2100_US = 4_102_444_800_000_000

BORDERS = st.builds(
    lambda shift, number, off_us: (number << shift) + off_us,
    st.sampled_from(ROLLUP_SHIFTS),
    st.integers(1, 60_000),
    st.integers(-2, 2),
)
INSTANTS = st.one_of(st.integers(0, YEAR_2100_US), BORDERS, st.sampled_from([0, 1, LAST_US, LAST_US - 1]))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    first_us = draw(INSTANTS)
    near = st.integers(0, 1 << 38).map(lambda length_us: min(first_us + length_us, LAST_US))
    last_us = draw(st.one_of(near, INSTANTS))
    return Window(min(first_us, last_us), max(first_us, last_us))


def pieces(covering: Cover) -> list[tuple[int, int]]:
    """First and last microsecond of every piece, in order."""
    whole = [(one.first << one.shift, ((one.last + 1) << one.shift) - 1) for one in covering.buckets]
    return sorted(whole + [(edge.first_us, edge.last_us) for edge in covering.edges])


@pytest.mark.parametrize(
    "text",
    [
        NOON,
        "2025-07-15t12:34:56.123456z",
        "2025-07-15 12:34:56.123456Z",
        "2025-07-15T12:34:56.123456+00:00",
        "2025-07-15T12:34:56.123456-00:00",
        "2025-07-15T09:34:56.123456-03:00",
        "2025-07-15T18:04:56.123456+05:30",
        "2025-07-16T12:33:56.123456+23:59",
        "2025-07-15T12:34:56.123456000Z",
        "2025-07-15T12:34:56.123456999Z",
    ],
)
def test_one_instant_has_many_spellings(text: str) -> None:
    assert parse_instant(text) == NOON_US


@pytest.mark.parametrize(
    ("fraction", "micros"),
    [("", 0), (".1", 100_000), (".12", 120_000), (".000001", 1), (".0000019", 1), (".999999999", 999_999)],
)
def test_a_fraction_counts_to_the_microsecond(fraction: str, micros: int) -> None:
    assert parse_instant(f"1970-01-01T00:00:01{fraction}Z") == 1_000_000 + micros


@pytest.mark.parametrize(
    ("nanos", "micros"),
    [("000000000", 0), ("000000001", 1), ("000001000", 1), ("000001001", 2), ("999999999", 1_000_000)],
)
def test_rounding_up_moves_to_the_next_microsecond_only_where_nanoseconds_are_left(nanos: str, micros: int) -> None:
    assert parse_instant(f"1970-01-01T00:00:00.{nanos}Z", round_up=True) == micros


@pytest.mark.parametrize(
    "text",
    [
        "2025-02-29T00:00:00Z",
        "2025-04-31T00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-00-01T00:00:00Z",
        "2025-01-00T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2025-01-01T25:00:00Z",
        "2025-01-01T00:60:00Z",
        "2025-01-01T00:00:61Z",
        "2025-01-01T00:00:00+24:00",
        "2025-01-01T00:00:00+05:60",
    ],
)
def test_a_date_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"not a date that exists|no such zone"):
        parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "now",
        "2025-07-15",
        "12:34:56",
        "2025-07-15T12:34:56",
        "2025-07-15T12:34:56.123456",
        "2025-07-15T12:34Z",
        "2025-07-15T12:34:56.Z",
        "2025-07-15T12:34:56,5Z",
        "2025-07-15T12:34:56.1234567890Z",
        "2025-07-15T12:34:56+0300",
        "2025-07-15T12:34:56+03",
        "2025-07-15T12:34:56 03:00",
        "20250715T123456Z",
        "2025-7-15T12:34:56Z",
        "+2025-07-15T12:34:56Z",
        "-2025-07-15T12:34:56Z",
        "2025-07-15T12:34:56ZZ",
        " 2025-07-15T12:34:56Z",
        "2025-07-15T12:34:56Z\n",
        "\u0662025-07-15T12:34:56Z",
        "1752582896",
        "2025-W29-2T12:34:56Z",
    ],
)
def test_what_is_not_rfc_3339_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="from must be RFC 3339 with a zone"):
        parse_instant(text, name="from")


@given(st.text(max_size=40))
def test_no_text_whatever_raises_anything_but_invalid_input(text: str) -> None:
    try:
        parse_instant(text)
    except InvalidInput:
        return


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001 - the zone comes next
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_parsing_agrees_with_the_standard_library_in_every_zone(naive: datetime, offset_min: int) -> None:
    instant = naive.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    expected_us = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_instant(instant.isoformat()) == expected_us


@given(st.integers(0, YEAR_2100_US))
def test_a_written_instant_is_read_back_to_the_microsecond(instant_us: int) -> None:
    text = format_instant(instant_us)
    assert parse_instant(text) == instant_us
    assert len(text) == len(NOON)


def test_an_instant_is_written_with_six_decimals_and_z() -> None:
    assert format_instant(NOON_US) == NOON
    assert format_instant(0) == "1970-01-01T00:00:00.000000Z"
    assert format_instant(999_999) == "1970-01-01T00:00:00.999999Z"


def test_written_instants_sort_as_text_in_the_order_of_time() -> None:
    instants = [0, 1, 999_999, 1_000_000, NOON_US - 1, NOON_US, YEAR_2100_US]
    assert sorted(format_instant(one) for one in instants) == [format_instant(one) for one in instants]


def test_a_window_includes_both_of_its_bounds() -> None:
    window = parse_window(NOON, "2025-07-15T12:34:56.123458Z")
    assert [NOON_US + off_us in window for off_us in (-1, 0, 1, 2, 3)] == [False, True, True, True, False]


def test_bounds_in_nanoseconds_move_inward() -> None:
    window = parse_window("2025-07-15T12:34:56.123456001Z", "2025-07-15T12:34:56.123458999Z")
    assert window == Window(NOON_US + 1, NOON_US + 2)


def test_a_window_of_one_instant_holds_just_that() -> None:
    assert parse_window(NOON, NOON) == Window(NOON_US, NOON_US)


def test_a_window_between_two_nanoseconds_of_one_microsecond_is_empty() -> None:
    window = parse_window("2025-07-15T12:34:56.123456100Z", "2025-07-15T12:34:56.123456900Z")
    assert not [off_us for off_us in (-1, 0, 1, 2) if NOON_US + off_us in window]
    assert pieces(cover(window)) == []


def test_a_missing_bound_is_open() -> None:
    assert parse_window(None, None) == Window(0, LAST_US)
    assert parse_window(NOON, None) == Window(NOON_US, LAST_US)
    assert parse_window(None, NOON) == Window(0, NOON_US)


def test_a_window_from_before_1970_starts_there() -> None:
    assert parse_window("1960-01-01T00:00:00Z", NOON) == Window(0, NOON_US)


def test_a_window_that_ends_before_1970_is_empty() -> None:
    assert pieces(cover(parse_window(None, "1960-01-01T00:00:00Z"))) == []


def test_from_after_to_is_refused_and_says_both() -> None:
    with pytest.raises(InvalidInput, match="from must not be after to") as caught:
        parse_window("2025-07-15T12:34:56.123457Z", NOON)
    assert NOON in str(caught.value)


@pytest.mark.parametrize("bounds", [("x", NOON), (NOON, "x"), ("", None), (None, "")])
def test_a_bound_that_cannot_be_read_is_named(bounds: tuple[str | None, str | None]) -> None:
    name = "to" if bounds[0] in (NOON, None) else "from"
    with pytest.raises(InvalidInput, match=f"^{name} must be RFC 3339"):
        parse_window(*bounds)


@given(windows())
def test_the_pieces_of_a_cover_are_exactly_the_window_without_gap_or_overlap(window: Window) -> None:
    found = pieces(cover(window))
    assert found[0][0] == window.first_us
    assert found[-1][1] == window.last_us
    for (_, last_us), (first_us, _) in itertools.pairwise(found):
        assert first_us == last_us + 1


@given(windows(), st.lists(INSTANTS, max_size=5))
def test_an_instant_is_in_one_piece_when_it_is_in_the_window_and_in_none_otherwise(
    window: Window, instants: list[int]
) -> None:
    found = pieces(cover(window))
    around = [bound + off_us for bound in (window.first_us, window.last_us) for off_us in (-1, 0, 1)]
    for instant_us in instants + around:
        holding = [piece for piece in found if piece[0] <= instant_us <= piece[1]]
        assert len(holding) == (instant_us in window)


@given(windows())
def test_a_cover_needs_at_most_255_buckets_per_side_and_level_and_two_seconds_of_rows(window: Window) -> None:
    covering = cover(window)
    for shift in ROLLUP_SHIFTS[:-1]:
        narrow = [one.last - one.first + 1 for one in covering.buckets if one.shift == shift]
        assert len(narrow) <= 2
        assert sum(narrow) <= 2 * 255
        assert len(narrow) == 1 or max(narrow, default=0) <= 255
    assert len([one for one in covering.buckets if one.shift == ROLLUP_SHIFTS[-1]]) <= 1
    assert sum(edge.last_us - edge.first_us + 1 for edge in covering.edges) < 2 << ROLLUP_SHIFTS[0]


def test_everything_ever_is_one_range_of_the_widest_buckets() -> None:
    covering = cover(Window())
    assert [one.shift for one in covering.buckets] == [ROLLUP_SHIFTS[-1]]
    assert covering.edges == ()


@given(INSTANTS)
def test_one_microsecond_is_covered_by_itself(instant_us: int) -> None:
    assert cover(Window(instant_us, instant_us)) == Cover((), (Window(instant_us, instant_us),))
