"""The files of the operator's page over HTTP: plain or compressed, and once only while they do not change."""

from __future__ import annotations

import gzip
import http.client
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import payrouter.entrypoints.admin as package
from integration.raw_http import Answer
from integration.router_service import running_service
from payrouter.settings import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STATIC = Path(package.__file__).parent / "static"


@pytest.fixture(scope="module")
def get(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Answer]]:
    """Ask a real router for something beside it."""
    with running_service(tmp_path_factory.mktemp("router"), admin_bind=Address("127.0.0.1", 0)) as service:
        assert service.pages is not None
        address = service.pages

        def get(path: str, **headers: str) -> Answer:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=5)
            try:
                connection.request("GET", path, headers={name.replace("_", "-"): one for name, one in headers.items()})
                answer = connection.getresponse()
                given = {name.lower(): value for name, value in answer.getheaders()}
                return Answer(answer.status, given, answer.read())
            finally:
                connection.close()

        yield get


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip", "deflate , GZIP;q=0.5", "gzip;q=1.0"])
def test_who_takes_gzip_gets_it(get: Callable[..., Answer], accepted: str) -> None:
    for path, file in (("/assets/app.css", "app.css"), ("/", "index.html"), ("/login", "login.html")):
        answer = get(path, Accept_Encoding=accepted)
        assert (answer.status, answer.headers["content-encoding"]) == (200, "gzip")
        assert answer.headers["vary"] == "Accept-Encoding"
        assert gzip.decompress(answer.body) == (STATIC / file).read_bytes()


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br, gzip; q=0.0", "xgzip"])
def test_who_does_not_gets_the_file_as_it_is(get: Callable[..., Answer], accepted: str) -> None:
    answer = get("/assets/app.js", Accept_Encoding=accepted)
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.body == (STATIC / "app.js").read_bytes()


def test_a_file_is_sent_again_only_when_it_changed(get: Callable[..., Answer]) -> None:
    tags = {one: get("/assets/app.js", Accept_Encoding=one).headers["etag"] for one in ("gzip", "identity")}
    assert tags["gzip"] != tags["identity"]
    same = get("/assets/app.js", Accept_Encoding="gzip", If_None_Match=tags["gzip"])
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", tags["gzip"])
    assert get("/assets/app.js", Accept_Encoding="gzip", If_None_Match=tags["identity"]).status == 200


def test_there_are_no_other_files(get: Callable[..., Answer]) -> None:
    for path in ("/assets/", "/assets/nothing.js", "/assets/../app.py", "/assets/index.html", "/assets/%2e%2e/app.py"):
        assert get(path).status == 404
