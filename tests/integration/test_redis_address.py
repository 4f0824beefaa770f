"""Redis urls: what they may look like, and that no password is ever shown."""

from __future__ import annotations

import ssl

import pytest

from payrouter.adapters.redis.address import parse_address
from payrouter.domain.errors import InvalidSettings


@pytest.mark.parametrize(
    ("url", "shown", "user", "password"),
    [
        ("redis://host", "redis://host:6379/0", None, None),
        ("redis://host/", "redis://host:6379/0", None, None),
        ("redis://host:7000/3", "redis://host:7000/3", None, None),
        ("redis://host/?db=4", "redis://host:6379/4", None, None),
        ("redis://[::1]:7000/3", "redis://[::1]:7000/3", None, None),
        ("redis://:s3cret@host", "redis://host:6379/0", None, "s3cret"),
        ("redis://me:s3cret@host", "redis://host:6379/0", "me", "s3cret"),
        ("redis://m%40e:s3cret%2F%3A%40%25@host", "redis://host:6379/0", "m@e", "s3cret/:@%"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0", None, None),
        ("unix://me:s3cret@/run/a%20b.sock?db=2", "unix:///run/a b.sock?db=2", "me", "s3cret"),
    ],
)
def test_a_url_says_where_and_who(url, shown, user, password):
    address = parse_address(url)
    assert str(address) == shown
    assert (address.user, address.password) == (user, password)
    assert address.tls is None
    assert "s3cret" not in repr(address)


def test_tls_is_checked_unless_told_not_to():
    checked = parse_address("rediss://host").tls
    unchecked = parse_address("rediss://host?ssl_cert_reqs=none").tls
    assert checked is not None
    assert unchecked is not None
    assert (checked.verify_mode, checked.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (unchecked.verify_mode, unchecked.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize(
    ("url", "finding"),
    [
        ("", "unknown scheme"),
        ("host:6379", "unknown scheme"),
        ("http://host", "unknown scheme"),
        ("redis://", "names no host"),
        ("redis:///3", "names no host"),
        ("redis://host:port", "port or host"),
        ("redis://host:70000", "port or host"),
        ("redis://:s3/cret@host", "%-encoded"),
        ("redis://:s3cret@host:6379x/0", "port or host"),
        ("redis://[::1", "port or host"),
        ("redis://host/zero", "database that is no number"),
        ("redis://host/-1", "database that is no number"),
        ("redis://host/²", "database that is no number"),
        ("redis://me@host", "a user but no password"),
        ("redis://host?timeout=3", "unknown options (timeout)"),
        ("redis://host?ssl_cert_reqs=none", "unknown options (ssl_cert_reqs)"),
        ("rediss://host?ssl_cert_reqs=maybe", "neither required nor none"),
        ("rediss://:s3cret@host?ssl_ca_certs=/nowhere.pem", "cannot be read"),
        ("unix://run/redis.sock", "absolute socket path"),
        ("unix://", "absolute socket path"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_with_the_reason_and_the_shapes_there_are(url, finding):
    with pytest.raises(InvalidSettings) as caught:
        parse_address(url)
    assert finding in str(caught.value)
    assert "it looks like redis://" in str(caught.value)
    assert "s3" not in str(caught.value)
