"""`payrouter top`: what it shows of an installation, what it says when there is none, and how it leaves."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.console import Console

from browser.fake_admin import OVERVIEW, FakeAdmin, fake_admin, processor
from e2e.cli_client import COMMAND, clean_environment, payrouter, started, wait_for
from integration.router_service import running_service
from payrouter.entrypoints.cli.top_frame import frame, printable, sparkline
from payrouter.entrypoints.cli.top_overview import KEPT, History, Overview
from payrouter.settings import Address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT = "2026-11-22T21:00:00.123Z"
ALTERNATE_SCREEN, OLD_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


# -- a frame


def drawn(width: int = 120, encoding: str = "utf-8", **changes: Any) -> str:
    overview = msgspec.convert({"at": AT, **OVERVIEW, **changes}, Overview)
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, markup=False, highlight=False)
    history = History()
    history.add(overview)
    console.print(frame(overview, history, console, url="http://127.0.0.1:8080"))
    file.seek(0)
    return file.read()


def test_a_frame_shows_what_the_overview_tells() -> None:
    shown = drawn()
    for text in (
        "549/s",
        "548/s",
        "oldest 0.4 s",
        "12,345",
        "245665.50",
        "93.0 %",
        "3 of 256",
        "24566.55 below",
        "router-1",
        "62 min",
    ):
        assert text in shown, text


def test_a_narrow_frame_keeps_within_its_columns() -> None:
    lines = drawn(80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("default" in line and "usable" in line and "93.0 %" in line for line in lines)


def test_what_is_wrong_is_on_the_frame() -> None:
    shown = drawn(
        problems=["Redis is away: connection refused"],
        unknown={"count": 2, "oldestAgeSeconds": 3.2},
        deadLetters={"count": 7},
        webhooks={"waiting": 4, "oldestAgeSeconds": 12.0},
        audit={"state": "differ", "text": "the books differ", "differences": 3},
        backlog={"waiting": 9, "oldestAgeSeconds": 700.0, "reason": "default is down, fallback is full"},
        processors=[processor("default", paused=True), processor("fallback", standing="down", breaker="open")],
    )
    for text in (
        "Redis is away: connection refused",
        "2 attempts, oldest 3.2 s",
        "dead letters  7",
        "4 waiting, the oldest for 12 s",
        "the books differ (3 differences)",
        "oldest 12 min",
        "default is down, fallback is full",
        "paused",
        "down, breaker open",
    ):
        assert text in shown, text


def test_a_terminal_that_knows_no_blocks_gets_plain_bars() -> None:
    assert "usable" in drawn(encoding="ascii")


def test_a_text_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in drawn(problems=["\x1b[2Jgone"])
    assert printable("a\x1b[2J\nb") == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0, 0], "▁▁▁"),
        ([0, 7, 14], "▁▅█"),
        ([7, None, 7], "█ █"),
        ([1, 2, 3, 4, 5, 6, 7], "▆▇█"),
        ([9], "  █"),
        ([], "   "),
        ([None], "   "),
    ],
)
def test_bars_are_scaled_to_the_greatest_shown(values: list[float | None], expected: str) -> None:
    assert sparkline(values, 3) == expected


def test_history_keeps_one_look_a_second_and_no_more_than_is_shown() -> None:
    history = History()
    history.load(json.dumps({"at": [1], "accepted": [1.0], "settled": [None], "waiting": [3]}).encode())
    for half_second in range(4 * KEPT):
        second = 100 + half_second / 2
        at = f"2026-11-22T21:{int(second // 60):02d}:{second % 60:06.3f}Z"
        history.add(msgspec.convert({**OVERVIEW, "at": at}, Overview))
    assert len(history.accepted) == len(history.by_processor["default"]) == KEPT
    history.load(b"{}")
    assert not history.accepted


# -- the command, once


@pytest.fixture(scope="module")
def admin() -> Iterator[FakeAdmin]:
    with fake_admin() as found:
        yield found


def test_once_prints_one_plain_frame(admin: FakeAdmin, tmp_path: Path) -> None:
    done = payrouter(tmp_path, "top", "--once", "--url", admin.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "548/s" in done.stdout
    assert "█" in done.stdout  # the last minutes, not only this second
    assert "\x1b" not in done.stdout


def test_json_is_the_overview(admin: FakeAdmin, tmp_path: Path) -> None:
    done = payrouter(tmp_path, "top", "--json", "--url", admin.url)
    assert done.returncode == 0
    assert json.loads(done.stdout)["money"] == OVERVIEW["money"]


def test_without_a_terminal_a_line_now_and_then_until_it_is_told_to_stop(admin: FakeAdmin, tmp_path: Path) -> None:
    with started([*COMMAND, "top", "--url", admin.url], tmp_path) as process:
        assert "accepted 549/s" in process.line("settled 548/s")
        assert process.stop(signal.SIGTERM) == 0
        assert process.err == ""


def test_in_the_background_of_a_script_it_is_ended_by_ctrl_c_too(admin: FakeAdmin, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with started([*COMMAND, "top", "--url", admin.url], tmp_path) as process:
            process.line("settled 548/s")
            assert process.stop(signal.SIGINT) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["--url", "http://127.0.0.1:1"], {}, "start payrouter serve"),
        (["--url", "127.0.0.1:8080"], {}, "--url must be like"),
        ([], {"PAYROUTER_ADMIN_BIND": "off"}, "PAYROUTER_ADMIN_BIND is off"),
        ([], {"PAYROUTER_ADMIN_BIND": "unix:/nowhere/at/all.sock"}, "No such file"),
    ],
)
def test_where_there_is_nothing_the_next_step_is_said(arguments, settings, said, tmp_path: Path) -> None:
    done = payrouter(tmp_path, "top", "--once", *arguments, **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_router_is_read_with_its_token_and_not_without(tmp_path: Path) -> None:
    token = "a-token-of-sixteen-or-more"
    with running_service(tmp_path, admin_bind=Address("127.0.0.1", 0), admin_token=token) as service:
        service.pay()
        url = f"http://{service.pages}"

        def top(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
            return payrouter(tmp_path, "top", "--once", *arguments, **settings)

        assert "default" in top("--url", url, PAYROUTER_ADMIN_TOKEN=token).stdout
        assert "default" in top(PAYROUTER_ADMIN_BIND=str(service.pages), PAYROUTER_ADMIN_TOKEN=token).stdout
        for settings, said in (({}, "it needs a token"), ({"PAYROUTER_ADMIN_TOKEN": token[::-1]}, "is not the one")):
            refused = top("--url", url, **settings)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert said in refused.stderr
        payments = top("--url", f"http://{service.address}", PAYROUTER_ADMIN_TOKEN=token)
        assert "PAYROUTER_ADMIN_BIND" in payments.stderr


# -- the command on a terminal


@dataclass
class Terminal:
    """A process on a terminal of its own, and everything it has written there."""

    process: subprocess.Popen[bytes]
    written: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return self.written.decode(errors="replace")

    def waits_for(self, text: str, since: int = 0) -> None:
        wait_for(lambda: text in self.text[since:])


@contextmanager
def on_terminal(folder: Path, *arguments: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = clean_environment(TERM="xterm-256color")
    for name in ("COLUMNS", "NO_COLOR"):
        del environment[name]
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    terminal = Terminal(process)

    def read() -> None:
        try:
            while data := os.read(ours, 65536):
                terminal.written += data
        except OSError:
            return  # the process has gone, and its terminal with it

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield terminal
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(5)
        os.close(ours)


def test_a_terminal_is_live_survives_the_server_and_is_left_as_it_was(tmp_path: Path) -> None:
    with fake_admin() as admin, on_terminal(tmp_path, "top", "--url", admin.url) as terminal:
        terminal.waits_for("549/s")
        admin.overview["rates"]["accepted"] = 1234.0
        terminal.waits_for("1,234/s")
        admin.away = True
        terminal.waits_for("these numbers are old: ")
        terminal.waits_for("trying again")
        admin.away = False
        admin.overview["rates"]["accepted"] = 777.0
        terminal.waits_for("777/s")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(5) == 0
        time.sleep(0.1)
    assert terminal.text.count(ALTERNATE_SCREEN) == terminal.text.count(OLD_SCREEN) == 1
    assert "Traceback" not in terminal.text
    assert terminal.text.rpartition("\x1b[?25")[2].startswith("h"), "the cursor is still hidden"


def test_a_session_that_ends_is_said_and_not_waited_for(tmp_path: Path) -> None:
    with fake_admin() as admin, on_terminal(tmp_path, "top", "--url", admin.url) as terminal:
        terminal.waits_for("549/s")
        admin.token, admin.sessions_end = "x" * 16, True
        terminal.waits_for("it needs a token")
        assert terminal.process.wait(5) == 1
