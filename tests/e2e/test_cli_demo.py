"""`payrouter demo`: starts, shows, pays only simulated processors, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.cli_client import (
    COMMAND,
    TOKEN,
    call,
    children,
    new_id,
    payrouter,
    processors_json,
    refuses,
    simulator,
    started,
    wait_for,
)

FREE_PORTS = ("--port", "0", "--default-port", "0", "--fallback-port", "0")


class Demo:
    """A running demo and what it said at the start."""

    def __init__(self, process):
        self.process = process
        process.line("Ctrl-C stops everything")
        self.said = process.out
        lines = self.said.splitlines()
        cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
        self.places = {name: place.split(" (")[0] for name, place in cells}
        self.url = self.places["router"]

    def settled(self):
        totals = call(self.url, "GET", "/payments-summary")[1]
        return sum(one["totalRequests"] for one in totals.values())


@contextmanager
def demo(folder, *arguments, **settings):
    with started([*COMMAND, "demo", *FREE_PORTS, *arguments], folder, **settings) as process:
        yield Demo(process)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_pays_and_stops_cleanly_when_told(tmp_path, number):
    with demo(tmp_path) as running:
        assert "simulated, fee 5 %" in running.said
        curl = [line for line in running.said.splitlines() if line.startswith("  curl")]
        assert [line.split()[-1] for line in curl[1:2]] == [f"{running.url}/payments-summary"]
        assert running.said.count("  curl") == 4
        wait_for(lambda: running.settled() >= 2)
        books = Path(running.places["books"])
        assert books.exists()
        simulated = children(running.process.pid)
        assert len(simulated) == 2
        assert running.process.stop(number) == 0
        assert running.process.out.endswith("stopping\nstopped\n")
        assert "Traceback" not in running.process.err
        assert "Error" not in running.process.err
        assert not any(Path(f"/proc/{pid}").exists() for pid in simulated)
        assert refuses(running.url)
        assert not books.parent.exists()
        assert not list(tmp_path.iterdir())


def test_with_real_processors_it_sends_nothing_and_keeps_the_books(tmp_path):
    with simulator(tmp_path) as real:
        with demo(tmp_path, PAYROUTER_PROCESSORS=processors_json(default=real.url)) as running:
            assert "no sample payments are sent" in running.said
            assert not children(running.process.pid)
            mine = new_id()
            assert call(running.url, "POST", "/payments", {"correlationId": mine, "amount": 1})[0] == 202
            wait_for(lambda: running.settled() == 1)
            assert running.process.stop() == 0
        assert real.call("GET", "/admin/stats", **TOKEN)[1]["charged"] == 1
        assert (tmp_path / "payrouter.db").exists()


def test_a_simulated_processor_that_dies_is_reported_and_a_data_file_of_ones_own_is_kept(tmp_path):
    with demo(tmp_path, PAYROUTER_DATA="mine.db") as running:
        wait_for(lambda: running.settled() >= 1)
        os.kill(children(running.process.pid)[0], signal.SIGKILL)
        line = running.process.line("ended (exit code -9)")
        assert "start another with: payrouter simulate-processor --port" in line
        assert call(running.url, "GET", "/health")[0] == 200
        assert running.process.stop() == 0
    ended = payrouter(tmp_path, "summary", "--json", PAYROUTER_DATA="mine.db")
    assert json.loads(ended.stdout)["total"]["totalRequests"] >= 1


def test_sample_payments_need_no_key_and_a_routers_own_processors_are_guarded_all_the_same(tmp_path):
    keys = {"PAYROUTER_API_KEYS": "shop:0123456789abcdef", "PAYROUTER_RATE_LIMIT_PER_S": "0.1"}
    with demo(tmp_path, **keys) as running:
        wait_for(lambda: running.settled() >= 2)
        assert running.process.stop() == 0
        assert "not accepted" not in running.process.err
    with (
        simulator(tmp_path) as real,
        demo(tmp_path, PAYROUTER_PROCESSORS=processors_json(default=real.url), **keys) as own,
    ):
        assert call(own.url, "GET", "/payments-summary")[0] == 401
        assert own.process.stop() == 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv, which only Linux has")
def test_the_simulated_processors_do_not_outlive_a_killed_demo(tmp_path):
    with demo(tmp_path) as running:
        urls = [place for name, place in running.places.items() if name.startswith("processor")]
        folder = Path(running.places["books"]).parent
        running.process.stop(signal.SIGKILL)
        wait_for(lambda: all(map(refuses, urls)))
        shutil.rmtree(folder)


@pytest.mark.parametrize("option", ["--port", "--fallback-port"])
def test_a_port_in_use_is_named_and_nothing_stays(tmp_path, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        before = set(children(os.getpid()))
        ended = payrouter(tmp_path, "demo", *FREE_PORTS, option, port)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "stop what uses it" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert set(children(os.getpid())) == before


def test_a_demo_on_a_socket_file_is_refused_with_what_to_do(tmp_path):
    ended = payrouter(tmp_path, "demo", PAYROUTER_BIND="unix:/tmp/payrouter.sock")
    assert ended.returncode == 1
    assert "the demo needs a port" in ended.stderr
