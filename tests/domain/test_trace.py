from __future__ import annotations

import pytest

from payrouter.domain.trace import parse_traceparent, trace_id

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("flags", [b"00", b"01", b"ff"])
def test_a_traceparent_of_version_00_is_kept_as_it_is(flags: bytes) -> None:
    assert parse_traceparent(TRACE[:-2] + flags) == (TRACE[:-2] + flags).decode()
    assert trace_id(parse_traceparent(TRACE)) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        TRACE.upper(),
        TRACE.replace(b"b", b"B"),
        b"01" + TRACE[2:],
        b"ff" + TRACE[2:],
        TRACE + b"-00",
        TRACE + b"\n",
        TRACE + b" ",
        TRACE[:-1],
        TRACE.replace(b"-", b"_"),
        TRACE.replace(b"4bf92f3577b34da6a3ce929d0e0e4736", b"0" * 32),
        TRACE.replace(b"00f067aa0ba902b7", b"0" * 16),
        TRACE.replace(b"4bf9", b"4bg9"),
        TRACE.replace(b"4bf9", "4b\u00e9".encode()),
        TRACE + b", " + TRACE,
    ],
)
def test_anything_else_is_as_if_there_were_none(value: bytes) -> None:
    assert parse_traceparent(value) == ""
