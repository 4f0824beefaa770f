"""A proxy before one processor that loses answers, resets connections, delays requests and answers garbage.

It acts on `POST /payments` alone, by chance, and passes everything else on. It runs in a process of its own; a second
port takes commands, one JSON line each, and answers with what it has done so far.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from enum import StrEnum
from typing import Annotated, Any

import msgspec

Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]

MOST_BYTES = 1 << 20
_PAYMENT = b"POST /payments "
_GARBAGE = b"\x16\x03\x01 not HTTP at all \xff\xfe\r\n\r\n"
# With SO_LINGER at 0 s, close() sends a reset (socket(7)).
_LINGER = struct.pack("ii", 1, 0)


class Deed(StrEnum):
    """What the proxy did to a payment's attempt, or to all connections at once."""

    RESET_BEFORE = "reset before it was passed on"
    ANSWER_LOST = "answer lost"
    RESET_MID_ANSWER = "reset in the middle of the answer"
    GARBAGE = "garbage for an answer"
    DELAYED = "delayed"
    CUT = "connection cut"


class ProxyFaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The chance of each deed; together at most 1. `delay_ms`: how long a delayed request is held.

    `reset_before`: the processor never hears of it. `answer_lost`, `reset_mid_answer`, `garbage`: it has charged, and
    the dispatcher gets no answer, half of one, or bytes that are no HTTP.
    """

    reset_before: Chance = 0.0
    answer_lost: Chance = 0.0
    reset_mid_answer: Chance = 0.0
    garbage: Chance = 0.0
    delayed: Chance = 0.0
    delay_ms: Annotated[int, msgspec.Meta(ge=0)] = 300

    def drawn(self, number: float) -> Deed | None:
        """Return what becomes of an attempt that drew this number of [0, 1); None if nothing."""
        for deed, chance in (
            (Deed.RESET_BEFORE, self.reset_before),
            (Deed.ANSWER_LOST, self.answer_lost),
            (Deed.RESET_MID_ANSWER, self.reset_mid_answer),
            (Deed.GARBAGE, self.garbage),
            (Deed.DELAYED, self.delayed),
        ):
            if number < chance:
                return deed
            number -= chance
        return None


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do from now on, if anything; `cut` ends every connection there is."""

    faults: ProxyFaults | None = None
    cut: bool = False


class Proxy:
    """Passes HTTP messages on to `127.0.0.1:target`; `done` counts its deeds."""

    def __init__(self, target: int, seed: int = 0) -> None:
        self.target = target
        self.faults = ProxyFaults()
        self.done: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Treat one connection of a dispatcher, over one connection to the processor."""
        upstream: asyncio.StreamWriter | None = None
        self._open.add(writer)
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.target, limit=MOST_BYTES)
            while request := await read_message(reader):
                if not await self._pass_on(request, answers, upstream, writer):
                    reset(writer)
                    break
        except (OSError, EOFError, ValueError):
            # One side has gone, or does not speak HTTP: the other is told by a reset, as by a router in between.
            reset(writer)
        finally:
            self._open.discard(writer)
            for one in (writer, upstream):
                if one is not None:
                    one.close()
                    # However it ended, it is over.
                    with contextlib.suppress(OSError):
                        await one.wait_closed()

    async def _pass_on(
        self,
        request: bytes,
        answers: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Treat one request; return whether the connection stays."""
        deed = self.faults.drawn(self._chance.random()) if request.startswith(_PAYMENT) else None
        if deed is not None:
            self.done[deed] += 1
        if deed is Deed.RESET_BEFORE:
            return False
        if deed is Deed.DELAYED:
            await asyncio.sleep(self.faults.delay_ms / 1000)
        upstream.write(request)
        answer = await read_message(answers)
        if deed is Deed.RESET_MID_ANSWER:
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
            # A reset throws away what the other side has not read yet.
            await asyncio.sleep(0.01)
        elif deed is Deed.GARBAGE:
            writer.write(_GARBAGE)
        elif deed is not Deed.ANSWER_LOST:
            writer.write(answer)
        await writer.drain()
        return bool(answer) and deed not in {Deed.ANSWER_LOST, Deed.RESET_MID_ANSWER}

    def cut(self) -> None:
        """End every connection with a reset."""
        for writer in self._open:
            self.done[Deed.CUT] += 1
            reset(writer)

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Treat one connection of whoever commands: a `Command` a line, answered with `done`."""
        try:
            while line := await reader.readline():
                command = msgspec.json.decode(line, type=Command)
                if command.faults is not None:
                    self.faults = command.faults
                if command.cut:
                    self.cut()
                writer.write(msgspec.json.encode(self.done) + b"\n")
        finally:
            writer.close()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Return the next HTTP message as it came; empty when the connection was closed before one began.

    Raises:
        EOFError: if it was closed in the middle of one.
        ValueError: if it is not HTTP with a length or chunks.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return b""
        raise
    except asyncio.LimitOverrunError as error:
        raise ValueError("a head without an end") from error
    headers = dict(_header(line) for line in head.split(b"\r\n")[1:] if line)
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return head + await _read_chunks(reader)
    return head + await reader.readexactly(int(headers.get(b"content-length", b"0")))


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.lower(), value.strip()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        found += line + await reader.readexactly(size + 2)
        if size == 0:
            return found


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset instead of an orderly close."""
    raw: Any = writer.get_extra_info("socket")
    # The socket of a connection that has ended meanwhile is no more.
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    writer.transport.abort()


async def run(port: int, control: int, proxy: Proxy) -> None:
    """Serve until cancelled."""
    async with (
        await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=MOST_BYTES) as serving,
        await asyncio.start_server(proxy.obey, "127.0.0.1", control) as obeying,
    ):
        await asyncio.gather(serving.serve_forever(), obeying.serve_forever())


def main() -> None:
    """Run one proxy until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m payrouter_lab.faults.proxy", description=__doc__)
    for name, meaning in (
        ("--port", "where dispatchers connect"),
        ("--target", "where the processor is"),
        ("--control", "where commands are taken"),
        ("--seed", "of what strikes by chance"),
    ):
        parser.add_argument(name, type=int, required=True, help=meaning)
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.port, given.control, Proxy(given.target, given.seed)))


if __name__ == "__main__":
    main()
