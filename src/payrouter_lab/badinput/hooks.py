"""What an OpenAPI document cannot say about our calls, told to schemathesis (SCHEMATHESIS_HOOKS names this module).

Without it, generated calls that the document allows are rightly refused: an amount has two decimals at most (not
written as `multipleOf`, which validators that reckon in binary floats get wrong), and `from` is not after `to`.
"""

from __future__ import annotations

from typing import Any

import schemathesis

from payrouter.domain.errors import InvalidInput
from payrouter.domain.window import parse_instant


@schemathesis.hook
def before_call(_context: Any, case: Any, _options: dict[str, Any]) -> None:
    """Round a payment's amount to cents, upwards from nothing, and put a window's bounds in order."""
    body, query = case.body, case.query
    if isinstance(body, dict) and isinstance(amount := body.get("amount"), float) and amount > 0:
        case.body = {**body, "amount": max(0.01, round(amount, 2))}
    if _reversed(query):
        case.query = {**query, "from": query["to"], "to": query["from"]}


def _reversed(query: Any) -> bool:
    try:
        return bool(parse_instant(query["from"]) > parse_instant(query["to"]))
    except (InvalidInput, TypeError, KeyError):
        return False
