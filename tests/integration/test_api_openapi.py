"""The OpenAPI document: valid, and true. (`Service.call` holds every other test's answers against it, too.)"""

from __future__ import annotations

import json
import uuid

import jsonschema
import pytest
from openapi_spec_validator import validate

from integration.router_service import payment_body, running_service
from payrouter.entrypoints.api.openapi import openapi_document


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("router")) as service:
        yield service


def test_the_document_is_valid_openapi():
    validate(openapi_document(("default", "fallback")))


def test_the_document_is_served_as_it_is(service):
    assert json.loads(service.get("/openapi.json").body) == openapi_document(("default", "fallback"))


def test_every_documented_path_is_served_and_no_other_method_is(service):
    for path, operations in service.document.document["paths"].items():
        target = path.replace("{correlationId}", str(uuid.uuid4()))
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            refused = service.call(method, target).status == 405
            assert refused == (method.lower() not in operations)


@pytest.mark.parametrize("amount", ["0.01", "0.07", "1", "1.1", "2.3", "19.90", "999999999.99", "1000000000"])
def test_a_payment_that_is_accepted_conforms_to_the_documented_request(service, amount):
    body = payment_body(str(uuid.uuid4()), amount)
    assert service.post(body).status == 202
    service.document.validate({"$ref": "#/components/schemas/NewPayment"}, body.encode())


@pytest.mark.parametrize("amount", ["0", "-1", "1000000000.01", '"1"', "null", "true"])
def test_a_payment_that_does_not_conform_is_not_accepted(service, amount):
    body = payment_body(str(uuid.uuid4()), amount)
    assert service.post(body).status == 422
    with pytest.raises(jsonschema.ValidationError):
        service.document.validate({"$ref": "#/components/schemas/NewPayment"}, body.encode())


def test_the_settled_and_the_waiting_view_conform(service):
    correlation_id = str(uuid.uuid4())
    service.pay(correlation_id)
    service.settled(correlation_id)
    schema = json.loads(json.dumps(service.document.document["components"]["schemas"]["Payment"]))
    view = service.get(f"/payments/{correlation_id}").json()
    assert set(view) == set(schema["properties"])
    assert set(view["reason"]) == set(schema["properties"]["reason"]["properties"])
