"""Log lines as they come out: text and JSON, slow and absent readers."""

from __future__ import annotations

import io
import json
import logging
import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from payrouter.adapters.event_log import EventLog
from payrouter.adapters.log_lines import JsonLines, TextLines, fact
from payrouter.adapters.log_output import MOST_PENDING, LineWriter
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.events import (
    AttemptFailed,
    PaymentBuried,
    PaymentsAccepted,
    PaymentsSettled,
    StandingChanged,
    StoreFailed,
)
from payrouter.domain.ledger import Settlement
from payrouter.domain.payment import Payment
from payrouter.domain.window import parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3"
AT_US = 1_750_000_000_123_456


class Written:
    """A logger's lines, whatever their level."""

    def __init__(self, lines: JsonLines | TextLines) -> None:
        self.stream = io.StringIO()
        self.writer = LineWriter(self.stream, lines)

    def text(self) -> str:
        self.writer.flush()
        return self.stream.getvalue()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("payrouter")
    before = logger.level, logger.propagate
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(before[0])
    logger.propagate = before[1]
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


@pytest.fixture
def in_json(logger: logging.Logger) -> Written:
    written = Written(JsonLines())
    logger.addHandler(written.writer)
    return written


@pytest.fixture
def in_text(logger: logging.Logger) -> Written:
    written = Written(TextLines(terminal=False))
    logger.addHandler(written.writer)
    return written


def charge(number: int = 1) -> Settlement:
    delivery = Delivery(f"{ID[:-1]}{number}", 1990, AT_US, 1)
    return Settlement(Intent(delivery, "default", AT_US + 2000, "cheapest|5.0|3|256|0.00|"), AT_US + 9000, 7.04)


def test_every_payment_is_one_line_per_fact_at_debug(in_json: Written) -> None:
    events = EventLog(lambda: 0.0)
    payments = [Payment(ID, 1990, AT_US), Payment(f"{ID[:-1]}4", 500, AT_US)]
    events.publish(PaymentsAccepted(payments, ["accepted", "conflict"], AT_US + 1000))
    events.publish(PaymentsSettled([charge(3), charge(4)], [True, False], AT_US + 20_000))
    lines = in_json.objects()
    assert [line["event"] for line in lines] == [
        *("payment_accepted", "payment_conflict"),
        *("attempt_charged", "payment_settled", "attempt_charged", "charge_known"),
    ]
    assert lines[0] == {
        "ts": "2025-06-15T15:06:40.124456Z",
        "level": "debug",
        "event": "payment_accepted",
        "message": f"{ID} over 19.90: accepted",
        "correlationId": ID,
        "amount": "19.90",
        "result": "accepted",
    }
    assert lines[2]["latencyMs"] == 7.0
    assert (lines[2]["processor"], lines[2]["reason"], lines[2]["correlationId"]) == ("default", "cheapest", ID)
    assert [parse_instant(line["ts"]) - AT_US for line in lines] == [1000, 1000, 9000, 20_000, 9000, 20_000]


def test_a_traced_payment_s_lines_name_its_trace(in_json: Written) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    one = charge()
    traced = replace(one, intent=replace(one.intent, delivery=replace(one.intent.delivery, trace=trace)))
    events = EventLog(lambda: 0.0)
    events.publish(PaymentsAccepted([Payment(ID, 1990, AT_US, trace)], ["accepted"], AT_US))
    events.publish(PaymentsSettled([traced], [True], AT_US))
    lines = in_json.objects()
    assert [line.get("traceId", "")[:4] for line in lines] == ["4bf9", "", "4bf9"]


def test_payments_are_not_told_of_at_info(logger: logging.Logger, in_json: Written) -> None:
    logger.setLevel(logging.INFO)
    events = EventLog(lambda: 0.0)
    events.publish(PaymentsAccepted([Payment(ID, 1990, AT_US)], ["accepted"], AT_US))
    events.publish(PaymentsSettled([charge()], [True], AT_US))
    events.publish(AttemptFailed(ID, "default", "refused", "answered 500", 3.0))
    events.publish(StandingChanged("default", "usable", "down", 9.0))
    assert [(line["event"], line["level"]) for line in in_json.objects()] == [("standing_changed", "info")]


def test_the_same_failure_is_worded_once_a_second_with_how_often_it_was_not(
    logger: logging.Logger, in_json: Written
) -> None:
    logger.setLevel(logging.INFO)
    now = [0.0]
    events = EventLog(lambda: now[0])
    for hundredth in range(250):
        now[0] = hundredth / 100
        events.publish(StoreFailed("settling", "disk full"))
    lines = in_json.objects()
    assert [line.get("unsaid") for line in lines] == [None, 99, 99]
    assert {line["level"] for line in lines} == {"error"}
    assert lines[1]["message"].endswith("disk full (99 more like it since the last time)")


def test_at_debug_no_failed_attempt_is_missing(in_json: Written) -> None:
    events = EventLog(lambda: 0.0)
    for _ in range(5):
        events.publish(AttemptFailed(ID, "default", "outcome unknown", "no answer", 12.34))
    lines = in_json.objects()
    assert [line["level"] for line in lines] == ["warning", *["debug"] * 4]
    assert {line["event"] for line in lines} == {"attempt_failed"}
    assert lines[0]["latencyMs"] == 12.3


def test_what_others_say_can_neither_end_a_line_nor_colour_it(in_text: Written) -> None:
    EventLog(lambda: 0.0).publish(PaymentBuried(ID, "default", "answered 400: \x1b[31mno\r\n2026 INFO all is well\x07"))
    [line] = in_text.text().splitlines()
    assert line.endswith(r"is a dead letter: default answered 400: \x1b[31mno\r\n2026 INFO all is well\x07")


def test_lines_that_are_no_text_are_shown_as_far_as_they_are() -> None:
    written, path = Written(JsonLines()), "/tmp/\udcff"
    record = logging.LogRecord("payrouter", logging.INFO, __file__, 1, "cannot open %s", (path,), None)
    record.__dict__.update(fact("opening", path=path, other=object))
    written.writer.handle(record)
    [line] = written.objects()
    assert line["path"] == "/tmp/\\udcff"
    assert line["event"] == "opening"


def test_a_line_that_cannot_be_made_does_not_end_the_others() -> None:
    written = Written(JsonLines())
    for text in ("%d payments", "the next: %s"):
        written.writer.handle(logging.LogRecord("payrouter", logging.INFO, __file__, 1, text, ("no number",), None))
    failed, following = written.objects()
    assert (failed["event"], failed["level"]) == ("log_failed", "error")
    assert following["message"] == "the next: no number"


def test_an_error_in_json_has_its_traceback_in_one_line(logger: logging.Logger, in_json: Written) -> None:
    try:
        int("broken\nin two")
    except ValueError:
        logger.exception("it failed")
    [line] = in_json.objects()
    assert line["level"] == "error"
    assert line["exception"].endswith("with base 10: 'broken\\nin two'\n")


def test_a_terminal_gets_the_time_of_day_and_colour() -> None:
    record = logging.LogRecord("payrouter", logging.ERROR, __file__, 1, "it failed", (), None)
    assert TextLines(terminal=True, colour=True)(record).count(b"\x1b[") == 2
    plain = TextLines(terminal=True)(record)
    assert plain[2:3] == b":"
    assert plain.endswith(b"ERROR   it failed\n")


class Broken(io.StringIO):
    """A stream that cannot be written to for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = True

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError
        return super().write(text)


def test_a_reader_that_is_gone_harms_nobody_and_what_it_missed_is_counted() -> None:
    stream = Broken()
    writer = LineWriter(stream, JsonLines())
    record = logging.LogRecord("payrouter", logging.INFO, __file__, 1, "said", (), None)
    for _ in range(7):
        writer.handle(record)
    writer.flush()
    stream.broken = False
    writer.handle(record)
    writer.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["note", "log_dropped"]
    assert lines[1]["lines"] == 7


_FULL_PIPE = """
import logging, time
from payrouter.adapters.log_output import configure_logs
configure_logs("debug", "json")
log = logging.getLogger("payrouter")
slowest_s = 0.0
for number in range(20000):
    before_s = time.perf_counter()
    log.info("line %d", number)
    slowest_s = max(slowest_s, time.perf_counter() - before_s)
print(slowest_s, flush=True)
input()
log.info("the last")
"""


def test_a_full_pipe_blocks_nobody() -> None:
    """Nobody reads the log; 20 000 lines are more than a pipe holds. Then somebody does."""
    with subprocess.Popen(
        [sys.executable, "-c", _FULL_PIPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        readable, _, _ = select.select([process.stdout], [], [], 30.0)
        assert readable, "it stopped where nobody reads its log"
        assert float(process.stdout.readline()) < 1.0
        read = bytearray()
        until_s = time.monotonic() + 10.0
        while b"log_dropped" not in read and time.monotonic() < until_s:
            read += os.read(process.stderr.fileno(), 65536)
        process.stdin.write(b"\n")
        process.stdin.close()
        read += process.stderr.read()
        assert process.wait(10.0) == 0
    lines = [json.loads(line) for line in bytes(read).splitlines()]
    dropped = sum(line.get("lines", 0) for line in lines)
    written = sum(line["event"] == "note" for line in lines)
    assert dropped > 20_000 - 2 * MOST_PENDING
    assert written + dropped == 20_001
    assert lines[-1]["message"] == "the last"


@pytest.mark.parametrize("closing", ["2>&-", "2</dev/null"])
def test_without_a_standard_error_there_are_no_lines_and_no_harm(closing: str) -> None:
    code = (
        "import logging; from payrouter.adapters.log_output import configure_logs; configure_logs('debug', 'json'); "
        "[logging.getLogger('payrouter').info('said') for _ in range(100)]; print('done')"
    )
    ended = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -c "$1" {closing}', sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n")
