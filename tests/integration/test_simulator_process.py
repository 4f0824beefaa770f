"""The processor simulator as a process of its own."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-W", "error", "-m", "payrouter_lab.simulator"]


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """Start the command on a free port; yield it, its first line and its port."""
    with subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            yield running, line, int(line.rsplit(":", 1)[1])
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_says_where_it_listens_and_ends_cleanly_when_told(number):
    with process("--name", "fallback", "--fee", "0.15") as (running, line, port):
        assert re.fullmatch(r"processor fallback \(fee 0\.15\) listens on http://127\.0\.0\.1:\d+\n", line)
        kept_alive = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
        kept_alive.request("GET", "/payments/service-health")
        assert json.loads(kept_alive.getresponse().read()) == {"failing": False, "minResponseTime": 0}
        running.send_signal(number)
        assert running.wait(3) == 0
        assert running.stdout.read() == running.stderr.read() == ""
        kept_alive.close()


def test_every_option_reaches_the_simulator():
    with process("--token", "abc", "--delay", "30", "--failing", "--chunked", "--seed", "7") as (_, _, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
        connection.request("PUT", "/admin/configurations/delay", '{"delay": 0}', {"X-Rinha-Token": "abc"})
        assert json.loads(connection.getresponse().read()) == {"config": "delay", "was": 30, "is": 0}
        connection.request("PUT", "/admin/configurations/failure", '{"failure": false}', {"X-Rinha-Token": "abc"})
        assert json.loads(connection.getresponse().read())["was"] is True
        payment = f'{{"correlationId":"{uuid.uuid4()}","amount":1,"requestedAt":"2025-07-15T12:00:00Z"}}'
        connection.request("POST", "/payments", payment, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, response.getheader("Transfer-Encoding")) == (200, "chunked")
        connection.close()


def test_an_address_in_use_is_named_and_ends_with_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=5, check=False)
    assert ended.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr


@pytest.mark.parametrize("wrong", [("--fee", "5%"), ("--fee", "1.5"), ("--delay", "-3"), ("--fee", "nan")])
def test_an_option_that_makes_no_sense_is_named_and_ends_with_two(wrong):
    ended = subprocess.run([*COMMAND, *wrong], capture_output=True, text=True, timeout=5, check=False)
    assert ended.returncode == 2
    assert f"argument {wrong[0]}" in ended.stderr
