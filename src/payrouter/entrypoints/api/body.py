"""From the bytes of a `POST /payments` to a correlationId and minor units."""

from __future__ import annotations

import msgspec

from payrouter.domain.errors import InvalidInput
from payrouter.domain.money import parse_amount
from payrouter.domain.payment import parse_correlation_id


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    correlationId: str  # noqa: N815 - the public name
    # Raw, because a detour over float or Decimal would lose digits or accept what is no amount.
    amount: msgspec.Raw


_decode = msgspec.json.Decoder(_Body).decode


def read_payment(body: bytes) -> tuple[str, int]:
    """Return correlationId and amount in minor units.

    Raises:
        InvalidInput: `syntax` when it is not JSON at all.
    """
    if not body:
        raise InvalidInput('the body is empty; send {"correlationId": "<uuid>", "amount": 19.90}', syntax=True)
    try:
        parsed = _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{error}; a payment has exactly correlationId (a UUID) and amount (a number)") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", syntax=True) from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply; a payment is one flat object", syntax=True) from None
    payment = parse_correlation_id(parsed.correlationId), parse_amount(bytes(parsed.amount))
    # Exactly two members have exactly two colons, as neither a UUID nor a number holds one: a third is a key twice.
    if body.count(b":") != 2:
        raise InvalidInput(f"a field is given twice for payment {payment[0]}; which one counts would be a guess")
    return payment
