"""`ProcessorBooks` over HTTP: admin summary, single payments, and the list of payments that some offer."""

from __future__ import annotations

import asyncio
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from payrouter.adapters.http.client import Answer, Exchange, HttpPool, NeverSent, NoAnswer, PoolLimits
from payrouter.domain.errors import InvalidInput
from payrouter.domain.ledger import Totals
from payrouter.domain.money import parse_minor
from payrouter.domain.payment import parse_correlation_id
from payrouter.domain.urls import without_secrets
from payrouter.domain.window import format_instant, parse_instant
from payrouter.ports.books import BookEntry, BookPage, BooksUnavailable, TokenRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.domain.processor import Processor
    from payrouter.domain.window import Window

PAGE = 1000
WITHIN_S = 15.0
_TRIES = 3
_PAUSE_S = 0.2


class _Summary(msgspec.Struct):
    totalRequests: int  # noqa: N815 - the processors' name for it
    totalAmount: msgspec.Raw  # noqa: N815


class _Payment(msgspec.Struct):
    correlationId: str  # noqa: N815
    amount: msgspec.Raw
    requestedAt: str  # noqa: N815


class _Page(msgspec.Struct):
    payments: list[_Payment]
    next: str | None = None


_decode_summary = msgspec.json.Decoder(_Summary).decode
_decode_payment = msgspec.json.Decoder(_Payment).decode
_decode_page = msgspec.json.Decoder(_Page).decode


class HttpBooks:
    """Reads every processor's books. Nothing here changes anything, so a lost answer is asked for again."""

    def __init__(self, processors: Sequence[Processor], *, within_s: float = WITHIN_S) -> None:
        limits = PoolLimits(connections=2, answer_bytes=4 * 1024 * 1024)
        self._processors = {one.name: one for one in processors}
        self._pools = {one.name: HttpPool(one.url, limits) for one in processors}
        self._within_s = within_s

    async def totals(self, processor: str, window: Window) -> Totals:
        """Return number and sum of the payments requested in a window, both bounds included."""
        # Always both bounds: where one is missing, a processor counts everything.
        answer = await self._get(processor, f"/admin/payments-summary?{_bounds(window)}", admin=True)
        try:
            summary = _decode_summary(self._expect(processor, answer))
            return Totals(summary.totalRequests, _minor(summary.totalAmount))
        except _UNREADABLE as error:
            raise self._unreadable(processor, "summary", error) from error

    async def page(self, processor: str, window: Window, cursor: str | None) -> BookPage | None:
        """Return one page of the payments of a window; None from a processor that does not list payments."""
        after = f"&after={quote(cursor, safe='')}" if cursor is not None else ""
        path = f"/admin/payments?{_bounds(window)}&limit={PAGE}{after}"
        answer = await self._get(processor, path, admin=True)
        if answer.status in (404, 405):
            return None
        try:
            page = _decode_page(self._expect(processor, answer))
            return BookPage([_entry(payment) for payment in page.payments], page.next)
        except _UNREADABLE as error:
            raise self._unreadable(processor, "list of payments", error) from error

    async def find(self, processor: str, correlation_id: str) -> BookEntry | None:
        """Return one payment, None when the processor does not know it."""
        answer = await self._get(processor, f"/payments/{correlation_id}")
        if answer.status == 404:
            return None
        try:
            return _entry(_decode_payment(self._expect(processor, answer)))
        except _UNREADABLE as error:
            raise self._unreadable(processor, f"payment {correlation_id}", error) from error

    async def close(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.close()

    async def _get(self, name: str, path: str, *, admin: bool = False) -> Answer:
        pool = self._pools[name]
        token = (("X-Rinha-Token", self._processors[name].admin_token),) if admin else ()
        headers = (("Accept", "application/json"), *self._processors[name].headers, *token)
        request = pool.head("GET", path, headers) + b"\r\n"
        exchange: Exchange = await pool.ask(request, within_s=self._within_s)
        for _ in range(_TRIES - 1):
            if not isinstance(exchange, NoAnswer):
                break
            await asyncio.sleep(_PAUSE_S)
            exchange = await pool.ask(request, within_s=self._within_s)
        match exchange:
            case Answer():
                return exchange
            case NeverSent(detail) | NoAnswer(detail):
                url = without_secrets(self._processors[name].url)
                raise BooksUnavailable(f"processor {name} cannot be asked: {detail}; is it running at {url}?")

    def _expect(self, name: str, answer: Answer) -> bytes:
        """Return the body of a `200`.

        Raises:
            BooksUnavailable: for any other status.
        """
        if answer.status == 401:
            raise TokenRefused(
                f"processor {name} refused the admin token (401); set its admin_token in PAYROUTER_PROCESSORS"
            )
        if answer.status != 200:
            raise BooksUnavailable(f"processor {name} answered {answer.status}; check its url in PAYROUTER_PROCESSORS")
        return answer.body

    def _unreadable(self, name: str, what: str, error: Exception) -> BooksUnavailable:
        url = without_secrets(self._processors[name].url)
        return BooksUnavailable(f"processor {name} sent a {what} that cannot be read: {error}; is {url} a processor?")


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidInput)


def _bounds(window: Window) -> str:
    return f"from={format_instant(window.first_us)}&to={format_instant(window.last_us)}"


def _entry(payment: _Payment) -> BookEntry:
    return BookEntry(
        parse_correlation_id(payment.correlationId),
        _minor(payment.amount),
        parse_instant(payment.requestedAt, name="requestedAt"),
    )


def _minor(raw: msgspec.Raw) -> int:
    """Return the minor units of an amount as it was sent, without a detour over float."""
    text = bytes(raw).decode("ascii", "replace")
    try:
        # Bounded before any arithmetic: an exponent could ask for a number of a billion digits.
        if len(text) <= 40 and Decimal(text).is_finite() and Decimal(text).adjusted() < 18:
            return parse_minor(text)
    except InvalidOperation:
        pass
    raise InvalidInput(f"amount must be a JSON number such as 19.90, got {text[:40]}")
