"""HTTP as bytes, for tests of the edges: run an async test within bounds, send anything, read answers strictly."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from payrouter.adapters.http.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from payrouter.adapters.http.message import Reply, Request, ServerLimits

WITHIN_S = 10.0
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class NotHttp(AssertionError):
    """What came is no HTTP answer."""


@dataclass(frozen=True)
class Answer:
    """One answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)

    @property
    def detail(self) -> str:
        return self.json()["detail"]


@dataclass
class Unhandled:
    """What reached the loop's exception handler. A test that expects something there clears it."""

    contexts: list[dict[str, Any]] = field(default_factory=list)

    def handle(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.contexts.append(context)

    def clear(self) -> list[BaseException]:
        """Forget them and return their exceptions."""
        seen = [context["exception"] for context in self.contexts]
        self.contexts.clear()
        return seen


unhandled = Unhandled()


def _run(loop: str, test: Callable[..., Any], arguments: Any, named: Any) -> None:
    unhandled.contexts.clear()
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.get_loop().set_exception_handler(unhandled.handle)
        runner.run(asyncio.wait_for(test(*arguments, **named), WITHIN_S))
    assert unhandled.contexts == []


def scenario(test: Callable[..., Any]) -> Callable[..., None]:
    """Run an async test on asyncio's loop; nothing may reach the loop's exception handler."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        _run("asyncio", test, arguments, named)

    return run


def on_both_loops(test: Callable[..., Any]) -> Callable[..., None]:
    """Run an async test as `scenario` does, and once more on uvloop, which production uses."""

    @functools.wraps(test)
    def run(*arguments: Any, loop: str, **named: Any) -> None:
        _run(loop, test, arguments, named)

    signature = inspect.signature(test)
    loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), loop])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop", LOOPS)(run)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that is about to happen; the test's own time limit ends a vain wait."""
    while not condition():  # noqa: ASYNC110 - there is no event for every state a test may await
        await asyncio.sleep(0.002)


# -- a client that sends anything


class Connection:
    """One client connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head: bool = False) -> Answer:
        """Read one answer; `head` when the request was a HEAD."""
        return await read_answer(self.reader, head=head)

    async def ask(self, data: bytes) -> Answer:
        self.send(data)
        return await self.answer()

    async def closed(self) -> bytes:
        """Wait until the server has closed, and return what came before that."""
        rest = b""
        try:
            while data := await self.reader.read(65536):
                rest += data
        except ConnectionError:
            pass
        return rest

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(where: int | str) -> AsyncIterator[Connection]:
    """Connect to a port of this machine or to a unix socket."""
    if isinstance(where, int):
        streams = await asyncio.open_connection("127.0.0.1", where)
    else:
        streams = await asyncio.open_unix_connection(where)
    connection = Connection(*streams)
    try:
        yield connection
    finally:
        await connection.close()


async def ask(where: int | str, data: bytes) -> Answer:
    """Send bytes on a connection of their own and read one answer."""
    async with connected(where) as connection:
        return await connection.ask(data)


async def read_answer(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """Read one answer and check its form; interim answers (1xx) are returned as they are."""
    status, headers = parse_head(await reader.readuntil(b"\r\n\r\n"))
    if head or status < 200 or status in (204, 304):
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        assert await reader.readexactly(2) == b"\r\n"
        return Answer(status, headers, body)
    return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Return status and headers of an answer's head, its blank line included."""
    status_line, *lines = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    version, status, _phrase = status_line.split(" ", 2)
    if version != "HTTP/1.1" or len(status) != 3 or not status.isdigit():
        raise NotHttp(status_line)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        if not colon or name.lower() in headers:
            raise NotHttp(line)
        headers[name.lower()] = value
    return int(status), headers


def split_answers(data: bytes) -> list[Answer]:
    """Return every answer in a connection's bytes; interim ones left out, nothing may be left over."""
    answers = []
    while data:
        head, blank, rest = data.partition(b"\r\n\r\n")
        if not blank:
            raise NotHttp(repr(data[:80]))
        status, headers = parse_head(head + blank)
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            raise NotHttp(f"{length} bytes were announced, {len(rest)} came")
        if status >= 200:
            answers.append(Answer(status, headers, rest[:length]))
        data = rest[length:]
    return answers


# -- servers to talk to


@asynccontextmanager
async def listening(
    handler: Callable[[Request, Reply], None], limits: ServerLimits | None = None
) -> AsyncIterator[tuple[HttpServer, int]]:
    """Run our HTTP server with a handler on a free port."""
    server = HttpServer(handler, limits=limits)
    port = await server.start_tcp("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.stop(0)
        await asyncio.sleep(0.01)


def echo(request: Request, reply: Reply) -> None:
    """Answer at once with method, target and body."""
    reply.send(200, b"%b %b %b" % (request.method, request.target, request.body), content_type=b"text/plain")


@asynccontextmanager
async def scripted(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> AsyncIterator[int]:
    """Run a server that treats every connection as `talk` says, on a free port; give the port."""
    under_way: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            under_way.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.sleep(0.01)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one complete request with a `Content-Length` or no body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
    return head + await reader.readexactly(length)
