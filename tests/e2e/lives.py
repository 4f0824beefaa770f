"""A router of many lives on one file: started, killed and started again, between clients and two processors."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.cli_client import COMMAND, TOKEN, Service, call, clean_environment, processors_json, simulator
from payrouter.adapters.sqlite.books import SqliteBooks
from payrouter.domain.window import Window, format_instant, parse_instant
from payrouter_lab.bench.ids import payment_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = ("default", "fallback")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lives:
    """`payrouter serve` on one address and one file, whichever process that is just now."""

    def __init__(self, folder: Path, processors: dict[str, Service], data: Path, **settings: str) -> None:
        self.folder = folder
        self.processors = processors
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "router.log"
        self._settings = {
            "PAYROUTER_BIND": f"127.0.0.1:{self.port}",
            "PAYROUTER_DATA": str(data),
            "PAYROUTER_PROCESSORS": processors_json(**{name: one.url for name, one in processors.items()}),
        } | settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def begin(self) -> None:
        """Start a process; it serves a moment later."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "serve"],
                cwd=self.folder,
                env=clean_environment(**self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_serving(self, within_s: float = 10.0) -> float:
        """Return after how many seconds it answered `GET /health`."""
        start_s = time.monotonic()
        while time.monotonic() < start_s + within_s:
            assert self.alive, self.log.read_text()[-2000:]
            with suppress(ConnectionError):
                assert call(self.url, "GET", "/health")[0] == 200
                return time.monotonic() - start_s
            time.sleep(0.01)
        raise AssertionError(f"it does not serve: {self.log.read_text()[-2000:]}")

    def start(self) -> float:
        self.begin()
        return self.wait_until_serving()

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self, within_s: float) -> tuple[int, float]:
        """Ask it to stop; return its exit code and after how many seconds it was gone."""
        start_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within_s)
        return code, time.monotonic() - start_s

    def end(self) -> None:
        if self._process is not None and self.alive:
            self.kill()

    def books(self) -> SqliteBooks:
        return SqliteBooks(self.data)

    def resident_mb(self) -> float:
        """Resident memory of the router now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    # -- clients

    def get(self, path: str) -> Any:
        status, body = call(self.url, "GET", path)
        assert status == 200, body
        return body

    def settled_count(self) -> int:
        return sum(one["totalRequests"] for one in self.get("/payments-summary").values())

    def wait_until_settled(self, count: int, within_s: float) -> float:
        """Return after how many seconds the summary counted this many payments."""
        start_s, found = time.monotonic(), -1
        while time.monotonic() < start_s + within_s:
            found = self.settled_count()
            if found >= count:
                return time.monotonic() - start_s
            time.sleep(0.05)
        raise AssertionError(f"{found} of {count} settled after {within_s} s: {self.log.read_text()[-2000:]}")

    # -- the end of it all

    def check_books(self, accepted: set[str]) -> None:
        """Every accepted payment is charged exactly once, and three sources say the same of it."""
        theirs = {name: charges_of(one) for name, one in self.processors.items()}
        charged = [one for charges in theirs.values() for one in charges]
        assert len(charged) == len(set(charged)), "charged on both"
        assert set(charged) == accepted
        with self.books() as books:
            settled = asyncio.run(books.settled(Window()))
            assert books.unsettled() == {}
        ours = {
            name: {one: (entry.amount_minor, entry.requested_us) for one, entry in settled.get(name, {}).items()}
            for name in NAMES
        }
        assert ours == theirs
        summary = self.get("/payments-summary")
        for name, charges in theirs.items():
            assert summary[name]["totalRequests"] == len(charges)
            assert round(summary[name]["totalAmount"] * 100) == sum(cents for cents, _ in charges.values())
            for correlation_id in random.Random(1).sample(sorted(charges), min(100, len(charges))):
                view = self.get(f"/payments/{correlation_id}")
                cents, requested_us = charges[correlation_id]
                assert (view["state"], view["processor"], round(view["amount"] * 100), view["requestedAt"]) == (
                    "settled",
                    name,
                    cents,
                    format_instant(requested_us),
                )


@contextmanager
def lives(folder: Path, data: Path | None = None, **settings: str) -> Iterator[Lives]:
    """Give a router, not started yet, with two simulated processors that run; all are ended on leaving."""
    with simulator(folder, "default") as default, simulator(folder, "fallback", "--fee", "0.15") as fallback:
        router = Lives(folder, {"default": default, "fallback": fallback}, data or folder / "payrouter.db", **settings)
        try:
            yield router
        finally:
            router.end()


def charges_of(processor: Service) -> dict[str, tuple[int, int]]:
    """What a processor has charged: correlationId to (cents, requested_us)."""
    charges: dict[str, tuple[int, int]] = {}
    after = ""
    while True:
        status, page = processor.call("GET", f"/admin/payments?limit=10000&after={after}", **TOKEN)
        assert status == 200
        for one in page["payments"]:
            charges[one["correlationId"]] = (round(one["amount"] * 100), parse_instant(one["requestedAt"]))
        if page["next"] is None:
            return charges
        after = page["next"]


def duplicates_at(processor: Service) -> int:
    """How often a processor was asked for a charge it had made before."""
    status, stats = processor.call("GET", "/admin/stats", **TOKEN)
    assert status == 200
    return int(stats["duplicates"])


def behave(processor: Service, *, delay_ms: int = 0, failing: bool = False, **faults: Any) -> None:
    """Set everything about a processor."""
    given = {"delay": {"delay": delay_ms}, "failure": {"failure": failing}}
    given["faults"] = {"answer_lost": 0, "status": None, "refuse_before": 0} | faults
    for name, body in given.items():
        assert processor.call("PUT", f"/admin/configurations/{name}", body, **TOKEN)[0] == 200


@dataclass
class Clients:
    """Clients that send payments with ids of their own and repeat each until it is accepted, or until `stop`.

    `rate` payments a second over `connections` connections. Amounts differ from payment to payment.
    """

    port: int
    salt: int
    rate: float
    connections: int = 16
    accepted: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    repeats: int = 0
    unavailable: int = 0
    others: list[tuple[int, str]] = field(default_factory=list)
    stopping: bool = False
    giving_up: bool = False
    _next: int = 0

    async def run(self) -> None:
        """Send until `stopping`; what was begun is then still brought to its end, unless `giving_up`."""
        loop = asyncio.get_running_loop()
        self._start_s = loop.time()
        await asyncio.gather(*(self._one() for _ in range(self.connections)))

    async def _one(self) -> None:
        loop = asyncio.get_running_loop()
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while not self.stopping:
                number, self._next = self._next, self._next + 1
                await asyncio.sleep(max(0.0, self._start_s + number / self.rate - loop.time()))
                correlation_id = payment_id(self.salt, 1, number)
                self.sent.add(correlation_id)
                request = self._request(correlation_id, 1000 + number % 5000)
                while True:
                    try:
                        stream = stream or await asyncio.open_connection("127.0.0.1", self.port)
                        stream[1].write(request)
                        async with asyncio.timeout(15):
                            status, keep = await _answer(stream[0])
                    except (OSError, asyncio.IncompleteReadError):
                        status, keep = 0, False
                        await asyncio.sleep(0.02)
                    if not keep and stream is not None:
                        stream[1].close()
                        stream = None
                    if status == 202:
                        self.accepted.add(correlation_id)
                        break
                    if status == 503:
                        self.unavailable += 1
                        await asyncio.sleep(0.05)
                    elif status:
                        self.others.append((status, correlation_id))
                    if self.giving_up:
                        break
                    self.repeats += 1
        finally:
            if stream is not None:
                stream[1].close()

    def _request(self, correlation_id: str, cents: int) -> bytes:
        body = f'{{"correlationId":"{correlation_id}","amount":{cents // 100}.{cents % 100:02d}}}'
        head = "POST /payments HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read one answer; return its status and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    await reader.readexactly(int(headers["content-length"]))
    return int(head.split()[1]), headers.get("connection") != "close"


async def until(condition: Callable[[], bool], within_s: float) -> None:
    """Return once something holds that other processes bring about."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - they cannot set an event of ours
            await asyncio.sleep(0.01)


def fill(port: int, count: int, salt: int) -> set[str]:
    """Accept many payments as fast as it goes, and return their ids."""
    clients = Clients(port, salt, rate=1e9, connections=32)

    async def until_enough() -> None:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(clients.run())
            await until(lambda: len(clients.accepted) >= count or running.done(), within_s=60)
            clients.stopping = True

    asyncio.run(until_enough())
    assert not clients.others
    return clients.accepted


def pay(url: str, correlation_id: str, amount: str = "19.90") -> tuple[int, dict[str, str]]:
    """Send one payment; return status and headers (names in lower case)."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
    try:
        body = json.dumps({"correlationId": correlation_id, "amount": float(amount)})
        connection.request("POST", "/payments", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()
