"""Random and mutated bytes at the whole router: never a crash, never a 5xx, and the service goes on."""

from __future__ import annotations

import asyncio
import random
import uuid

import pytest

from integration.raw_http import NotHttp, split_answers
from integration.router_service import Service, payment_body, post_bytes, running_service

SEED = 999_000_000
REQUESTS = 9_000
AT_ONCE = 60
TOKENS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff",
    b" ",
    b":",
    b"POST ",
    b"GET ",
    b"HEAD ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Expect: 100-continue\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"/payments",
    b"/payments-summary?from=",
    b"?",
    b"%00",
    b"%zz",
    b"http://",
    b"{",
    b"}",
    b'"',
    b"[" * 2000,
    b"1e999",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"amount",
    b"A" * 20_000,
    b"CONNECT a:1 ",
]


def valid(chance: random.Random) -> bytes:
    correlation_id = str(uuid.UUID(int=chance.getrandbits(128)))
    body = payment_body(correlation_id, f"{chance.randrange(1, 10**6)}.{chance.randrange(100):02d}")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body.encode())
    head = b"POST /payments HTTP/1.1\r\nContent-Type: application/json\r\n"
    return chance.choice(
        [
            post_bytes(body),
            post_bytes(body),
            post_bytes(body) * 3,
            head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
            head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body) + body.encode(),
            b"GET /payments/%b HTTP/1.1\r\n\r\n" % correlation_id.encode(),
            b"GET /payments-summary?from=2025-07-15T12:00:00.000Z&to=2026-07-15T12:00:00%2B02:00 HTTP/1.1\r\n\r\n",
            b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"POST /purge-payments HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            b"GET /openapi.json HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        ]
    )


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with a few places changed: bits, cuts, doubled pieces, tokens put in."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.randrange(1, 12)]
            case 2:
                changed[at:at] = changed[at : at + chance.randrange(1, 40)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randrange(1, 6))
            case _:
                changed[at:at] = chance.choice(TOKENS)
    return bytes(changed)


def sample(number: int) -> bytes:
    chance = random.Random(SEED + number)
    if number % 20 == 0:
        return chance.randbytes(chance.randrange(1, 300))
    return mutated(valid(chance), chance)


async def exchange(service: Service, data: bytes, chance: random.Random) -> bytes:
    """Send bytes in one or several pieces, give the answer a moment, hang up, and return what came."""
    reader, writer = await asyncio.open_connection(service.address.host, service.address.port)
    received = b""
    try:
        cut = chance.randrange(len(data) + 1)
        for piece in (data[:cut], data[cut:]) if chance.random() < 0.3 else (data,):
            writer.write(piece)
            await asyncio.sleep(0)
        await asyncio.sleep(0.06)
        writer.write_eof()
        while piece := await asyncio.wait_for(reader.read(65536), 5):
            received += piece
    except (OSError, RuntimeError):
        pass
    finally:
        writer.transport.abort()
    return received


async def attack(service: Service) -> dict[int, int]:
    """Send every sample; return how often each status came, 0 standing for a connection closed in silence."""
    room = asyncio.Semaphore(AT_ONCE)
    seen: dict[int, int] = {}

    async def one(number: int) -> None:
        data = sample(number)
        async with room:
            received = await exchange(service, data, random.Random(number))
        try:
            # A HEAD that came about by chance makes lengths without bodies.
            answers = split_answers(received) if b"HEAD " not in data else []
        except NotHttp as error:
            pytest.fail(
                f"sample {number} (seed {SEED}) was answered by what is not HTTP: {error}\n{data!r}\n{received!r}"
            )
        for answer in answers:
            assert answer.status < 500, f"sample {number} (seed {SEED}): {answer}\n{data!r}"
            seen[answer.status] = seen.get(answer.status, 0) + 1
        seen[0] = seen.get(0, 0) + (not answers)

    async with asyncio.TaskGroup() as tasks:
        for number in range(REQUESTS):
            tasks.create_task(one(number))
    return seen


def test_three_thousand_mutated_requests_are_answered_with_http_or_silence_and_the_service_goes_on(tmp_path):
    with running_service(tmp_path) as service:
        seen = asyncio.run(attack(service))
        print("statuses seen:", dict(sorted(seen.items())))
        # The samples reach every layer: the parser, the routes, the body, the queue.
        assert {0, 200, 202, 400, 404, 415, 422, 431} <= set(seen)
        service.goes_on()
        charges = service.charges()
        assert len(charges) == len(set(charges))
        assert len(service.router.boards) == 2
