"""The public HTTP API: what each call answers.

`POST /payments` is the hot path: no task, no future and no parsing twice; its answer is sent by the acceptor once
the payment is durable. Everything else is a coroutine.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from payrouter.adapters.http.message import STATUS_LINES
from payrouter.adapters.log_lines import fact
from payrouter.domain.errors import InvalidInput, StoreUnavailable, StoreUncertain
from payrouter.domain.ledger import Totals
from payrouter.domain.money import format_minor
from payrouter.domain.payment import Payment, parse_correlation_id
from payrouter.domain.trace import parse_traceparent
from payrouter.domain.window import parse_window
from payrouter.entrypoints.api.body import read_payment
from payrouter.entrypoints.api.openapi import openapi_document
from payrouter.entrypoints.api.problems import PROBLEM_TYPE, problem_body
from payrouter.entrypoints.api.views import payment_view
from payrouter.entrypoints.api.waiting import Waiters, asked_wait_s
from payrouter.ports.queue import Acceptance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from payrouter.adapters.http.message import Reply, Request
    from payrouter.bootstrap import Intake
    from payrouter.domain.ledger import PaymentRecord

RETRY_AFTER = ((b"Retry-After", b"1"),)
_PAGE_GUARDS = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cache-Control", b"no-cache"),
)
_ACCEPTED_BODY = b'{"message":"payment accepted"}'
_ACCEPTED_HEAD = STATUS_LINES[202] + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(_ACCEPTED_BODY)


class Api:
    """Answers requests out of a router. Call it with a request and where to answer."""

    def __init__(self, router: Intake, *, allow_purge: bool, keys: bool = False, rate_limited: bool = False) -> None:
        self._router = router
        self._allow_purge = allow_purge
        self._tasks: set[asyncio.Task[None]] = set()
        # Not `router.find`, which hurries what is about to be written: once it is, the end is seen here, too.
        self._waiters = Waiters(router.ledger.find)
        document = openapi_document(router.processor_names, keys=keys, rate_limited=rate_limited)
        self._openapi = msgspec.json.encode(document)
        self._docs: tuple[bytes, bytes] | None = None
        self._routes: dict[bytes, dict[bytes, Callable[[Request, Reply], None]]] = {
            b"/payments": {b"POST": self._post_payment},
            b"/payments-summary": {b"GET": self._later(self._get_summary)},
            b"/purge-payments": {b"POST": self._later(self._post_purge)},
            b"/health": {b"GET": self._get_health},
            b"/openapi.json": {b"GET": self._get_openapi},
            b"/docs": {b"GET": self._get_docs},
        }
        self._payment_routes = {b"GET": self._later(self._get_payment)}

    def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request, now or later."""
        if request.target == b"/payments" and request.method == b"POST":
            self._post_payment(request, reply)
            return
        path = request.path
        methods = self._routes.get(path)
        if methods is None and path.startswith(b"/payments/"):
            methods = self._payment_routes
        if methods is None:
            shown = path[:80].decode("utf-8", "replace")
            _problem(reply, 404, f"nothing is at {shown}; GET /openapi.json lists what is")
            return
        handler = methods.get(request.method)
        if handler is None:
            allowed = b", ".join(methods)
            shown = request.method.decode("ascii", "replace")
            detail = f"{shown} is not possible here, only {allowed.decode()}"
            _problem(reply, 405, detail, headers=((b"Allow", allowed),))
            return
        handler(request, reply)

    def let_go(self) -> None:
        """Answer those who wait for the end of a payment now; a stop waits for nobody's preference."""
        self._waiters.let_go()

    async def close(self) -> None:
        """Wait for what is being answered."""
        await asyncio.gather(self._waiters.close(), *self._tasks)

    def _later(self, handle: Callable[[Request, Reply], Awaitable[None]]) -> Callable[[Request, Reply], None]:
        """Return a handler that answers in a task, and turns what goes wrong into an honest answer."""

        async def guarded(request: Request, reply: Reply) -> None:
            try:
                await handle(request, reply)
            except InvalidInput as error:
                _problem(reply, 400, str(error))
            except StoreUnavailable as error:
                _problem(reply, 503, f"{error}; try again later", headers=RETRY_AFTER)
            except Exception:
                logging.getLogger(__name__).exception("%s failed", request.target[:80], extra=fact("request_failed"))
                if not reply.answered:
                    _problem(reply, 500, "a defect of ours; the log says more")

        def start(request: Request, reply: Reply) -> None:
            task = asyncio.get_running_loop().create_task(guarded(request, reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return start

    # -- POST /payments

    def _post_payment(self, request: Request, reply: Reply) -> None:
        content_type = request.header(b"content-type")
        if content_type != b"application/json" and not _is_json(content_type):
            shown = (content_type or b"none")[:60].decode("ascii", "replace")
            _problem(reply, 415, f"send Content-Type: application/json, got {shown}")
            return
        try:
            correlation_id, amount_minor = read_payment(request.body)
        except InvalidInput as error:
            _problem(reply, 400 if error.syntax else 422, str(error))
            return
        router = self._router
        payment = Payment(correlation_id, amount_minor, router.clock.now_us(), _trace_of(request))
        wait_s = asked_wait_s(request)

        def answer(result: Acceptance | StoreUnavailable) -> None:
            if result is Acceptance.ACCEPTED or result is Acceptance.DUPLICATE:
                if wait_s is None or not self._answer_later(correlation_id, wait_s, reply):
                    reply.send_raw(_ACCEPTED_HEAD, _ACCEPTED_BODY)
            else:
                self._not_accepted(reply, payment, result)

        router.acceptor.accept(payment, answer)

    def _answer_later(self, correlation_id: str, wait_s: int, reply: Reply) -> bool:
        """Answer once the payment has its end, or after so long; False when too many wait, and nobody does it."""
        applied = ((b"Preference-Applied", b"wait=%d" % wait_s),)

        def answer(record: PaymentRecord | None) -> None:
            if record is None:
                reply.send(202, _ACCEPTED_BODY, headers=applied)
            else:
                reply.send(200, self._view(record), headers=applied)

        return self._waiters.wait(correlation_id, wait_s, reply, answer)

    def _view(self, record: PaymentRecord) -> bytes:
        return msgspec.json.encode(payment_view(record, self._router.processors))

    def _not_accepted(self, reply: Reply, payment: Payment, result: Acceptance | StoreUnavailable) -> None:
        if result is Acceptance.CONFLICT:
            _problem(
                reply,
                409,
                f"payment {payment.correlation_id} exists with another amount than "
                f"{format_minor(payment.amount_minor)}; use a new correlationId for a new payment",
            )
        elif result is Acceptance.FULL:
            detail = f"{self._router.queue_limit} payments are waiting, which is the limit; try again later"
            _problem(reply, 503, detail, headers=RETRY_AFTER)
        elif isinstance(result, StoreUncertain):
            detail = f"it is not known whether the payment was accepted ({result}); try again with the same id"
            _problem(reply, 503, detail, headers=RETRY_AFTER)
        else:
            detail = f"the payment cannot be made durable just now and was not accepted ({result}); try again later"
            _problem(reply, 503, detail, headers=RETRY_AFTER)

    # -- everything else

    async def _get_payment(self, request: Request, reply: Reply) -> None:
        text = request.path[len(b"/payments/") :].decode("ascii", "replace")
        record = await self._router.find(parse_correlation_id(text))
        if record is None:
            _problem(reply, 404, f"no payment {text} is known here")
        else:
            reply.send(200, self._view(record))

    async def _get_summary(self, request: Request, reply: Reply) -> None:
        bounds = _query(request, allowed=("from", "to"))
        totals = await self._router.summary(parse_window(bounds.get("from"), bounds.get("to")))
        reply.send(200, summary_body(self._router.processor_names, totals))

    async def _post_purge(self, request: Request, reply: Reply) -> None:  # noqa: ARG002
        if not self._allow_purge:
            _problem(reply, 403, "purging is off; the operator can set PAYROUTER_ALLOW_PURGE=true")
            return
        await self._router.purge()
        reply.send(200, b'{"message":"all payments purged"}')

    def _get_health(self, request: Request, reply: Reply) -> None:  # noqa: ARG002
        reply.send(200, b'{"status":"ok"}')

    def _get_openapi(self, request: Request, reply: Reply) -> None:  # noqa: ARG002
        reply.send(200, self._openapi)

    def _get_docs(self, request: Request, reply: Reply) -> None:  # noqa: ARG002
        if self._docs is None:
            # Most processes never show it.
            from payrouter.entrypoints.api.docs_page import docs_page  # noqa: PLC0415

            self._docs = docs_page(msgspec.json.decode(self._openapi))
        page, policy = self._docs
        headers = ((b"Content-Security-Policy", policy), *_PAGE_GUARDS)
        reply.send(200, page, content_type=b"text/html; charset=utf-8", headers=headers)


def summary_body(names: tuple[str, ...], totals: dict[str, Totals]) -> bytes:
    """Return the summary as JSON, the sums as exact decimals: configured processors first, then former ones."""
    ordered = (*names, *sorted(totals.keys() - set(names)))
    members = []
    for name in ordered:
        total = totals.get(name, Totals())
        key = msgspec.json.encode(name).decode()
        members.append(f'{key}:{{"totalRequests":{total.count},"totalAmount":{format_minor(total.amount_minor)}}}')
    return ("{" + ",".join(members) + "}").encode()


def _trace_of(request: Request) -> str:
    """Return the client's `traceparent`, "" for none and for what is none; two of them are none."""
    first = request.header(b"traceparent")
    if first is None or sum(name == b"traceparent" for name, _ in request.headers) > 1:
        return ""
    return parse_traceparent(first)


def _is_json(content_type: bytes | None) -> bool:
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == b"application/json"


def _query(request: Request, *, allowed: tuple[str, ...]) -> dict[str, str]:
    """Return query parameters; a `+` of a time zone that was sent unescaped is understood.

    Raises:
        InvalidInput: for an unknown or repeated name.
    """
    text = request.query.decode("ascii", "replace").replace("+", "%2B")
    pairs = parse_qsl(text, keep_blank_values=True)
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise InvalidInput(f"unknown parameter {name[:40]!r}; known are {' and '.join(allowed)}")
        if name in found:
            raise InvalidInput(f"{name} is given twice")
        found[name] = value
    return found


def _problem(reply: Reply, status: int, detail: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    reply.send(status, problem_body(status, detail), content_type=PROBLEM_TYPE, headers=headers)
