"""`ProcessorGateway` over HTTP: the processors' wire format, and what came of each exchange as a domain outcome."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from payrouter.adapters.http.client import Answer, Exchange, HttpPool, NeverSent, NoAnswer, PoolLimits
from payrouter.domain.attempt import Refusal, Refused, Unknown, outcome_of_answer
from payrouter.domain.errors import InvalidInput
from payrouter.domain.health import LEAVES_WITHIN_S, HealthReport
from payrouter.domain.money import format_minor, parse_amount
from payrouter.domain.window import format_instant, parse_instant
from payrouter.ports.gateway import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.attempt import Intent, Outcome
    from payrouter.domain.processor import Processor

PROOF_WITHIN_S = 3.0
"""Asking for a record is neither delayed nor failing."""

HEALTH_WITHIN_S = 12.0
"""A processor may hold a health call for up to two of its 5 s windows."""


# Stands for a payment's id in a request that is prepared; no url and no header can hold it.
_ID = "\0"


class _HealthBody(msgspec.Struct):
    failing: bool
    minResponseTime: int  # noqa: N815 - the processors' name for it


class _RecordBody(msgspec.Struct):
    correlationId: str  # noqa: N815 - the processors' name for it
    amount: msgspec.Raw
    requestedAt: str  # noqa: N815


_decode_record = msgspec.json.Decoder(_RecordBody).decode
_decode_health = msgspec.json.Decoder(_HealthBody).decode


class HttpGateway:
    """Speaks to every processor. An attempt without an answer after `attempt_timeout_s` is Unknown.

    `pool` makes the connections to one address.
    """

    def __init__(
        self,
        processors: tuple[Processor, ...],
        *,
        attempt_timeout_s: float,
        connections: int,
        pool: Callable[[str, PoolLimits], HttpPool] = HttpPool,
    ) -> None:
        self._attempt_timeout_s = attempt_timeout_s
        self._pools = {one.name: pool(one.url, PoolLimits(connections=connections)) for one in processors}
        # Health calls may be held for seconds: they have their own connection. One that cannot be opened soon is
        # not used: a call that left late could come too close to the next one, perhaps of another process (I8).
        limits = PoolLimits(connections=1, connect_s=LEAVES_WITHIN_S * 0.75)
        self._health_pools = {one.name: pool(one.url, limits) for one in processors}
        own = {one.name: one.headers for one in processors}
        json_sent, json_wanted = ("Content-Type", "application/json"), ("Accept", "application/json")
        self._payment_heads = {
            name: pool.head("POST", "/payments", (json_sent, *own[name])) + b"Content-Length: "
            for name, pool in self._pools.items()
        }
        self._proof_requests = {
            name: (pool.head("GET", f"/payments/{_ID}", own[name]) + b"\r\n").split(_ID.encode())
            for name, pool in self._pools.items()
        }
        self._health_requests = {
            name: pool.head("GET", "/payments/service-health", (json_wanted, *own[name])) + b"\r\n"
            for name, pool in self._health_pools.items()
        }

    def send(self, intent: Intent, done: Callable[[Outcome], None]) -> None:
        """Post an attempt; `done` is called exactly once, later, on the loop."""
        delivery = intent.delivery
        body = (
            f'{{"correlationId":"{delivery.correlation_id}","amount":{format_minor(delivery.amount_minor)},'
            f'"requestedAt":"{format_instant(intent.requested_us)}"}}'
        ).encode()
        trace = b"\r\ntraceparent: %b" % delivery.trace.encode() if delivery.trace else b""
        self._pools[intent.processor].request(
            b"%b%d%b\r\n\r\n%b" % (self._payment_heads[intent.processor], len(body), trace, body),
            within_s=self._attempt_timeout_s,
            done=partial(_outcome, done),
        )

    def prove(self, intent: Intent, done: Callable[[bool], None]) -> None:
        """Ask the processor for its record of an attempt; `done` is called exactly once, later, on the loop."""
        self._pools[intent.processor].request(
            intent.delivery.correlation_id.encode().join(self._proof_requests[intent.processor]),
            within_s=PROOF_WITHIN_S,
            done=lambda exchange: done(_proves(intent, exchange)),
        )

    async def health(self, processor: str) -> HealthReport:
        """Ask for a health report.

        Raises:
            GatewayError: if none came: no answer in time, or something that is no report.
        """
        exchange = await self._health_pools[processor].ask(self._health_requests[processor], within_s=HEALTH_WITHIN_S)
        match exchange:
            # One known version of the processor sends its report with 503 while it is failing.
            case Answer(200 | 503 as status, body):
                try:
                    report = _decode_health(body)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise GatewayError(f"health answer ({status}) is no report: {error}") from error
                if not 0 <= report.minResponseTime <= 3_600_000:
                    raise GatewayError(f"health answer has minResponseTime {report.minResponseTime}")
                return HealthReport(report.failing, report.minResponseTime)
            case Answer(status):
                raise GatewayError(f"health call answered {status}")
            case NeverSent(detail) | NoAnswer(detail):
                raise GatewayError(f"health call got no answer: {detail}")

    async def close(self) -> None:
        """Close every connection; attempts under way end as Unknown."""
        for pool in (*self._pools.values(), *self._health_pools.values()):
            await pool.close()


def _proves(intent: Intent, exchange: Exchange) -> bool:
    """Return whether an answer shows this very attempt as charged; anything else is no proof."""
    if not isinstance(exchange, Answer) or exchange.status != 200:
        return False
    try:
        record = _decode_record(exchange.body)
        charged = (
            record.correlationId.lower(),
            parse_amount(bytes(record.amount)),
            parse_instant(record.requestedAt),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidInput):
        return False
    return charged == (intent.delivery.correlation_id, intent.delivery.amount_minor, intent.requested_us)


def _outcome(done: Callable[[Outcome], None], exchange: Exchange) -> None:
    match exchange:
        case Answer(status, body):
            done(outcome_of_answer(status, body))
        case NeverSent(detail):
            done(Refused(Refusal.UNREACHABLE, detail))
        case NoAnswer(detail):
            done(Unknown(detail))
