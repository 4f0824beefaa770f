"""`docs/api.md` names every call and status of the OpenAPI document, and its examples fit the schemas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from payrouter.entrypoints.api.openapi import openapi_document

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
DOCUMENT = openapi_document(("default", "fallback"), keys=True, rate_limited=True)
CALLS = [
    (method.upper(), path, answers["responses"])
    for path, methods in DOCUMENT["paths"].items()
    for method, answers in methods.items()
    if method in {"get", "post", "put", "delete", "patch"}
]
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = [json.loads(text) for text in re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize(("method", "path", "answers"), CALLS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_call_has_a_section_with_a_sample_and_every_status(method: str, path: str, answers: dict[str, Any]) -> None:
    section = SECTIONS[f"{method} {path}"]
    assert f"localhost:9999{path.partition('{')[0]}" in section
    assert [status for status in answers if f"`{status}`" not in section] == []


def test_no_section_is_of_a_call_that_there_is_not() -> None:
    described = {title for title in SECTIONS if re.match(r"[A-Z]+ /", title)}
    assert described == {f"{method} {path}" for method, path, _ in CALLS}
    assert set(re.findall(r"^\| \[`([A-Z]+ /[^`]*)`\]", PAGE, re.MULTILINE)) == described


def test_the_table_of_errors_has_every_error() -> None:
    listed = set(re.findall(r"^\| `(\d{3})` \|", SECTIONS["Errors"], re.MULTILINE))
    assert {status for _, _, answers in CALLS for status in answers if status >= "4"} == listed


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": DOCUMENT["components"]}


@pytest.mark.parametrize(
    ("member", "schema"),
    [
        ("detail", DOCUMENT["components"]["schemas"]["Problem"]),
        ("state", DOCUMENT["components"]["schemas"]["Payment"]),
        (
            "default",
            DOCUMENT["paths"]["/payments-summary"]["get"]["responses"]["200"]["content"]["application/json"]["schema"],
        ),
    ],
)
def test_an_example_fits_its_schema(member: str, schema: dict[str, Any]) -> None:
    shown = [example for example in EXAMPLES if member in example]
    assert shown
    for example in shown:
        jsonschema.validate(example, _resolved(schema))
