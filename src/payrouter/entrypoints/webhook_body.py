"""How a webhook reads: what happened and when, and the payment as `GET /payments/{correlationId}` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from payrouter.domain.window import format_instant
from payrouter.entrypoints.api.views import payment_view

if TYPE_CHECKING:
    from payrouter.domain.ledger import PaymentRecord
    from payrouter.domain.notice import Notice
    from payrouter.domain.processor import Processor


def webhook_body(notice: Notice, record: PaymentRecord, processors: tuple[Processor, ...]) -> bytes:
    """Return the body of a webhook as JSON. `timestamp` is when it happened; the payment is as it is now."""
    return msgspec.json.encode(
        {"type": notice.type, "timestamp": format_instant(notice.at_us), "data": payment_view(record, processors)}
    )
