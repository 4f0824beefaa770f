"""Urls as they may be shown: recognisable, and never with a password."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.urls import without_secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://user:secret@host/db", "postgresql://user:***@host/db"),
        ("postgresql://user@host:5432/db?sslmode=require", "postgresql://user@host:5432/db?sslmode=require"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://host/db?sslpassword=secret", "postgresql://host/db?sslpassword=***"),
        ("postgresql://one:5432,two:5433/db", "postgresql://one:5432,two:5433/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql:///db?host=/run/postgresql"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("rediss://user:secret@[::1]:6379/0", "rediss://user:***@[::1]:6379/0"),
        ("redis://[::1]:6379", "redis://[::1]:6379"),
        ("unix://:secret@/run/redis.sock?db=0", "unix://:***@/run/redis.sock?db=0"),
        ("http://user:secret@host:8080/path", "http://user:***@host:8080/path"),
        ("http://host:8080", "http://host:8080"),
        ("https://host/hook?token=t0ps&x=1", "https://host/hook?token=***&x=1"),
        ("https://host/hook?api_key=t0ps&clientSecret=t0ps", "https://host/hook?api_key=***&clientSecret=***"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_everything_but_the_password_is_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:se/cret@host/db",
        "postgresql://user:se?cret@host/db",
        "postgresql://user:se#cret@host/db",
        "postgresql://user:s@e/cret@host/db",
        "postgresql://user:secret",
        "postgresql://host/db?password=se@cret",
        "redis://:se/cret@host",
    ],
)
def test_where_the_password_cannot_be_told_everything_is_hidden(url: str) -> None:
    scheme = url.partition(":")[0]
    assert without_secrets(url) == f"{scheme}://***"


def test_without_a_scheme_it_is_hidden_as_soon_as_it_looks_like_a_login() -> None:
    assert without_secrets("user:secret@host") == "***"


@given(st.text(min_size=1), st.sampled_from(["postgresql://u:{}@h:1/db", "redis://:{}@h", "unix://:{}@/s?db=0"]))
def test_an_encoded_password_never_shows_whatever_it_is(password: str, shape: str) -> None:
    encoded = quote(password.encode("utf-8", "surrogatepass"), safe="")
    assert without_secrets(shape.format(encoded)) == shape.format("***")


@given(st.text(alphabet="QZ/?#@:[]% ", min_size=1))
def test_an_unencoded_password_never_shows_either(password: str) -> None:
    for shape in ("postgresql://u:{}@h:1/db", "redis://:{}@h", "http://u:{}@h:80"):
        shown = without_secrets(shape.format(password))
        assert "Q" not in shown
        assert "Z" not in shown
