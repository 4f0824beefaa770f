"""The client's trace, as W3C Trace Context has it: where a payment belongs in the traces of whoever sent it."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def parse_traceparent(value: bytes) -> str:
    """Return a `traceparent` of version 00 as it is, "" for anything else: that is ignored, as if there were none.

    Source: W3C Trace Context, level 1, section 3.2. Its trace id and parent id are not all zero, its hex digits small.
    """
    return value.decode() if _TRACEPARENT.fullmatch(value) is not None else ""


def trace_id(traceparent: str) -> str:
    """Return the trace's id, 32 hex digits, of a `traceparent`."""
    return traceparent[3:35]
