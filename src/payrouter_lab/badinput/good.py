"""A good payment, as a request that can then be spoilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 64 * 1024
JSON = b"Content-Type: application/json\r\n"
KEY = "key-of-bad-input-0123"
"""What payments carry, and a router that is run with keys knows."""
USUAL = b"%bX-API-Key: %b\r\n" % (JSON, KEY.encode())


@dataclass(frozen=True, slots=True)
class GoodPayment:
    """A payment that would be accepted."""

    name: str
    amount: str

    @property
    def body(self) -> bytes:
        """The JSON."""
        return b'{"correlationId":"%b","amount":%b}' % (self.name.encode(), self.amount.encode())

    def post(self, headers: bytes = b"", body: bytes | None = None) -> bytes:
        """Return a POST of `body`, by default the payment's, of correct length."""
        return post(self.body if body is None else body, headers)


def post(body: bytes, headers: bytes = b"", length: bytes | None = None) -> bytes:
    """Return a `POST /payments`; `length` is what Content-Length says instead of the truth."""
    said = b"%d" % len(body) if length is None else length
    return b"POST /payments HTTP/1.1\r\nHost: a\r\n%b%bContent-Length: %b\r\n\r\n%b" % (USUAL, headers, said, body)


def chunked(chunks: Sequence[bytes], headers: bytes = b"Transfer-Encoding: chunked\r\n") -> bytes:
    """Return a `POST /payments` whose body is these chunks, framing included."""
    return b"POST /payments HTTP/1.1\r\nHost: a\r\n%b%b\r\n%b" % (USUAL, headers, b"".join(chunks))


def chunk(data: bytes) -> bytes:
    """Return one correct chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)
