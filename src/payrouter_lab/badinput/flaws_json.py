"""Bodies that are no payment, or hardly one. Pure; a flaw is a function of chance and a good payment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from payrouter_lab.badinput.good import BODY_LIMIT, GoodPayment, post

if TYPE_CHECKING:
    import random


def nested(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """JSON nested deeply."""
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
    "1e999", "-1e999", "1e-999", "0", "-0", "0.0", "-19.90", "19.999", "0.001", "1E+400000000", "1e2147483648",
    "NaN", "Infinity", "-Infinity", "0x10", "1_000", "01", ".5", "5.", "+5", "1,5", "1e", "1e+", "--1",
    "1000000000.01", "99999999999999999999", "1.0000000000000000000000000000000000001", "null", "true",
    '"19.90"', "[19.90]", "{}", "", " ", "\\u0031", "1 2",
)  # fmt: skip


def numbers(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """Amounts that are no amounts."""
    digits = "9" * chance.choice((30, 400, 5000, 60_000))
    amount = chance.choice((*_NUMBERS, digits, f"1.{digits}", f"-{digits}", f"1e{digits}", f"0.{'0' * len(digits)}1"))
    return [post(b'{"correlationId":"%b","amount":%b}' % (payment.name.encode(), amount.encode()))]


def text(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    """JSON with a fault in its text: encodings, escapes, keys, types."""
    name, body, amount = payment.name.encode(), payment.body, payment.amount.encode()
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in payment.name).encode()
    bad = chance.choice(
        (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x00", b"\xe2\x82", b"\\ud800", b"\\u0000")
    )
    other_name = chance.choice(
        (b"{%b}" % name, b"urn:uuid:" + name, name.replace(b"-", b""), name.upper(), name + b"0")
    )
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
