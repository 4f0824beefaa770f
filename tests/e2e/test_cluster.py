"""A whole cluster under load while its processes and stores are killed and paused: each payment is charged once.

The clients repeat a payment until it is accepted. The tests share one cluster, and the last one looks at all of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.cli_client import Service, call
from e2e.lives import Clients, behave, charges_of, duplicates_at, fill, pay
from payrouter.adapters.postgres.books import open_books
from payrouter.application.dispatch import MOST_UNRECORDED
from payrouter.domain.window import Window
from payrouter_lab.bench.ids import payment_id
from payrouter_lab.cluster.local import DATABASE, LocalCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

RATE = 200.0
SETTLED_WITHIN_S = 15.0
STRANDED_WITHIN_S = 5.0
_salts = count(1)


class Cluster(LocalCluster):
    """A cluster and what its clients know: `accepted` are the ids of all payments so far."""

    accepted: set[str]

    @property
    def books_of(self) -> dict[str, Service]:
        return {name: Service(url, None) for name, url in self.processor_urls.items()}  # type: ignore[arg-type]

    def behave(self, **how) -> None:
        """Set how both processors behave."""
        for processor in self.books_of.values():
            behave(processor, **how)

    def charged(self) -> int:
        """How many payments the processors have charged, by their own count."""
        found = [
            one.call("GET", "/admin/payments-summary", **{"X-Rinha-Token": "123"}) for one in self.books_of.values()
        ]
        return sum(answer["totalRequests"] for _, answer in found)

    def settled(self) -> int:
        status, summary = call(self.url, "GET", "/payments-summary")
        return sum(one["totalRequests"] for one in summary.values()) if status == 200 else -1

    def wait_until_settled(self, within_s: float = SETTLED_WITHIN_S) -> float:
        """Return after how many seconds the summary counts all accepted payments."""
        start_s = time.monotonic()
        while (found := self.settled()) < len(self.accepted):
            assert time.monotonic() < start_s + within_s, f"{found} of {len(self.accepted)} settled after {within_s} s"
            time.sleep(0.05)
        return time.monotonic() - start_s

    def check_books(self) -> None:
        """Each accepted payment is charged once, and three books say the same of it: id, amount, instant."""
        theirs = {name: charges_of(one) for name, one in self.books_of.items()}
        charged = [one for charges in theirs.values() for one in charges]
        assert len(charged) == len(set(charged)), "charged on both"
        assert set(charged) == self.accepted
        ours = {name: {each: entry[1:] for each, entry in found.items()} for name, found in self._settled().items()}
        assert ours == {name: charges for name, charges in theirs.items() if charges}
        status, summary = call(self.url, "GET", "/payments-summary")
        assert status == 200
        assert {name: (one["totalRequests"], round(one["totalAmount"] * 100)) for name, one in summary.items()} == {
            name: (len(charges), sum(cents for cents, _ in charges.values())) for name, charges in theirs.items()
        }

    def _settled(self) -> dict[str, dict[str, tuple[str, int, int]]]:
        async def read():
            async with open_books(self.postgres.url_of(DATABASE)) as books:
                return await books.settled(Window())

        return {
            name: {each: (each, entry.amount_minor, entry.requested_us) for each, entry in found.items()}
            for name, found in asyncio.run(read()).items()
        }

    def check_nothing_is_left(self) -> None:
        """Redis holds no payment, and knows that none waits."""
        assert self.redis.ask("HLEN", "{payrouter}:payments") == 0
        assert self.redis.ask("XLEN", "{payrouter}:queue") == 0
        assert self.redis.ask("HGET", "{payrouter}:meta", "waiting") == "0"
        assert (
            self.redis.ask("EXISTS", *(f"{{payrouter}}:{name}" for name in ("again", "orphans", "dead", "poison"))) == 0
        )

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Clients]:
        """Send payments all the while; at the end every one that was sent has been accepted."""
        clients = Clients(self.port, next(_salts), RATE)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(clients.run())
            await asyncio.sleep(0.3)
            yield clients
            clients.stopping = True
        assert clients.accepted == clients.sent
        # nginx says 502 of an API that is not there just now, and 504 of one that does not answer.
        assert {status for status, _ in clients.others} <= {502, 504}
        self.accepted |= clients.accepted


@pytest.fixture(scope="module")
def cluster(servers_directory: Path, postgres_template: Path) -> Iterator[Cluster]:
    settings = {"PAYROUTER_PATIENCE_S": "1", "PAYROUTER_ATTEMPT_TIMEOUT_S": "2"}
    at = servers_directory / "killed"
    given = Cluster(at, apis=2, dispatchers=2, port=0, settings=settings, postgres_template=postgres_template)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PAYROUTER_")]:
            patch.delenv(name)
        with given as cluster:
            cluster.accepted = set()
            yield cluster


@pytest.fixture(autouse=True)
def well(cluster: Cluster) -> Iterator[None]:
    """Everything is there again, settled, and in all books alike, when a test ends."""
    yield
    cluster.behave()
    cluster.wait_until_settled()
    cluster.check()
    cluster.check_books()
    cluster.check_nothing_is_left()
    for name, service in cluster.services.items():
        assert "Traceback" not in service.log.read_text(errors="replace"), name


async def killed(cluster: Cluster, name: str, *, for_s: float = 0.5) -> None:
    """Kill a process, and start it again a little later."""
    service = cluster.services[name]
    await asyncio.to_thread(service.kill)
    await asyncio.sleep(for_s)
    # Not in a thread: a process dies with the thread that began it.
    service.begin()
    await asyncio.to_thread(service.wait_until_ready)


def test_every_process_and_every_store_may_be_killed_under_load(cluster):
    async def scenario() -> int:
        async with cluster.load() as clients:
            for name in ("api1", "dispatcher1", "redis", "api2", "postgres", "dispatcher2", "nginx"):
                await killed(cluster, name)
                await asyncio.sleep(0.3)
        return clients.repeats

    cluster.behave(delay_ms=80, answer_lost=0.05)
    repeats = asyncio.run(scenario())
    cluster.behave()
    drained_s = cluster.wait_until_settled()
    asked_again = sum(duplicates_at(one) for one in cluster.books_of.values())
    print(
        f"{len(cluster.accepted)} accepted, {repeats} repeated by clients, {asked_again} charges asked for again "
        f"and answered 422, drained in {drained_s:.1f} s"
    )
    assert asked_again, "no kill hit a charge: this tested little"


def test_who_prefers_to_wait_is_told_of_the_end_that_another_process_brought_about(cluster):
    salt = next(_salts)
    for number in range(20):
        one = payment_id(salt, 0, number)
        began_s = time.monotonic()
        status, view = call(cluster.url, "POST", "/payments", {"correlationId": one, "amount": 19.9}, Prefer="wait=5")
        assert (status, view["correlationId"], view["state"]) == (200, one, "settled")
        assert time.monotonic() - began_s < 2
        cluster.accepted.add(one)
    cluster.behave(failing=True)
    late = payment_id(salt, 0, 20)
    cluster.accepted.add(late)
    body = {"correlationId": late, "amount": 19.9}
    assert call(cluster.url, "POST", "/payments", body, Prefer="wait=1") == (202, {"message": "payment accepted"})
    cluster.behave()
    assert call(cluster.url, "POST", "/payments", body, Prefer="wait=5")[0] in {200, 202}


def test_a_dispatcher_paused_for_longer_than_its_heartbeat_counts_charges_nothing_again(cluster):
    async def scenario() -> None:
        paused = cluster.services["dispatcher1"]
        async with cluster.load():
            await asyncio.to_thread(paused.pause)
            await asyncio.sleep(4.0)
            await asyncio.to_thread(paused.resume)
            await asyncio.sleep(1.0)

    cluster.behave(delay_ms=100)
    asyncio.run(scenario())
    cluster.wait_until_settled()
    assert "took over from dispatcher" in cluster.services["dispatcher2"].said
    assert "another dispatcher took over" in cluster.services["dispatcher1"].said


def test_while_redis_is_away_payments_are_refused_at_once(cluster):
    cluster.redis.kill()
    try:
        refused = []
        for number in range(20):
            began_s = time.monotonic()
            status, headers = pay(cluster.url, payment_id(next(_salts), 1, number))
            refused.append(time.monotonic() - began_s)
            assert (status, headers["retry-after"]) == (503, "1")
        print(f"refused in {1000 * sorted(refused)[10]:.1f} ms, the slowest in {1000 * max(refused):.1f} ms")
        assert sorted(refused)[15] < 0.1
    finally:
        cluster.redis.start()
    number = payment_id(next(_salts), 1, 1)
    began_s = time.monotonic()
    while pay(cluster.url, number)[0] != 202:
        assert time.monotonic() < began_s + 5.0
        time.sleep(0.02)
    cluster.accepted.add(number)


def test_while_postgres_is_away_payments_are_accepted_and_charged_up_to_the_bound(cluster):
    before = cluster.charged()
    cluster.postgres.kill()
    try:
        cluster.accepted |= fill(cluster.port, 6000, salt=next(_salts))
        assert call(cluster.url, "GET", "/payments-summary")[0] == 503
        charged, last = cluster.charged() - before, -1
        while charged > last:
            last = charged
            time.sleep(0.7)
            charged = cluster.charged() - before
        print(f"{charged} charged while the ledger was away")
        in_flight = 2 * 256
        assert MOST_UNRECORDED <= charged <= 2 * (MOST_UNRECORDED + in_flight + 64)
        assert call(cluster.url, "GET", "/payments-summary")[0] == 503
    finally:
        cluster.postgres.start()
    cluster.wait_until_settled()


def test_what_a_killed_dispatcher_had_under_way_is_settled_soon(cluster):
    cluster.behave(delay_ms=400)
    killed_one, other = cluster.services["dispatcher1"], cluster.services["dispatcher2"]
    other.kill()
    other.start()
    cluster.accepted |= fill(cluster.port, 300, salt=next(_salts))
    while not (held := cluster.redis.ask("XPENDING", "{payrouter}:queue", "dispatchers")[3] or []):
        time.sleep(0.01)
    killed_one.kill()
    settled_s = cluster.wait_until_settled(STRANDED_WITHIN_S)
    killed_one.start()
    print(f"settled {settled_s:.1f} s after the kill of one of {len(held)} dispatchers")


def test_dispatchers_whose_clocks_differ_by_ten_seconds_keep_the_same_books(cluster):
    shifts = {"dispatcher1": "5", "dispatcher2": "-5"}
    usual = {name: cluster.services[name].arguments for name in shifts}
    for name, shift in shifts.items():
        service = cluster.services[name]
        service.stop()
        service.settings["PYTHONPATH"] = str(Path(__file__).parents[1])
        service.arguments = ("e2e.shifted_clock", shift, *usual[name][1:])
        service.start()

    async def scenario() -> None:
        async with cluster.load():
            await asyncio.sleep(1.0)
            await killed(cluster, "dispatcher1", for_s=0.1)
            await asyncio.sleep(0.5)

    cluster.behave(delay_ms=30, answer_lost=0.05)
    asyncio.run(scenario())
    cluster.behave()
    cluster.wait_until_settled()
    cluster.check_books()
    for name, arguments in usual.items():
        service = cluster.services[name]
        service.stop()
        service.arguments = arguments
        service.start()
