"""Where log lines go: to standard error, by a thread of their own.

The event loop only puts records into a list: whoever reads the lines may be slow, or gone, and payments go on. What
does not fit the bound meanwhile is dropped and counted; the count is told once somebody reads again.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from payrouter.adapters.log_lines import JsonLines, TextLines, count_of, fact

if TYPE_CHECKING:
    from collections.abc import Callable

    Lines = Callable[[logging.LogRecord], bytes]

MOST_PENDING = 5000
"""Lines kept while they cannot be written (I7)."""

GATHER_S = 0.01
"""Lines of this long are written at once. A process that is killed loses as much of its log."""

FLUSH_WITHIN_S = 1.0
_LOOK_AGAIN_MS = 1000


class LineWriter(logging.Handler):
    """A `logging.Handler` that writes what `lines` makes of records to a stream."""

    def __init__(self, stream: TextIO, lines: Lines) -> None:
        super().__init__()
        self._lines = lines
        self._stream, self._descriptor = stream, _descriptor(stream)
        self._pending: list[logging.LogRecord] = []
        self._unwritten = 0
        self._dropped = 0
        self._changing = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._written = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_json(self) -> bool:
        """Whether its lines are JSON."""
        return isinstance(self._lines, JsonLines)

    # -- taking

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; it is written soon."""
        count = count_of(record)
        with self._changing:
            if self._unwritten + count > MOST_PENDING:
                self._dropped += count
                return
            self._unwritten += count
            self._pending.append(record)
        if not self._wake.is_set():
            self._wake.set()
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Return once everything taken so far is written, or after a second: nobody may be reading."""
        until_s = time.monotonic() + FLUSH_WITHIN_S
        while self._unwritten and (left_s := until_s - time.monotonic()) > 0:
            if self._thread is None:
                self._write_pending()
            else:
                self._written.clear()
                if self._unwritten:
                    self._written.wait(min(left_s, GATHER_S * 2))

    def redirect(self, stream: TextIO) -> TextIO:
        """Write to another stream from now on; return the one before."""
        self.flush()
        before = self._stream
        self._stream, self._descriptor = stream, _descriptor(stream)
        return before

    # -- writing

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is ending, or the system has no thread to give: the line comes first.
            self._write_pending()
        else:
            self._thread = thread

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(GATHER_S)
            self._wake.clear()
            self._write_pending()

    def _write_pending(self) -> None:
        with self._writing:
            with self._changing:
                records, self._pending = self._pending, []
                dropped, self._dropped = self._dropped, 0
            count = dropped + sum(map(count_of, records))
            if dropped:
                records.append(_dropped(dropped))
            written = self._put(b"".join(map(self._line, records)))
            with self._changing:
                self._unwritten = sum(map(count_of, self._pending))
                if not written:
                    self._dropped += count
                elif self._dropped:
                    # Told at once, not with whatever comes next.
                    self._wake.set()
            self._written.set()

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            return self._lines(record)
        except Exception as error:  # noqa: BLE001 - a line that cannot be made must not end all others
            text = f"a log line of {record.name}, {record.filename}:{record.lineno}, cannot be written: {error!r}"
            return self._lines(_record(logging.ERROR, text, fact("log_failed")))

    def _put(self, data: bytes) -> bool:
        try:
            if self._descriptor is None:
                self._stream.write(data.decode("utf-8", "replace"))
                self._stream.flush()
            else:
                _write_all(self._descriptor, data)
        except (OSError, ValueError):
            # Closed, or a pipe without a reader. Who could be told? Those who read later get the number.
            return False
        return True


def _descriptor(stream: TextIO) -> int | None:
    try:
        # Its own text layer would keep what it could not write, and fail at the end of the process.
        return stream.fileno() if stream is sys.__stderr__ else None
    except (OSError, ValueError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Somebody who shares it made it so.
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll(_LOOK_AGAIN_MS)


def _record(level: int, text: str, extra: dict[str, object]) -> logging.LogRecord:
    return logging.getLogger("payrouter").makeRecord("payrouter", level, __file__, 0, text, (), None, extra=extra)


def _dropped(count: int) -> logging.LogRecord:
    text = f"{count} log lines were dropped: they could not be written as fast as they came"
    return _record(logging.WARNING, text, fact("log_dropped", lines=count))


def configure_logs(level: str = "info", form: str = "auto") -> None:
    """Write log lines of at least `level` to standard error, as `form` says: text, json, or auto.

    May be called again. Libraries are heard from `warning` on, whatever the level.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("payrouter").setLevel(threshold)
    for handler in list(root.handlers):
        if isinstance(handler, LineWriter):
            handler.flush()
            root.removeHandler(handler)
    # Without a standard error its number may be anything that was opened since.
    if sys.stderr is not None:
        root.addHandler(LineWriter(sys.stderr, _lines_for(form, sys.stderr)))


def flush_logs() -> None:
    """Return once every line so far is written, or after a second."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def writes_json() -> bool:
    """Return whether log lines are JSON now."""
    return any(isinstance(one, LineWriter) and one.is_json for one in logging.getLogger().handlers)


def _lines_for(form: str, stream: TextIO) -> Lines:
    terminal = _is_terminal(stream)
    if form == "json" or (form == "auto" and not terminal):
        return JsonLines()
    return TextLines(terminal=terminal, colour=terminal and not os.environ.get("NO_COLOR"))


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False
