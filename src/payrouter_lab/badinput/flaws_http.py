"""Bytes that are no request, or hardly one. Pure; a flaw is a function of chance and a good payment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter_lab.badinput.good import BODY_LIMIT, HEAD_LIMIT, JSON, USUAL, GoodPayment, chunk, chunked, post

if TYPE_CHECKING:
    import random


def noise(chance: random.Random, _payment: GoodPayment) -> list[bytes]:
    """What is no HTTP/1.1 at all."""
    tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(32)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    return [chance.choice((chance.randbytes(chance.randrange(1, 400)), tls_hello, preface, b"\r\n" * 9, b"\x00" * 40))]


def any_request(chance: random.Random, payment: GoodPayment) -> bytes:
    """Return a good request of any kind the API knows."""
    name = payment.name.encode()
    return chance.choice(
        (
            payment.post(),
            payment.post(),
            chunked([chunk(payment.body), b"0\r\n\r\n"]),
            payment.post(b"Expect: 100-continue\r\n"),
            payment.post(b"Prefer: wait=1\r\n"),
            payment.post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            b"GET /payments/%b HTTP/1.1\r\nHost: a\r\n\r\n" % name,
            b"GET /payments-summary?from=2025-07-15T12:00:00.000Z&to=2030-07-15T12:00:00%2B02:00 HTTP/1.1\r\n"
            b"Host: a\r\n\r\n",
            b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"POST /purge-payments HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n",
        )
    )


def flipped(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """A good request with a few bits changed."""
    changed = bytearray(any_request(chance, payment))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return [bytes(changed)]


def truncated(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """A good request, cut off."""
    data = any_request(chance, payment)
    return [data[: chance.randrange(1, len(data))]]


_TOKENS = (
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b"\xff", b" ", b":", b"\t", b"POST ", b"GET ", b"HTTP/1.1",
    b"HTTP/1.0", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n", b"Expect: 100-continue\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n", b"0\r\n\r\n", b"ffffffff\r\n", b"/payments", b"?", b"%00", b"%zz", b"http://",
    b"{", b"}", b'"', b"[" * 2000, b"1e999", b"\\ud800", b"\xef\xbb\xbf", b"amount", b"A" * (HEAD_LIMIT + 4000),
    b"CONNECT a:1 ",
)  # fmt: skip


def spliced(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """A good request with pieces removed, doubled and put in."""
    changed = bytearray(any_request(chance, payment))
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


def headers(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """One header too many, too long, or not one."""
    flaw = chance.choice(
        (
            JSON,
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
            b"Authorization: Bearer " + chance.randbytes(9).hex().encode() + b"\r\n",
            b"Authorization: Bearer \xff\x80" + b"x" * chance.randrange(9000) + b"\r\n",
            b"Prefer: wait="
            + chance.choice((b"-1", b"1e9", b"9" * 5000, b'"', b"0x1", b"\xd9\xa1", b"1,wait=2"))
            + b"\r\n",
            b"X-Real-IP: " + chance.choice((b"127.0.0.1", b"\x01", b":" * 2000, b"::1%" + b"e" * 500)) + b"\r\n",
            b"X-Forwarded-For: " + b"10.0.0.1," * chance.randrange(900) + b"\r\n",
            b"Range: bytes=0-" + b"9" * 300 + b"\r\n",
        )
    )
    return [payment.post(flaw)]


def length(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """A Content-Length that is no length, or not the true one."""
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


def chunks(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """Chunked coding with a fault in its framing."""
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


def smuggled(chance: random.Random, payment: GoodPayment) -> list[bytes]:
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
    shell = b"%b HTTP/%b\r\nHost: a\r\n%b%b\r\n" % (start, version, USUAL, b"".join(both))
    return [shell + chance.choice((b"0\r\n\r\n" + hidden, chunk(hidden) + b"0\r\n\r\n", hidden))]


def targets(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """Methods, targets and versions nobody should send."""
    name = payment.name.encode()
    targets = (
        b"/../../etc/passwd", b"//payments", b"/payments/", b"/payments//", b"/payments/%00",
        b"/payments/" + b"%41" * 3000, b"/payments/" + name + b"/", b"/payments?" + name, b"/payments/\xff\xfe",
        b"/%zz", b"/" + b"a" * (HEAD_LIMIT + 500), b"/payments/" + name[:-1], b"*", b"", b"payments", b"http://",
        b"http://a", b"http://a/payments", b"ftp://a/payments", b"a:443",
        b"/payments-summary?from=" + chance.randbytes(9).replace(b" ", b"_").replace(b"\n", b"_"),
        b"/payments-summary?from=2025-13-45T99:99:99Z", b"/payments-summary?to=0000-00-00T00:00:00Z&from=",
        b"/payments-summary?from=9999-12-31T23:59:59.999999999-23:59",
        b"/payments-summary?from=0001-01-01T00:00:00%2B23:59",
        b"/payments-summary?" + b"&".join(b"from=%d" % one for one in range(500)),
        b"/payments-summary?%66rom=&&&==&=", b"/payments-summary?to=2025-07-15T12:00:00.0000000001Z",
        b"/purge-payments", b"/openapi.json?" + b"x" * 9000,
        b"/payments-summary?from=\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa5-07-15T12:00:00Z", b"/payments#fragment",
    )  # fmt: skip
    target = chance.choice(targets)
    method = chance.choice(
        (b"GET", b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"get", b"BREW", b"CONNECT")
    )
    version = chance.choice(
        (b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1", b"http/1.1", b"ICE/1.0")
    )
    body = payment.body if chance.random() < 0.3 else b""
    return [
        b"%b %b %b\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (method, target, version, USUAL, len(body), body)
    ]


def head(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """A HEAD, which no path here takes."""
    path = chance.choice(
        (b"/health", b"/payments", b"/payments/" + payment.name.encode(), b"/payments-summary?a=b", b"/nowhere")
    )
    return [b"HEAD %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path]
