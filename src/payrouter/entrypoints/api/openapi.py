"""The OpenAPI description of the public API, served at `/openapi.json`."""

from __future__ import annotations

from typing import Any

from payrouter import __version__
from payrouter.domain.money import MAX_MINOR
from payrouter.domain.payment import PaymentState
from payrouter.entrypoints.api.waiting import LONGEST_S

_UUID = {"type": "string", "format": "uuid"}
_INSTANT = {"type": "string", "format": "date-time"}
_MONEY = {"type": "number", "description": "exact, two decimals"}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str, *, retry: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if retry:
        answer["headers"] = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return answer


_UNAVAILABLE = _problem("Nothing can be made durable just now, or the queue bound is reached.", retry=True)
_WHERE_IT_STANDS = {
    "operationId": "getPayment",
    "parameters": {"correlationId": "$request.body#/correlationId"},
    "description": "Where the payment stands.",
}
_APPLIED = {"description": "the seconds waited at most", "schema": {"type": "string", "pattern": "^wait=[0-9]+$"}}
_MESSAGE = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}


def openapi_document(
    processor_names: tuple[str, ...], *, keys: bool = False, rate_limited: bool = False
) -> dict[str, Any]:
    """Return the document for a router with these processors.

    `keys`: clients need an API key. `rate_limited`: they may not hand in payments as fast as they like.
    """
    document = _open_document(processor_names)
    if rate_limited:
        document["paths"]["/payments"]["post"]["responses"]["429"] = _problem(
            "This client hands in payments faster than it may.", retry=True
        )
    if keys:
        document["components"]["securitySchemes"] = _SCHEMES
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path not in _NEEDS_NO_KEY:
                    operation["security"] = [{name: []} for name in _SCHEMES]
                    operation["responses"]["401"] = _unauthorized()
    return document


_NEEDS_NO_KEY = frozenset(("/health",))
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def _unauthorized() -> dict[str, Any]:
    challenge = {"description": "what is missing", "schema": {"const": "Bearer"}}
    return {**_problem("No key, or one that is not known here."), "headers": {"WWW-Authenticate": challenge}}


def _open_document(processor_names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Payrouter",
            "version": __version__,
            "description": "Least-cost payment router. A payment is durable before it is accepted. "
            "For people: /docs shows the same as a page.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {
            "/payments": {"post": _post_payment()},
            "/payments/{correlationId}": {"get": _get_payment()},
            "/payments-summary": {"get": _get_summary(processor_names)},
            "/purge-payments": {"post": _post_purge()},
            "/health": {"get": _get_health()},
        },
        "components": {"schemas": {"Problem": _PROBLEM, "NewPayment": _NEW_PAYMENT, "Payment": _PAYMENT}},
    }


def _post_payment() -> dict[str, Any]:
    return {
        "operationId": "acceptPayment",
        "summary": "Hand in a payment",
        "description": "Answers 202 once the payment is durably queued. The same correlationId is one payment. "
        "With Prefer: wait=N the answer is 200 with the payment, if it is settled or a dead letter within so many "
        "seconds.",
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "required": False,
                "description": f"wait=N (RFC 7240): wait up to N seconds, {LONGEST_S} at most, for the payment's end. "
                "Anything else is ignored, as is this when too many are waiting",
                "schema": {"type": "string"},
                "example": "wait=5",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewPayment"}}},
        },
        "responses": {
            "200": {
                **_json("Settled or a dead letter, in the time asked for.", {"$ref": "#/components/schemas/Payment"}),
                "headers": {"Preference-Applied": _APPLIED},
                "links": {"payment": _WHERE_IT_STANDS},
            },
            "202": {
                **_json("Durably queued, now or before.", _MESSAGE),
                "headers": {"Preference-Applied": {**_APPLIED, "required": False}},
                "links": {"payment": _WHERE_IT_STANDS},
            },
            "400": _problem("Not JSON, or not HTTP."),
            "408": _problem("The request did not arrive in time."),
            "409": _problem("This correlationId was accepted with another amount."),
            "413": _problem("The body is too large."),
            "415": _problem("Not sent as application/json."),
            "422": _problem("JSON, but not a payment: the detail says which field and why."),
            "503": _UNAVAILABLE,
        },
    }


def _get_payment() -> dict[str, Any]:
    return {
        "operationId": "getPayment",
        "summary": "One payment: state, processor, attempts, and why it went there",
        "parameters": [{"name": "correlationId", "in": "path", "required": True, "schema": _UUID}],
        "responses": {
            "200": _json("What is known of it.", {"$ref": "#/components/schemas/Payment"}),
            "400": _problem("Not a UUID."),
            "404": _problem("Unknown here."),
            "503": _UNAVAILABLE,
        },
    }


def _get_summary(processor_names: tuple[str, ...]) -> dict[str, Any]:
    total = {
        "type": "object",
        "required": ["totalRequests", "totalAmount"],
        "properties": {"totalRequests": {"type": "integer", "minimum": 0}, "totalAmount": _MONEY},
    }
    bounds = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": f"RFC 3339, up to nanoseconds, inclusive: the {which} requestedAt counted",
            "schema": _INSTANT,
        }
        for name, which in (("from", "first"), ("to", "last"))
    ]
    summary = {
        "type": "object",
        "required": list(processor_names),
        "properties": dict.fromkeys(processor_names, total),
        "additionalProperties": total,
    }
    return {
        "operationId": "getSummary",
        "summary": "Settled payments by processor in a time window",
        "parameters": bounds,
        "responses": {
            "200": _json("One member per processor.", summary),
            "400": _problem("A bound cannot be read, or from is after to."),
            "503": _UNAVAILABLE,
        },
    }


def _post_purge() -> dict[str, Any]:
    return {
        "operationId": "purge",
        "summary": "Empty ledger, queue and intents",
        "responses": {
            "200": _json("Everything is gone.", _MESSAGE),
            "403": _problem("The operator did not enable it."),
            "503": _UNAVAILABLE,
        },
    }


def _get_health() -> dict[str, Any]:
    schema = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
    return {
        "operationId": "getHealth",
        "summary": "Whether this process can serve",
        "responses": {"200": _json("It can.", schema)},
    }


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem document",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_NEW_PAYMENT = {
    "type": "object",
    "required": ["correlationId", "amount"],
    "additionalProperties": False,
    "properties": {
        "correlationId": _UUID,
        "amount": {
            "type": "number",
            # Not as multipleOf 0.01: validators that reckon in binary floats would refuse 19.90.
            "description": "at most two decimals",
            "exclusiveMinimum": 0,
            "maximum": MAX_MINOR // 100,
            "examples": [19.90],
        },
    },
}
_REASON = {
    "type": ["object", "null"],
    "description": "Why it went where it went; null before the first attempt",
    "required": ["text", "code", "expectedMs", "inFlight", "limit", "ageSeconds", "passedOver"],
    "properties": {
        "text": {"type": "string"},
        "code": {"type": "string"},
        "expectedMs": {"type": "number"},
        "inFlight": {"type": "integer"},
        "limit": {"type": "integer"},
        "ageSeconds": {"type": "number"},
        "passedOver": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"processor": {"type": "string"}, "standing": {"type": "string"}},
            },
        },
        "fee": _MONEY,
        "savedAgainstDearest": _MONEY,
        "lostAgainstCheapest": _MONEY,
    },
}
_PAYMENT = {
    "type": "object",
    "required": [
        "correlationId",
        "amount",
        "state",
        "acceptedAt",
        "processor",
        "attempts",
        "reason",
        "failedAttempts",
    ],
    "properties": {
        "correlationId": _UUID,
        "amount": _MONEY,
        "state": {"enum": [state.label for state in PaymentState]},
        "acceptedAt": _INSTANT,
        "processor": _nullable({"type": "string"}),
        "requestedAt": _nullable(_INSTANT),
        "settledAt": _nullable(_INSTANT),
        "latencyMs": _nullable({"type": "number"}),
        "attempts": {"type": "integer", "minimum": 0},
        "reason": _REASON,
        "failedAttempts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["at", "processor", "outcome", "detail", "requestedAt", "latencyMs", "reason"],
                "properties": {
                    "at": _INSTANT,
                    "processor": {"type": "string"},
                    "outcome": {"type": "string"},
                    "detail": {"type": "string"},
                    "requestedAt": _nullable(_INSTANT),
                    "latencyMs": _nullable({"type": "number", "description": "of this POST; a repeat has its own"}),
                    "reason": _nullable({"type": "string", "description": "why it went there, in words"}),
                },
            },
        },
    },
}
