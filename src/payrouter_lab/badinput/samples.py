"""Bad requests as bytes, by family. Pure: sample `number` of a seed is always the same bytes.

Most samples hold a payment that would be good without its flaw, with an id of the sample's own: so whatever a
processor charges can be traced to the sample it came from.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter_lab.bench.ids import payment_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEAD_LIMIT = 16 * 1024
BODY_LIMIT = 64 * 1024
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Streams of ids (see `payrouter_lab.bench.ids`).
_BAD, _STALLED, _GOOD = 1, 2, 3
_JSON = b"Content-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Sample:
    """What is sent on one connection: `pieces` in order, `pause_s` apart.

    `names`: the correlationIds it may be read to hold, whatever the flaw. `stalled`: it ends in the middle of a
    request, and the client neither goes on nor hangs up. `head_only`: one HEAD, whose answer has no body.
    """

    number: int
    family: str
    pieces: tuple[bytes, ...]
    names: frozenset[str]
    pause_s: float = 0.0
    stalled: bool = False
    head_only: bool = False


@dataclass(frozen=True, slots=True)
class _Payment:
    """A good payment, to be spoilt."""

    name: str
    amount: str

    @property
    def body(self) -> bytes:
        return b'{"correlationId":"%b","amount":%b}' % (self.name.encode(), self.amount.encode())

    def post(self, headers: bytes = b"", body: bytes | None = None) -> bytes:
        """Return a POST of `body`, by default the payment's, of correct length."""
        return post(self.body if body is None else body, headers)


def post(body: bytes, headers: bytes = b"", length: bytes | None = None) -> bytes:
    """Return a `POST /payments`; `length` is what Content-Length says instead of the truth."""
    said = b"%d" % len(body) if length is None else length
    return b"POST /payments HTTP/1.1\r\nHost: a\r\n%b%bContent-Length: %b\r\n\r\n%b" % (_JSON, headers, said, body)


def chunked(chunks: Sequence[bytes], headers: bytes = b"Transfer-Encoding: chunked\r\n") -> bytes:
    """Return a `POST /payments` whose body is these chunks, framing included."""
    return b"POST /payments HTTP/1.1\r\nHost: a\r\n%b%b\r\n%b" % (_JSON, headers, b"".join(chunks))


def chunk(data: bytes) -> bytes:
    """Return one correct chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Samples:
    """The samples of one run. `seed` decides the flaws, `salt` the ids, so that a run can be repeated on the same router.

    Raises:
        ValueError: for a salt beyond 32 bits.
    """

    def __init__(self, seed: int, salt: int) -> None:
        if not 0 <= salt < 2**32:
            raise ValueError(f"salt must have 32 bits, got {salt}")
        self._seed = seed
        self._salt = salt

    def sample(self, number: int) -> Sample:
        """Return sample `number`; families take turns."""
        family = FAMILIES[number % len(FAMILIES)]
        chance = random.Random(f"{self._seed}/{number}")
        payment = self._payment(_BAD, number, chance)
        return self._made(
            number,
            family,
            payment.name,
            _FLAWS[family](chance, payment),
            pause_s=chance.choice((0.0, 0.002, 0.05)) if family == "dribble" else 0.0,
            head_only=family == "head",
        )

    def stalled(self, number: int) -> Sample:
        """Return a sample that stops in the middle of its head or body and waits."""
        chance = random.Random(f"{self._seed}/stalled/{number}")
        payment = self._payment(_STALLED, number, chance)
        data = payment.post()
        return self._made(number, "stalled", payment.name, [data[: chance.randrange(1, len(data))]], stalled=True)

    def good(self, number: int) -> Sample:
        """Return a good payment, to see whether they are still taken."""
        payment = _Payment(payment_id(self._salt, _GOOD, number), "19.90")
        return self._made(number, "good", payment.name, [payment.post(b"Connection: close\r\n")])

    def _payment(self, stream: int, number: int, chance: random.Random) -> _Payment:
        amount = f"{chance.randrange(1, 10**6)}.{chance.randrange(100):02d}"
        return _Payment(payment_id(self._salt, stream, number), amount)

    def _made(  # noqa: PLR0913 - a sample's fields
        self,
        number: int,
        family: str,
        name: str,
        pieces: Sequence[bytes],
        *,
        pause_s: float = 0.0,
        stalled: bool = False,
        head_only: bool = False,
    ) -> Sample:
        told = {found.decode() for found in _UUID.findall(b"".join(pieces).lower())}
        return Sample(number, family, tuple(pieces), frozenset(told | {name}), pause_s, stalled, head_only)


# -- the families: each spoils a payment in one of its ways


def _noise(chance: random.Random, _payment: _Payment) -> list[bytes]:
    tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(32)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    return [chance.choice((chance.randbytes(chance.randrange(1, 400)), tls_hello, preface, b"\r\n" * 9, b"\x00" * 40))]


def _any_request(chance: random.Random, payment: _Payment) -> bytes:
    """Return a good request of any kind the API knows."""
    name = payment.name.encode()
    return chance.choice(
        (
            payment.post(),
            payment.post(),
            chunked([chunk(payment.body), b"0\r\n\r\n"]),
            payment.post(b"Expect: 100-continue\r\n"),
            payment.post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            b"GET /payments/%b HTTP/1.1\r\nHost: a\r\n\r\n" % name,
            b"GET /payments-summary?from=2025-07-15T12:00:00.000Z&to=2030-07-15T12:00:00%2B02:00 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"POST /purge-payments HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n",
        )
    )


def _flipped(chance: random.Random, payment: _Payment) -> list[bytes]:
    changed = bytearray(_any_request(chance, payment))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return [bytes(changed)]


def _truncated(chance: random.Random, payment: _Payment) -> list[bytes]:
    data = _any_request(chance, payment)
    return [data[: chance.randrange(1, len(data))]]


_TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b"\xff", b" ", b":", b"\t", b"POST ", b"GET ", b"HTTP/1.1", b"HTTP/1.0",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Expect: 100-continue\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n", b"Upgrade: h2c\r\n", b"Connection: upgrade\r\n", b"0\r\n\r\n", b"ffffffff\r\n", b"/payments",
    b"?", b"%00", b"%zz", b"http://", b"{", b"}", b'"', b"[" * 2000, b"1e999", b"\\ud800", b"\xef\xbb\xbf", b"amount",
    b"A" * (HEAD_LIMIT + 4000), b"CONNECT a:1 ",
)  # fmt: skip


def _spliced(chance: random.Random, payment: _Payment) -> list[bytes]:
    changed = bytearray(_any_request(chance, payment))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                del changed[at : at + chance.randrange(1, 12)]
            case 1:
                changed[at:at] = changed[at : at + chance.randrange(1, 40)]
            case 2:
                changed[at:at] = chance.randbytes(chance.randrange(1, 6))
            case _:
                changed[at:at] = chance.choice(_TOKENS)
    return [bytes(changed)]


def _headers(chance: random.Random, payment: _Payment) -> list[bytes]:
    flaw = chance.choice(
        (
            _JSON,
            b"Content-Type: text/plain\r\n",
            b"Host: b\r\n",
            b"X-Long: " + b"a" * chance.randrange(HEAD_LIMIT - 400, 4 * HEAD_LIMIT) + b"\r\n",
            b"".join(b"X-%d: %d\r\n" % (one, one) for one in range(chance.randrange(100, 3000))),
            b"X-Nul: a\x00b\r\n",
            b"X-Fold: a\r\n b\r\n",
            b"No-Colon\r\n",
            b": no name\r\n",
            b"X Space: a\r\n",
            b"X-Space : a\r\n",
            b"X-Latin: \xe9\xff\x80\r\n",
            b"X-Bare: a\rb\r\n",
            b"X-Feed: a\nX-Next: b\r\n",
            b"Expect: 200-maybe\r\n",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
            b"Connection: " + b"close, " * 500 + b"keep-alive\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Range: bytes=0-" + b"9" * 300 + b"\r\n",
        )
    )
    return [payment.post(flaw)]


def _length(chance: random.Random, payment: _Payment) -> list[bytes]:
    body, true = payment.body, len(payment.body)
    said = chance.choice(
        (
            b"%d" % chance.randrange(true),
            b"%d" % (true + chance.randrange(1, 3000)),
            b"-%d" % true,
            b"+%d" % true,
            b"0x%x" % true,
            b"%d, %d" % (true, true),
            b"%d\r\nContent-Length: %d" % (true, true),
            b"%d\r\nContent-Length: %d" % (true, true + 1),
            b"%d" % (BODY_LIMIT + chance.randrange(1, 10**6)),
            b"9" * chance.choice((15, 19, 20, 21, 400)),
            b"",
            b" ",
            b"%de0" % true,
            b"%d." % true,
            b"%d %d" % (true // 10, true % 10),
            b"\xd9\xa1\xd9\xa2",
        )
    )
    return [post(body, length=said)]


def _chunks(chance: random.Random, payment: _Payment) -> list[bytes]:
    body, last = payment.body, b"0\r\n\r\n"
    framing = chance.choice(
        (
            (b"-5\r\n", body, b"\r\n", last),
            (b"0x%x\r\n" % len(body), body, b"\r\n", last),
            (b"f" * 17 + b"\r\n", body, b"\r\n", last),
            (b"ffffffffffffffff\r\n", body, b"\r\n", last),
            (b"%x\r\n" % (len(body) + 1), body, b"\r\n", last),
            (b"%x\r\n" % (len(body) - 1), body, b"\r\n", last),
            (b"%x \r\n" % len(body), body, b"\r\n", last),
            (b"%x\n" % len(body), body, b"\n0\n\n"),
            (b"%x\r\n" % len(body), body, last),
            (chunk(body), b"0\r\n"),
            (chunk(body),),
            (b"%x;%b\r\n" % (len(body), b"x" * chance.randrange(1, 2 * HEAD_LIMIT)), body, b"\r\n", last),
            (b"%x;a=\x00\r\n" % len(body), body, b"\r\n", last),
            (chunk(body), b"0\r\nContent-Length: 5\r\nX: " + b"y" * chance.randrange(3 * HEAD_LIMIT) + b"\r\n\r\n"),
            (chunk(body), b"0\r\nno trailer\r\n\r\n"),
            (*(chunk(b" ") for _ in range(chance.randrange(100, 9000))), chunk(body), last),
            (chunk(b" " * BODY_LIMIT), chunk(body), last),
            (b"\r\n", chunk(body), last),
            (b"%x\r\n" % len(body) + b"\x00" * len(body), b"\r\n", last),
        )
    )
    return [chunked(framing)]


def _smuggled(chance: random.Random, payment: _Payment) -> list[bytes]:
    """Return requests that two readers could cut apart in different places, a payment hidden behind the cut."""
    hidden = payment.post()
    lengths = chance.choice((b"Content-Length: 4\r\n", b"Content-Length: %d\r\n" % (len(hidden) + 5), b""))
    coding = chance.choice(
        (
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Transfer-Encoding:\tchunked\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: identity, chunked\r\n",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n",
            b"X: a\nTransfer-Encoding: chunked\r\n",
            b"X: a\rTransfer-Encoding: chunked\r\n",
            b"Transfer_Encoding: chunked\r\n",
            b"\x00Transfer-Encoding: chunked\r\n",
            b"transfer-encoding: CHUNKED\r\n",
            b"Transfer-Encoding: chunked;q=1\r\n",
        )
    )
    both = (lengths, coding) if chance.random() < 0.5 else (coding, lengths)
    version = chance.choice((b"1.1", b"1.1", b"1.0"))
    start = chance.choice((b"POST /payments", b"GET /health", b"GET /payments-summary"))
    shell = b"%b HTTP/%b\r\nHost: a\r\n%b%b\r\n" % (start, version, _JSON, b"".join(both))
    return [shell + chance.choice((b"0\r\n\r\n" + hidden, chunk(hidden) + b"0\r\n\r\n", hidden))]


def _pipelined(chance: random.Random, payment: _Payment) -> list[bytes]:
    others = [_any_request(chance, payment) for _ in range(chance.randrange(1, 12))]
    flawed = b"".join(chance.choice((_flipped, _truncated, _length, _text))(chance, payment))
    others.insert(chance.randrange(len(others) + 1), flawed)
    # 16 may wait; then the server stops reading until it has answered some.
    return [b"".join(others) + payment.post() * chance.choice((0, 0, 1, 40))]


def _dribble(chance: random.Random, payment: _Payment) -> list[bytes]:
    data = b"".join(chance.choice((_headers, _length, _chunks, _text, _numbers))(chance, payment))
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(chance.randrange(1, 16)))})
    return [data[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]


def _nested(chance: random.Random, payment: _Payment) -> list[bytes]:
    depth = chance.choice((50, 900, 1100, 5000, 30_000))
    shape = chance.choice((b"[", b'{"a":', b'[{"correlationId":', b"[[["))
    deep = (shape * depth)[: BODY_LIMIT - 200]
    closed = b"[" * (depth // 2) + b"]" * (depth // 2)
    name = payment.name.encode()
    return [
        post(
            chance.choice(
                (
                    deep,
                    b'{"correlationId":"%b","amount":%b}' % (name, deep),
                    b'{"correlationId":"%b","amount":%b}' % (name, closed),
                    b'{"correlationId":%b,"amount":1}' % closed,
                    b'{"correlationId":"%b","amount":1,"more":%b}' % (name, closed),
                )
            )
        )
    ]


_NUMBERS = (
    "1e999", "-1e999", "1e-999", "0", "-0", "0.0", "-19.90", "19.999", "0.001", "1E+400000000", "1e2147483648", "NaN", "Infinity",
    "-Infinity", "0x10", "1_000", "01", ".5", "5.", "+5", "1,5", "1e", "1e+", "--1", "1000000000.01", "99999999999999999999",
    "1.0000000000000000000000000000000000001", "null", "true", '"19.90"', "[19.90]", "{}", "", " ", "\\u0031", "1 2",
)  # fmt: skip


def _numbers(chance: random.Random, payment: _Payment) -> list[bytes]:
    digits = "9" * chance.choice((30, 400, 5000, 60_000))
    amount = chance.choice((*_NUMBERS, digits, f"1.{digits}", f"-{digits}", f"1e{digits}", f"0.{'0' * len(digits)}1"))
    return [post(b'{"correlationId":"%b","amount":%b}' % (payment.name.encode(), amount.encode()))]


def _text(chance: random.Random, payment: _Payment) -> list[bytes]:
    name, body, amount = payment.name.encode(), payment.body, payment.amount.encode()
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in payment.name).encode()
    bad = chance.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x00", b"\xe2\x82", b"\\ud800", b"\\u0000"))
    other_name = chance.choice((b"{%b}" % name, b"urn:uuid:" + name, name.replace(b"-", b""), name.upper(), name + b"0"))
    return [
        post(
            chance.choice(
                (
                    body.replace(name, name[:-1] + bad),
                    body.replace(b"amount", b"amo" + bad),
                    body.replace(b"}", b',"note":"' + bad + b'"}'),
                    body + bad,
                    bad + body,
                    b"\xef\xbb\xbf" + body,
                    body.decode().encode("utf-16"),
                    body.replace(name, other_name),
                    body.replace(name, escaped),
                    body.replace(b"}", b',"amount":' + amount + b"}"),
                    body.replace(b"{", b'{"correlationId":"%b",' % name),
                    body.replace(b"correlationId", b"correlationid"),
                    body.replace(b'"', b"'"),
                    body.replace(b":", b"="),
                    body[:-1] + b",}",
                    b"[%b]" % body,
                    body * 2,
                    b'"%b"' % name,
                    b"null",
                    b"" if chance.random() < 0.5 else b" " * 5000,
                    body.replace(name, b"a" * 60_000),
                    b"/* payment */" + body,
                    json.dumps({"correlationId": [payment.name], "amount": 1}).encode(),
                )
            )
        )
    ]


def _targets(chance: random.Random, payment: _Payment) -> list[bytes]:
    name = payment.name.encode()
    target = chance.choice(
        (
            b"/../../etc/passwd", b"//payments", b"/payments/", b"/payments//", b"/payments/%00", b"/payments/" + b"%41" * 3000,
            b"/payments/" + name + b"/", b"/payments?" + name, b"/payments/\xff\xfe", b"/%zz", b"/" + b"a" * (HEAD_LIMIT + 500),
            b"/payments/" + name[:-1], b"*", b"", b"payments", b"http://", b"http://a", b"http://a/payments", b"ftp://a/payments",
            b"a:443", b"/payments-summary?from=" + chance.randbytes(9).replace(b" ", b"_").replace(b"\n", b"_"),
            b"/payments-summary?from=2025-13-45T99:99:99Z", b"/payments-summary?to=0000-00-00T00:00:00Z&from=",
            b"/payments-summary?from=9999-12-31T23:59:59.999999999-23:59", b"/payments-summary?from=0001-01-01T00:00:00%2B23:59",
            b"/payments-summary?" + b"&".join(b"from=%d" % one for one in range(500)), b"/payments-summary?%66rom=&&&==&=",
            b"/payments-summary?to=2025-07-15T12:00:00.0000000001Z", b"/purge-payments", b"/openapi.json?" + b"x" * 9000,
            b"/payments-summary?from=\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa5-07-15T12:00:00Z", b"/payments#fragment",
        )
    )  # fmt: skip
    method = chance.choice((b"GET", b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"get", b"BREW", b"CONNECT"))
    version = chance.choice((b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1", b"http/1.1", b"ICE/1.0"))
    body = payment.body if chance.random() < 0.3 else b""
    return [b"%b %b %b\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (method, target, version, _JSON, len(body), body)]


def _head(chance: random.Random, payment: _Payment) -> list[bytes]:
    path = chance.choice((b"/health", b"/payments", b"/payments/" + payment.name.encode(), b"/payments-summary?a=b", b"/nowhere"))
    return [b"HEAD %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path]


_FLAWS: dict[str, Callable[[random.Random, _Payment], list[bytes]]] = {
    "noise": _noise,
    "flipped bits": _flipped,
    "truncated": _truncated,
    "spliced": _spliced,
    "headers": _headers,
    "Content-Length": _length,
    "chunks": _chunks,
    "smuggling": _smuggled,
    "pipelined": _pipelined,
    "dribble": _dribble,
    "nested JSON": _nested,
    "numbers": _numbers,
    "text": _text,
    "targets": _targets,
    "head": _head,
}
FAMILIES = tuple(_FLAWS)
"""Every family; sample `number` is of family `number` modulo their count."""
