"""`/docs`: the page is the document, whole, safe to show, and needs nothing from elsewhere."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import pytest

from integration.raw_http import Answer, split_answers
from integration.router_service import running_service
from payrouter.entrypoints.api.docs_page import docs_page
from payrouter.entrypoints.api.openapi import openapi_document
from payrouter.settings import ApiKey

VOID = frozenset(("meta", "link", "br", "input"))
KEYS = (ApiKey("shop", sha256(b"shop-key-0123456789").digest()),)


class Page(HTMLParser):
    """What a page consists of; fails where an element is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] and self._open[-1] in self.inline:
            self.inline[self._open[-1]].append(data)
        else:
            self.text += data


def get(service, target: str) -> Answer:
    request = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    (answer,) = split_answers(service.raw(request))
    return answer


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("router"), api_keys=KEYS) as service:
        answers = [get(service, "/docs") for _ in range(2)]
        assert answers[0].body == answers[1].body
        return answers[0]


@pytest.fixture(scope="module")
def page(answer):
    return Page(answer.body.decode())


def document(*, keys: bool = True):
    return openapi_document(("default", "fallback"), keys=keys)


def test_it_is_a_page_of_modest_size(answer):
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<!doctype html>")
    assert len(answer.body) < 40_000


def test_every_operation_is_there_with_parameters_answers_and_an_example(page):
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"] in page.ids
            assert f"{method.upper()} {path}" in page.text
            for one in operation.get("parameters", []):
                assert one["name"] in page.text
                assert one.get("description", "") in page.text
            for status, one in operation["responses"].items():
                assert status in page.text
                assert one["description"] in page.text
    assert page.text.count("curl -i ") == 5


def test_every_link_leads_somewhere(page):
    places = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert {place[1:] for place in places if place.startswith("#")} <= set(page.ids)
    assert {place for place in places if not place.startswith("#")} == {"/openapi.json"}
    assert len(page.ids) == len(set(page.ids))


def test_nothing_comes_from_elsewhere_and_nothing_else_can_run(answer, page):
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for kind in ("script", "style"):
        (text,) = page.inline[kind]
        digest = base64.b64encode(sha256(text.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not [one for one in page.attributes if one[1].startswith("on") or one[1] in ("style", "src")]
    assert not re.search(rb"https?://(?!localhost:9999)", answer.body)
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("keys", [True, False])
def test_keys_are_spoken_of_only_where_there_are_any(keys):
    body, _ = docs_page(document(keys=keys))
    text = unescape(body.decode())
    assert ("$KEY" in text, "Authorization: Bearer" in text.partition("<script>")[0]) == (keys, keys)


def test_what_the_document_says_cannot_become_markup():
    evil = document()
    evil["info"]["description"] = evil["paths"]["/payments"]["post"]["summary"] = "<script>alert(1)</script>\"'"
    evil["paths"]["/payments"]["post"]["parameters"][0]["example"] = '"><img src=x>'
    evil["components"]["schemas"]["Problem"]["properties"]["<b>"] = {"type": "string"}
    page = Page(docs_page(evil)[0].decode())
    assert len(page.inline["script"]) == 1
    assert "img" not in {tag for tag, _, _ in page.attributes}
    assert "<script>alert(1)</script>" in page.text


def test_there_is_no_form_that_empties_everything(page):
    paths = {value for tag, name, value in page.attributes if (tag, name) == ("form", "data-path")}
    assert paths == set(document()["paths"]) - {"/purge-payments"}


def test_it_can_only_be_read(tmp_path):
    with running_service(tmp_path) as service:
        assert service.call("POST", "/docs").status == 405
