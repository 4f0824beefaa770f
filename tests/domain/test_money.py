from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.errors import InvalidInput
from payrouter.domain.money import MAX_MINOR, fee_minor, format_minor, parse_amount, parse_minor

DIGITS = st.text("0123456789", min_size=1, max_size=16)
NUMBERS = st.builds(
    lambda sign, units, decimals, exponent: (sign + units + decimals + exponent).encode(),
    st.sampled_from(["", "-"]),
    DIGITS.map(lambda digits: digits.lstrip("0") or "0"),
    st.one_of(st.just(""), DIGITS.map(lambda digits: "." + digits[:4])),
    st.one_of(
        st.just(""),
        st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 10**25)),
        st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 14)),
    ),
)


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        (b"19.90", 1990),
        (b"19.9", 1990),
        (b"1.50", 150),
        (b"0.01", 1),
        (b"0.1", 10),
        (b"1", 100),
        (b"1e1", 1000),
        (b"1E+1", 1000),
        (b"1e0", 100),
        (b"10e-1", 100),
        (b"1.234e1", 1234),
        (b"1e9", MAX_MINOR),
        (b"1000000000", MAX_MINOR),
        (b"1000000000.00", MAX_MINOR),
        (b"999999999.99", MAX_MINOR - 1),
        (b"0.07", 7),
        (b"4.35", 435),
        (b"1.15", 115),
    ],
)
def test_an_amount_is_read_to_the_exact_cent(text: bytes, minor: int) -> None:
    assert parse_amount(text) == minor


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"19.90 ",
        b" 19.90",
        b"19.90\n",
        b'"19.90"',
        b"null",
        b"true",
        b"[19.90]",
        b"{}",
        b"NaN",
        b"nan",
        b"Infinity",
        b"-Infinity",
        b"+1",
        b"01",
        b"00.01",
        b"-01",
        b".5",
        b"5.",
        b"1,50",
        b"1_000",
        b"0x10",
        b"1e",
        b"1e+",
        b"e1",
        b"1.e1",
        b"--1",
        b"\xd9\xa1",
        "１９".encode(),  # noqa: RUF001 - digits that are not ASCII
        b"\xff",
    ],
)
def test_what_is_not_a_json_number_is_not_an_amount(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="must be a JSON number"):
        parse_amount(text)


@pytest.mark.parametrize("text", [b"0", b"-0", b"0.0", b"0.00", b"-0.00", b"0e5", b"-1", b"-19.90", b"-1e1", b"-0.01"])
def test_nothing_and_less_than_nothing_are_not_amounts(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="above 0"):
        parse_amount(text)


@pytest.mark.parametrize("text", [b"19.999", b"0.001", b"1.500", b"1e-3", b"1.25e-1", b"1e-400", b"0.000"])
def test_more_than_two_decimals_are_refused_and_never_rounded(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="at most 2 decimals"):
        parse_amount(text)


@pytest.mark.parametrize("text", [b"1000000000.01", b"9999999999.99", b"10000000000", b"1e10", b"1e400", b"123456e9"])
def test_an_amount_above_the_largest_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"at most 1000000000\.00"):
        parse_amount(text)


@pytest.mark.parametrize("text", [b"1e999999999999999999999", b"-1E+99999999999999999999", b"1e-99999999999999999999"])
def test_an_exponent_beyond_what_decimal_can_hold_is_refused_like_any_other(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_amount(text)


@pytest.mark.parametrize("text", [b"9" * 5000, b"0." + b"0" * 5000 + b"1", b"1e" + b"9" * 5000, b"-" + b"1" * 5000])
def test_thousands_of_digits_are_refused_without_echoing_them(text: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_amount(text)
    assert len(str(caught.value)) < 120


@given(st.integers(1, MAX_MINOR))
def test_what_is_written_is_read_back_to_the_cent(minor: int) -> None:
    assert parse_amount(format_minor(minor).encode()) == minor


@given(NUMBERS)
def test_an_amount_is_exact_or_refused_and_never_something_near_it(text: bytes) -> None:
    try:
        minor = parse_amount(text)
    except InvalidInput:
        return
    assert 0 < minor <= MAX_MINOR
    assert Decimal(text.decode()) == Decimal(minor) / 100


@given(st.binary(max_size=50))
def test_no_bytes_whatever_raise_anything_but_invalid_input(text: bytes) -> None:
    try:
        minor = parse_amount(text)
    except InvalidInput:
        return
    assert 0 < minor <= MAX_MINOR


@pytest.mark.parametrize(
    ("minor", "text"),
    [
        (1990, "19.90"),
        (5, "0.05"),
        (0, "0.00"),
        (-5, "-0.05"),
        (-1990, "-19.90"),
        (100, "1.00"),
        (10**20, f"{10**18}.00"),
    ],
)
def test_minor_units_are_written_with_two_places(minor: int, text: str) -> None:
    assert format_minor(minor) == text


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("19.90", 1990),
        ("19.9", 1990),
        ("0.125", 12),
        ("0.135", 14),
        ("0.005", 0),
        ("0.015", 2),
        ("1e2", 10000),
        ("0", 0),
    ],
)
def test_a_processor_s_decimal_is_rounded_half_to_even_as_processors_do(text: str, minor: int) -> None:
    assert parse_minor(text) == minor


@pytest.mark.parametrize(
    ("amount_minor", "fee", "kept"),
    [
        (1990, "0.05", 100),  # 99.5
        (1970, "0.05", 98),  # 98.5
        (10, "0.05", 0),  # 0.5
        (30, "0.05", 2),  # 1.5
        (50, "0.05", 2),  # 2.5
        (1990, "0.15", 298),  # 298.5
        (1990, "0", 0),
        (1, "0.99", 1),
        (MAX_MINOR, "0.05", 5_000_000_000),
    ],
)
def test_a_fee_is_rounded_half_to_even(amount_minor: int, fee: str, kept: int) -> None:
    assert fee_minor(amount_minor, Decimal(fee)) == kept


@given(st.integers(1, MAX_MINOR), st.decimals(0, 1, places=4))
def test_a_fee_is_never_more_than_half_a_cent_off(amount_minor: int, fee: Decimal) -> None:
    exact = amount_minor * fee
    assert abs(fee_minor(amount_minor, fee) - exact) <= Decimal("0.5")
    assert fee_minor(amount_minor, fee) == exact.quantize(Decimal(1), ROUND_HALF_EVEN)
