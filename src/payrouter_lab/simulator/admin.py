"""The processor's `/admin` calls: configuration, summary, purge; and ours: payments by page, faults, counts.

    GET  /admin/payments-summary?from&to      totals of a window, ends included; all, if one is missing
    GET  /admin/payments?from&to&after&limit  ours: the payments themselves, each end open when missing
    GET  /admin/stats                         ours: counts since the start
    PUT  /admin/configurations/token|delay|failure
    PUT  /admin/configurations/faults         ours: `Faults`, only the keys to change; `{}` reads them.
                                              Once: `"purge": true`, a processor that forgets
    POST /admin/purge-payments

Paging: `{"payments": [...], "next": cursor | null}`. Ask again with `after=<cursor>` and the same window
until `next` is null; payments come by second of `requestedAt`, within it in the order they were charged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import unquote

import msgspec

from payrouter.domain.errors import InvalidInput
from payrouter_lab.simulator.books import Cursor
from payrouter_lab.simulator.wire import Answer, instant_us, message, payment_json, summary_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.adapters.http.message import Request
    from payrouter_lab.simulator.limits import ConcurrencyLimiter
    from payrouter_lab.simulator.state import ProcessorState

Body = TypeVar("Body")

DEFAULT_PAGE = 1000
LARGEST_PAGE = 10_000


class _Token(msgspec.Struct):
    token: str


class _Delay(msgspec.Struct):
    delay: Annotated[int, msgspec.Meta(ge=0)]


class _Failure(msgspec.Struct):
    failure: bool


class AdminApi:
    """Answers `/admin` calls from a processor's state."""

    def __init__(self, state: ProcessorState, limiter: ConcurrencyLimiter[Any]) -> None:
        self._state = state
        self._limiter = limiter
        self._routes: dict[bytes, dict[bytes, Callable[[Request], Answer]]] = {
            b"/admin/payments-summary": {b"GET": self._summary},
            b"/admin/payments": {b"GET": self._payments},
            b"/admin/stats": {b"GET": self._stats},
            b"/admin/configurations/token": {b"PUT": self._set_token},
            b"/admin/configurations/delay": {b"PUT": self._set_delay},
            b"/admin/configurations/failure": {b"PUT": self._set_failure},
            b"/admin/configurations/faults": {b"PUT": self._set_faults},
            b"/admin/purge-payments": {b"POST": self._purge},
        }

    def answer(self, request: Request) -> Answer:
        """Answer one call; `401` comes before anything else."""
        if request.header(b"x-rinha-token") != self._state.token.encode():
            return message(401, "the header X-Rinha-Token is missing or wrong")
        methods = self._routes.get(request.path)
        if methods is None:
            return message(404, "no such path")
        route = methods.get(request.method)
        if route is None:
            return message(405, "method not allowed here", (b"Allow", b", ".join(methods)))
        try:
            return route(request)
        except InvalidInput as error:
            return message(400, str(error))

    def _summary(self, request: Request) -> Answer:
        query = _query(request)
        totals = self._state.books.totals(*_window(query))
        return Answer(200, summary_json(totals, self._state.options.fee).encode())

    def _payments(self, request: Request) -> Answer:
        query = _query(request)
        from_us, to_us = _window(query)
        limit = _whole(query.get("limit") or str(DEFAULT_PAGE), "limit")
        if not 1 <= limit <= LARGEST_PAGE:
            raise InvalidInput(f"limit must be from 1 to {LARGEST_PAGE}, got {limit}")
        page = self._state.books.page(from_us, to_us, after=_cursor(query.get("after", "")), limit=limit)
        after = "null" if page.after is None else f'"{page.after.second}.{page.after.position}"'
        payments = ",".join(map(payment_json, page.charges))
        return Answer(200, f'{{"payments":[{payments}],"next":{after}}}'.encode())

    def _stats(self, _request: Request) -> Answer:
        state, stats = self._state, self._state.stats
        return _json(
            {
                "name": state.options.name,
                "charged": len(state.books.payments),
                "duplicates": sum(state.books.duplicates.values()),
                "failed": stats.payments_failed,
                "refused": stats.payments_refused,
                "running": self._limiter.running,
                "waiting": self._limiter.waiting,
                "maxRunning": stats.max_running,
                "health": {
                    "calls": stats.health_total,
                    "refused": stats.health_refused,
                    "instants": list(stats.health_calls),
                },
            }
        )

    def _set_token(self, request: Request) -> Answer:
        self._state.token = _body(request, _Token).token
        return Answer(204)

    def _set_delay(self, request: Request) -> Answer:
        was, self._state.delay_ms = self._state.delay_ms, _body(request, _Delay).delay
        return _json({"config": "delay", "was": was, "is": self._state.delay_ms})

    def _set_failure(self, request: Request) -> Answer:
        was, self._state.failing = self._state.failing, _body(request, _Failure).failure
        return _json({"config": "failure", "was": was, "is": self._state.failing})

    def _set_faults(self, request: Request) -> Answer:
        changes: dict[str, Any] = _body(request, dict)
        purge = changes.pop("purge", False)
        if not isinstance(purge, bool):
            raise InvalidInput(f"not a fault: purge must be true or false, got {purge!r}")
        try:
            self._state.faults = self._state.faults.patched(changes)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"not a fault: {error}") from error
        if purge:
            self._state.books.purge()
        return _json(self._state.faults)

    def _purge(self, _request: Request) -> Answer:
        self._state.books.purge()
        return message(200, "All payments purged.")


def _json(value: object) -> Answer:
    return Answer(200, msgspec.json.encode(value))


def _body(request: Request, shape: type[Body]) -> Body:
    try:
        return msgspec.json.decode(request.body, type=shape)
    except msgspec.MsgspecError as error:
        raise InvalidInput(str(error)) from error


def _query(request: Request) -> dict[str, str]:
    """Return the query's parameters; a `+` stays one, as clients send `+00:00` without escaping it."""
    pairs = (pair.partition("=") for pair in request.query.decode("latin-1").split("&"))
    return {unquote(name): unquote(value) for name, _, value in pairs}


def _window(query: dict[str, str]) -> tuple[int | None, int | None]:
    """Return the bounds in microseconds, None where one is missing or empty."""
    start, end = query.get("from"), query.get("to")
    return instant_us(start, round_up=True) if start else None, instant_us(end) if end else None


def _cursor(text: str) -> Cursor | None:
    if not text:
        return None
    second, _, index = text.partition(".")
    return Cursor(_whole(second, "after"), _whole(index, "after"))


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InvalidInput(f"{name} must be a whole number or a cursor we gave, got {text[:40]!r}") from error
