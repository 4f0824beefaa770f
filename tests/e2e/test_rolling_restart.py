"""Restarting every role of a cluster in turn, under load: no request fails, and every payment is settled once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from e2e.cli_client import call
from payrouter_lab.bench.ids import payment_id
from payrouter_lab.cluster.local import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS = 8
PAUSE_S = 0.02
SETTLED_WITHIN_S = 15.0


@pytest.fixture(scope="module")
def cluster(servers_directory: Path, postgres_template: Path) -> Iterator[LocalCluster]:
    at = servers_directory / "rolling"
    with LocalCluster(at, apis=2, dispatchers=2, port=0, postgres_template=postgres_template) as cluster:
        yield cluster


class Clients:
    """Post payments from several threads until told to stop; `failed` says what was not answered `202`."""

    def __init__(self, port: int, stream: int, *, keep_alive: bool) -> None:
        self._port = port
        self._stream = stream
        self._keep_alive = keep_alive
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        self.accepted: list[str] = []
        self.failed: list[str] = []

    def _run(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        number = 0
        while not self._stop.is_set():
            name = payment_id(self._stream, client, number)
            number += 1
            try:
                body = json.dumps({"correlationId": name, "amount": 19.9})
                connection.request("POST", "/payments", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
                if answer.status == 202:
                    self.accepted.append(name)
                else:
                    self.failed.append(f"{answer.status} {said.decode()}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
            if not self._keep_alive:
                connection.close()
            time.sleep(PAUSE_S)
        connection.close()

    @contextmanager
    def posting(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        time.sleep(0.5)
        try:
            yield
            time.sleep(0.5)
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def charged(cluster: LocalCluster) -> int:
    admin = {"X-Rinha-Token": "123"}
    answers = [call(url, "GET", "/admin/payments-summary", **admin) for url in cluster.processor_urls.values()]
    return sum(found["totalRequests"] for _, found in answers)


def wait_until_charged(cluster: LocalCluster, count: int) -> None:
    deadline_s = time.monotonic() + SETTLED_WITHIN_S
    while charged(cluster) < count and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert charged(cluster) == count


def settled(cluster: LocalCluster) -> int:
    return sum(found["totalRequests"] for found in call(cluster.url, "GET", "/payments-summary")[1].values())


def wait_until_settled(cluster: LocalCluster, count: int) -> None:
    deadline_s = time.monotonic() + SETTLED_WITHIN_S
    while settled(cluster) < count and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert settled(cluster) == count


def test_apis_and_dispatchers_restarted_in_turn_under_load_fail_no_request_and_lose_nothing(
    cluster: LocalCluster,
) -> None:
    before = charged(cluster)
    clients = Clients(cluster.port, 1, keep_alive=True)
    with clients.posting():
        for service in ("api1", "dispatcher1", "api2", "dispatcher2"):
            cluster.services[service].restart()
            time.sleep(0.3)
    assert clients.failed == []
    assert len(clients.accepted) > 200, "there was load"
    wait_until_charged(cluster, before + len(clients.accepted))
    wait_until_settled(cluster, before + len(clients.accepted))


def test_nginx_takes_a_new_configuration_under_load_without_failing_a_request(cluster: LocalCluster) -> None:
    before = charged(cluster)
    clients = Clients(cluster.port, 2, keep_alive=False)
    with clients.posting():
        for _ in range(3):
            os.kill(cluster.services["nginx"].child.process.pid, signal.SIGHUP)
            time.sleep(0.5)
    assert clients.failed == []
    wait_until_charged(cluster, before + len(clients.accepted))
    wait_until_settled(cluster, before + len(clients.accepted))
