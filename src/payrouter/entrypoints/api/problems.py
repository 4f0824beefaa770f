"""Errors for clients as problem documents (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from payrouter.adapters.http.message import STATUS_LINES

PROBLEM_TYPE = b"application/problem+json"


def problem_body(status: int, detail: str) -> bytes:
    """Return the document: `detail` says what was wrong, what we got and what to do."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": status, "detail": detail})


def refusal(status: int, detail: str) -> tuple[bytes, bytes]:
    """Return head and body for what the server refuses before it is a request."""
    body = problem_body(status, detail)
    head = STATUS_LINES[status] + b"Content-Type: %b\r\nContent-Length: %d\r\n" % (PROBLEM_TYPE, len(body))
    return head, body
