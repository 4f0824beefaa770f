"""The processor's public calls over HTTP: payments, their delay and faults, the health window.

One `Edge` is one life of the listening process: what still sleeps in its delay when the edge closes is never
charged, as when the process is killed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from payrouter.adapters.http.message import STATUS_LINES, Reply, Request
from payrouter.domain.errors import InvalidInput
from payrouter_lab.simulator.admin import AdminApi
from payrouter_lab.simulator.books import Charge
from payrouter_lab.simulator.limits import Admission, ConcurrencyLimiter, HealthWindow
from payrouter_lab.simulator.wire import Answer, decode_payment, message, payment_json

if TYPE_CHECKING:
    from payrouter_lab.simulator.state import ProcessorState

JSON = b"application/json"
PROCESSED = b'{"message":"payment processed successfully"}'
PROCESSED_HEAD = STATUS_LINES[200] + b"Content-Type: %b\r\nContent-Length: %d\r\n" % (JSON, len(PROCESSED))
GARBAGE = b"<html>payment processed successfu"
NOT_JSON = message(415, "the Content-Type must be application/json")
TOO_MANY = message(429, "too many payments at once")
FAILING = message(500, "the processor is failing")
DUPLICATE = message(422, "Payment could not be processed. CorrelationId already exists.")
NOT_FOUND = message(404, "not found")


class Edge:
    """Answers every call of one processor; `handle` is the HTTP server's handler."""

    def __init__(self, state: ProcessorState) -> None:
        options = state.options
        self._state = state
        self._limiter: ConcurrencyLimiter[tuple[Request, Reply]] = ConcurrencyLimiter(
            options.running_limit, options.waiting_limit
        )
        self._window: HealthWindow[Reply] = HealthWindow(options.health_window_s)
        self._admin = AdminApi(state, self._limiter)
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._renewal: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Charge and answer nothing from now on."""
        self._closed = True
        if self._renewal is not None:
            self._renewal.cancel()

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one call, now or later."""
        path = request.path
        if path == b"/payments":
            if request.method == b"POST":
                self._receive(request, reply)
            else:
                _send(reply, _wrong_method(b"POST"))
        elif path == b"/payments/service-health":
            if request.method == b"GET":
                self._report_health(reply)
            else:
                _send(reply, _wrong_method(b"GET"))
        elif path.startswith(b"/admin/"):
            _send(reply, self._admin.answer(request))
        elif path.startswith(b"/payments/"):
            _send(reply, self._payment(path) if request.method == b"GET" else _wrong_method(b"GET"))
        else:
            _send(reply, NOT_FOUND)

    # -- payments: limit, delay, failure, charge

    def _receive(self, request: Request, reply: Reply) -> None:
        state = self._state
        if not _is_json(request):
            _send(reply, NOT_JSON)
        elif state.happens(state.faults.refuse_before):
            reply.abort()
        else:
            admission = self._limiter.admit((request, reply))
            if admission is Admission.NOW:
                state.stats.max_running = max(state.stats.max_running, self._limiter.running)
                self._begin(request, reply)
            elif admission is Admission.REFUSED:
                state.stats.payments_refused += 1
                _send(reply, TOO_MANY)

    def _begin(self, request: Request, reply: Reply) -> None:
        try:
            charge = decode_payment(request.body)
        except InvalidInput as error:
            _send(reply, message(400, str(error)))
            self._leave()
            return
        delay_ms = self._state.delay_ms
        if delay_ms > 0:
            self._loop.call_later(delay_ms / 1000, self._finish, charge, reply)
        else:
            self._finish(charge, reply)

    def _finish(self, charge: Charge, reply: Reply) -> None:
        # Not stopped by a client that has hung up: it may be charged without ever learning it.
        if self._closed:
            return
        state = self._state
        if state.faults.status is not None:
            _send(reply, message(state.faults.status, "as the test asked"))
        elif state.failing:
            state.stats.payments_failed += 1
            _send(reply, FAILING)
        elif state.books.charge(*charge):
            self._confirm(reply)
        else:
            _send(reply, DUPLICATE)
        self._leave()

    def _confirm(self, reply: Reply) -> None:
        state, faults = self._state, self._state.faults
        if faults.answer_lost and state.happens(faults.answer_lost):
            reply.abort()
        elif faults.garbage_answer and state.happens(faults.garbage_answer):
            reply.send(200, GARBAGE, content_type=b"text/html")
        elif state.options.chunked:
            reply.send(200, PROCESSED, chunked=True)
        else:
            reply.send_raw(PROCESSED_HEAD, PROCESSED)

    def _leave(self) -> None:
        """Give the place to the first who waits, on a fresh stack: hundreds may follow at once."""
        following = self._limiter.release()
        if following is not None:
            self._loop.call_soon(self._begin, *following)

    def _payment(self, path: bytes) -> Answer:
        correlation_id = path.removeprefix(b"/payments/").decode("latin-1").lower()
        record = self._state.books.payments.get(correlation_id)
        if record is None:
            return NOT_FOUND
        return Answer(200, payment_json(Charge(correlation_id, *record)).encode())

    # -- health: one call per window

    def _report_health(self, reply: Reply) -> None:
        now_s, stats = self._loop.time(), self._state.stats
        stats.health_total += 1
        stats.health_calls.append(now_s)
        self._window.forget(_has_gone)
        match self._window.arrive(reply, now_s):
            case Admission.NOW:
                self._tell_health(reply)
            case Admission.WAITS:
                self._renew_later()
            case Admission.REFUSED:
                stats.health_refused += 1
                retry_after = b"%d" % max(1, round(self._state.options.health_window_s))
                _send(reply, message(429, "one health call per window", (b"Retry-After", retry_after)))

    def _renew(self) -> None:
        self._renewal = None
        self._window.forget(_has_gone)
        reply = self._window.renew(self._loop.time())
        if reply is not None:
            self._tell_health(reply)
        self._renew_later()

    def _renew_later(self) -> None:
        renewal_s = self._window.renewal_s()
        if renewal_s is not None and self._renewal is None:
            # Timers are cut to milliseconds and may fire a little early; then this is one more short wait.
            wait_s = max(0.001, renewal_s - self._loop.time())
            self._renewal = self._loop.call_later(wait_s, self._renew)

    def _tell_health(self, reply: Reply) -> None:
        if self._state.faults.health_hangs:
            return
        body = msgspec.json.encode(self._state.health())
        reply.send(200, body[:-5] if self._state.faults.health_garbage else body)


def _is_json(request: Request) -> bool:
    given = request.header(b"content-type") or b""
    return given == JSON or given.partition(b";")[0].strip().lower() == JSON


def _has_gone(reply: Reply) -> bool:
    return reply.client_gone


def _send(reply: Reply, answer: Answer) -> None:
    reply.send(answer.status, answer.body, headers=answer.headers)


def _wrong_method(allowed: bytes) -> Answer:
    return message(405, "method not allowed here", (b"Allow", allowed))
