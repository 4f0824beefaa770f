"""The processor's JSON: payments in, exact money and instants out. No sockets.

Amounts are cents and instants microseconds since the epoch (UTC); both are exact in either direction.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import msgspec

from payrouter.domain.errors import InvalidInput
from payrouter_lab.simulator.books import SECOND_US, Charge, Totals

UUID_PATTERN = r"^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\Z"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AMOUNT_DIGITS = 15
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6}(\d*))?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)


class Answer(NamedTuple):
    """A status, a body, and headers beyond the usual ones."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


class _PaymentRequest(msgspec.Struct, gc=False):
    correlation_id: Annotated[str, msgspec.Meta(pattern=UUID_PATTERN)] = msgspec.field(name="correlationId")
    requested_at: str = msgspec.field(name="requestedAt")
    amount: Any


# `Decimal` as the hook keeps the digits the client sent; a field of type Decimal would also take strings.
_decode_request = msgspec.json.Decoder(_PaymentRequest, float_hook=Decimal).decode


def decode_payment(body: bytes) -> Charge:
    """Read the body of `POST /payments`.

    Raises:
        InvalidInput: if it is not JSON, or a field is missing or wrong.
    """
    try:
        request = _decode_request(body)
    except msgspec.MsgspecError as error:
        raise InvalidInput(str(error), syntax=True) from error
    return Charge(request.correlation_id.lower(), cents_of(request.amount), instant_us(request.requested_at))


def cents_of(amount: object) -> int:
    """Round an amount to cents, half to even, as the processor's numeric(…, 2) does.

    Raises:
        InvalidInput: if it is not a number, or too long for one.
    """
    if type(amount) is Decimal:
        if amount.adjusted() < AMOUNT_DIGITS:
            return round(amount * 100)
    elif type(amount) is int and abs(amount) < 10**AMOUNT_DIGITS:
        return amount * 100
    raise InvalidInput(f"amount must be a number below 1e{AMOUNT_DIGITS}, got {str(amount)[:40]!r}")


def instant_us(text: str, *, round_up: bool = False) -> int:
    """Read an RFC 3339 instant, no offset meaning UTC; what is finer than microseconds is cut off.

    With `round_up` (an inclusive `from`) it is the first whole microsecond that is not before the instant.

    Raises:
        InvalidInput: if it is none.
    """
    text = text.upper()
    shape = INSTANT.fullmatch(text)
    if shape is None:
        raise InvalidInput(f"not an RFC 3339 instant: {text[:40]!r}")
    try:
        instant = datetime.fromisoformat(text)
        instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"not an instant: {text!r}") from error
    since = instant - EPOCH
    whole_us = (since.days * 86_400 + since.seconds) * SECOND_US + since.microseconds
    return whole_us + 1 if round_up and (shape[1] or "").strip("0") else whole_us


@lru_cache(maxsize=1024)
def _second_text(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()


def instant_text(requested_us: int) -> str:
    """Write an instant with all its microseconds: `2025-07-15T12:34:56.000001Z`."""
    second, microsecond = divmod(requested_us, SECOND_US)
    return f"{_second_text(second)}.{microsecond:06d}Z"


def money(cents: int) -> str:
    """Write cents as a JSON number with two decimals: `19.90`."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole}.{rest:02d}"


def payment_json(charge: Charge) -> str:
    """Write one payment as `GET /payments/{id}` answers it."""
    return (
        f'{{"correlationId":"{charge.correlation_id}","amount":{money(charge.cents)},'
        f'"requestedAt":"{instant_text(charge.requested_us)}"}}'
    )


def summary_json(totals: Totals, fee: Decimal) -> str:
    """Write a summary. `totalFee` = total times fee rate, rounded once, half to even."""
    with localcontext() as context:
        context.prec = 60
        fee_cents = int((totals.cents * fee).to_integral_value(ROUND_HALF_EVEN))
    return (
        f'{{"totalRequests":{totals.payments},"totalAmount":{money(totals.cents)},'
        f'"totalFee":{money(fee_cents)},"feePerTransaction":{fee:f}}}'
    )


def message(status: int, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    """Answer with `{"message": text}`."""
    return Answer(status, msgspec.json.encode({"message": text}), headers)
