"""One sample on one connection: sent as it is, the answers read strictly, and how it ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from payrouter_lab.badinput.samples import Sample

QUIET_S = 0.02
"""Once it has as many answers as it can expect, the client waits this long for one too many, and hangs up."""
SILENCE_S = 3.0
"""So long it waits, unless told otherwise, for an answer to what may be no request at all."""
STALLED_S = 16.0
"""Within this a stalled request must be answered or closed: 10 s for a request, a second to notice, and room."""
CLOSED_WITHIN_S = 8.0


class NotHttpError(Exception):
    """What came is no HTTP/1.1 answer."""


@dataclass(slots=True)
class Talked:
    """What came of one sample: the statuses in order, and what is wrong with the way it went."""

    sample: Sample
    statuses: list[int] = field(default_factory=list)
    closed_first: bool = False
    """Whether the server closed before we hung up."""
    wrong: str = ""


def statuses_of(data: bytes, *, head_only: bool = False, whole: bool = True) -> list[int]:
    """Return the status of every final answer in a connection's bytes, in order.

    A payment that was waited for counts as 202: its 200 promises no less.
    `whole`: the last answer must be complete; otherwise one that is still under way is left out.

    Raises:
        NotHttpError: if the bytes are anything but complete answers one after another.
    """
    found: list[int] = []
    while data:
        head, blank, rest = data.partition(b"\r\n\r\n")
        if not blank:
            if whole:
                raise NotHttpError(f"half a head: {data[:80]!r}")
            break
        status, length = _read_head(head)
        if status < 200:
            length = 0
        elif not head_only:
            if len(rest) < length:
                if whole:
                    raise NotHttpError(f"{length} bytes of body were announced, {len(rest)} came")
                break
            found.append(status)
        else:
            found.append(status)
            length = 0
        data = rest[length:]
    return found


def _read_head(head: bytes) -> tuple[int, int]:
    """Return status and length of the body."""
    try:
        status_line, *lines = head.decode("ascii").split("\r\n")
        version, status, _phrase = status_line.split(" ", 2)
        headers = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        lengths = [int(value) for name, value in headers if name == "content-length"]
    except ValueError as error:
        raise NotHttpError(f"not a head ({error}): {head[:120]!r}") from None
    if version != "HTTP/1.1" or len(status) != 3 or not status.isdigit() or len(lengths) > 1:
        raise NotHttpError(f"not a head: {head[:120]!r}")
    if int(status) >= 200 and not lengths:
        raise NotHttpError(f"no Content-Length: {head[:120]!r}")
    waited_for = status == "200" and any(name == "preference-applied" for name, _ in headers)
    return 202 if waited_for else int(status), lengths[0] if lengths else 0


async def talk(host: str, port: int, sample: Sample, *, silence_s: float = SILENCE_S) -> Talked:
    """Send a sample on a connection of its own and return what came of it.

    Raises:
        OSError: if nobody takes the connection.
    """
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: _Client(sample, silence_s), host, port)
    await client.send()
    await client.gone.wait()
    return client.verdict()


class _Client(asyncio.Protocol):
    """The client's end."""

    def __init__(self, sample: Sample, silence_s: float) -> None:
        self.sample = sample
        self._silence_s = silence_s
        self.gone = asyncio.Event()
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sent = self._hung_up = self._overdue = False
        # Every request has one answer at most; what holds none may have one all the same.
        self._expected = max(1, b"".join(sample.pieces).count(b"HTTP/1."))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's, but are not of their class.
        self._transport = cast("asyncio.Transport", transport)

    async def send(self) -> None:
        """Write the pieces and begin to wait for what comes of them."""
        for piece in self.sample.pieces:
            if self._transport is None:
                return
            self._transport.write(piece)
            if len(self.sample.pieces) > 1:
                await asyncio.sleep(self.sample.pause_s)
        self._sent = True
        self._wait(STALLED_S if self.sample.stalled else self._silence_s)
        self._look()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._sent:
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a reset is an end like any other
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self.gone.set()

    def _look(self) -> None:
        """Hang up soon if everything that can be expected has come."""
        if self._hung_up or self._transport is None or self.sample.stalled:
            return
        try:
            known = len(statuses_of(bytes(self._received), head_only=self.sample.head_only, whole=False))
        except NotHttpError:
            known = self._expected
        if known >= self._expected:
            self._wait(QUIET_S)

    def _wait(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._hang_up)

    def _hang_up(self) -> None:
        """Close our side; a server that does not close its own in time is cut off, and that is a finding."""
        if self._transport is None:
            return
        if self._hung_up:
            self._overdue = True
            self._transport.abort()
            return
        self._hung_up = True
        self._wait(CLOSED_WITHIN_S)
        try:
            self._transport.write_eof()
        except (OSError, RuntimeError):  # reset in this very instant
            self._transport.abort()

    def verdict(self) -> Talked:
        """Return what came of it, once the connection has gone."""
        result = Talked(self.sample, closed_first=not self._hung_up)
        data = bytes(self._received)
        try:
            result.statuses = statuses_of(data, head_only=self.sample.head_only, whole=not self._hung_up)
        except NotHttpError as error:
            result.wrong = f"was answered by what is not HTTP: {error}"
        if self._overdue:
            result.wrong = f"was neither answered nor closed within {CLOSED_WITHIN_S:g} s of our hanging up"
        elif self.sample.stalled and self._hung_up and not result.statuses:
            result.wrong = f"was neither answered nor closed within {STALLED_S:g} s, although incomplete"
        return result
