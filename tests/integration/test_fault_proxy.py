"""The fault proxy: what each of its deeds looks like from both sides, and that it counts them."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from payrouter_lab.bench.processes import free_port
from payrouter_lab.faults.bed import FaultProxy
from payrouter_lab.faults.proxy import Command, Deed, Proxy, ProxyFaults, read_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY = b'{"correlationId":"4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3","amount":19.90}'
PAYMENT = b"POST /payments HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEALTH = b"GET /payments/service-health HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"message":"paid"}'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npaid!\r\n0\r\n\r\n"


class Processor:
    """Answers every request, and keeps it."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await read_message(reader):
                self.asked.append(request)
                writer.write(self.answer)
        finally:
            await hang_up(writer)


@asynccontextmanager
async def proxied(faults: ProxyFaults, answer: bytes = ANSWER) -> AsyncIterator[tuple[Proxy, Processor, int]]:
    processor = Processor(answer)
    async with await asyncio.start_server(processor.serve, "127.0.0.1", 0) as upstream:
        proxy = Proxy(upstream.sockets[0].getsockname()[1])
        proxy.faults = faults
        async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
            yield proxy, processor, server.sockets[0].getsockname()[1]
    await all_ended()


async def exchange(port: int, request: bytes) -> bytes:
    """Send one request; return all that comes until the answer is complete, or the connection ends by a close."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await asyncio.wait_for(read_message(reader), 5)
    finally:
        await hang_up(writer)


async def all_ended() -> None:
    """Return once every connection's task has heard that it is over."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=2)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED], ids=["length", "chunks"])
@pytest.mark.parametrize("request_", [PAYMENT, HEALTH], ids=["payment", "health"])
def test_without_faults_both_sides_see_each_other_byte_for_byte(request_, answer):
    async def scenario():
        async with proxied(ProxyFaults(), answer) as (proxy, processor, port):
            assert await exchange(port, request_) == answer
            assert processor.asked == [request_]
            assert not proxy.done

    asyncio.run(scenario())


def test_a_connection_is_kept_from_request_to_request():
    async def scenario():
        async with proxied(ProxyFaults()) as (_, processor, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                writer.write(PAYMENT)
                assert await read_message(reader) == ANSWER
            await hang_up(writer)
            assert processor.asked == [PAYMENT] * 3

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("faults", "deed", "charged"),
    [
        (ProxyFaults(reset_before=1), Deed.RESET_BEFORE, 0),
        (ProxyFaults(answer_lost=1), Deed.ANSWER_LOST, 1),
        (ProxyFaults(reset_mid_answer=1), Deed.RESET_MID_ANSWER, 1),
    ],
    ids=lambda value: value.name if isinstance(value, Deed) else "",
)
def test_a_reset_is_a_reset_and_the_processor_has_charged_or_not(faults, deed, charged):
    async def scenario():
        async with proxied(faults) as (proxy, processor, port):
            with pytest.raises(ConnectionResetError):
                await exchange(port, PAYMENT)
            assert len(processor.asked) == charged
            assert proxy.done == {deed: 1}

    asyncio.run(scenario())


def test_half_an_answer_arrives_before_the_reset():
    async def scenario():
        async with proxied(ProxyFaults(reset_mid_answer=1)) as (_, _processor, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(PAYMENT)
            assert await reader.readexactly(len(ANSWER) // 2) == ANSWER[: len(ANSWER) // 2]
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await hang_up(writer)

    asyncio.run(scenario())


def test_garbage_is_no_http_and_comes_after_the_charge():
    async def scenario():
        async with proxied(ProxyFaults(garbage=1)) as (proxy, processor, port):
            found = await exchange(port, PAYMENT)
            assert found
            assert not found.startswith(b"HTTP/")
            assert len(processor.asked) == 1
            assert proxy.done == {Deed.GARBAGE: 1}

    asyncio.run(scenario())


def test_a_delayed_request_is_passed_on_later_and_answered():
    async def scenario():
        async with proxied(ProxyFaults(delayed=1, delay_ms=120)) as (proxy, processor, port):
            begun_s = time.monotonic()
            assert await exchange(port, PAYMENT) == ANSWER
            assert time.monotonic() - begun_s >= 0.12
            assert processor.asked == [PAYMENT]
            assert proxy.done == {Deed.DELAYED: 1}

    asyncio.run(scenario())


def test_only_payments_are_struck():
    async def scenario():
        async with proxied(ProxyFaults(reset_before=1)) as (proxy, processor, port):
            assert await exchange(port, HEALTH) == ANSWER
            assert processor.asked == [HEALTH]
            assert not proxy.done

    asyncio.run(scenario())


def test_a_cut_resets_every_connection_also_idle_ones():
    async def scenario():
        async with proxied(ProxyFaults()) as (proxy, _, port):
            links = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for reader, writer in links:
                writer.write(PAYMENT)
                assert await read_message(reader) == ANSWER
            proxy.cut()
            for reader, writer in links:
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(reader.read(), 5)
                await hang_up(writer)
            assert proxy.done == {Deed.CUT: 3}
            assert await exchange(port, PAYMENT) == ANSWER

    asyncio.run(scenario())


def test_a_processor_that_is_away_is_a_reset():
    async def scenario():
        proxy = Proxy(free_port())
        async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
            with pytest.raises(ConnectionResetError):
                await exchange(server.sockets[0].getsockname()[1], PAYMENT)
        await all_ended()

    asyncio.run(scenario())


def test_the_chances_of_deeds_part_the_numbers_between_them():
    faults = ProxyFaults(reset_before=0.1, answer_lost=0.2, reset_mid_answer=0.1, garbage=0.1, delayed=0.25)
    drawn = [faults.drawn(number / 100 + 0.001) for number in range(100)]
    assert [drawn.count(deed) for deed in (*list(Deed)[:5], None)] == [10, 20, 10, 10, 25, 25]


def test_a_proxy_in_its_own_process_obeys_and_says_what_it_did(tmp_path):
    async def scenario(proxy, port):
        processor = Processor(ANSWER)
        async with await asyncio.start_server(processor.serve, "127.0.0.1", port):
            assert await exchange(proxy.port, PAYMENT) == ANSWER
            assert await asyncio.to_thread(proxy.tell, Command(ProxyFaults(answer_lost=1))) == {}
            for _ in range(2):
                with pytest.raises(ConnectionResetError):
                    await exchange(proxy.port, PAYMENT)
            assert await asyncio.to_thread(proxy.tell, Command(ProxyFaults())) == {Deed.ANSWER_LOST: 2}
            assert await exchange(proxy.port, PAYMENT) == ANSWER
            assert len(processor.asked) == 4
        await all_ended()

    port = free_port()
    with FaultProxy("default", tmp_path, port, seed=1) as proxy:
        asyncio.run(scenario(proxy, port))
