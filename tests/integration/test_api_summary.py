"""The summary over the public API: exact to the cent and to the microsecond."""

from __future__ import annotations

import random
import re
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from integration.router_service import running_service, wait_until

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(us: int, *, zone: timedelta = timedelta(0), fraction: str | None = None) -> str:
    """Write UTC microseconds as RFC 3339 in a zone; `fraction` replaces the decimals."""
    moment = EPOCH + timedelta(microseconds=us) + zone
    sign, minutes = ("-" if zone < timedelta(0) else "+"), abs(zone) // timedelta(minutes=1)
    suffix = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if zone else "Z"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction or f'{moment.microsecond:06d}'}{suffix}"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A router that has settled 30 payments of 19.90."""
    with running_service(tmp_path_factory.mktemp("router")) as service:
        for _ in range(30):
            assert service.pay(str(uuid.uuid4())).status == 202
        wait_until(lambda: count(service) == 30)
        yield service


@pytest.fixture(scope="module")
def instants(service):
    """When the payments were requested, in UTC microseconds, oldest first, as the processor has it."""
    return sorted(charge.requested_us for charge in service.default.charges)


def count(service, query: str = "") -> int:
    answer = service.get(f"/payments-summary{query}")
    assert answer.status == 200, answer.body
    summary = answer.json()
    assert list(summary) == ["default", "fallback"]
    assert summary["fallback"]["totalRequests"] == 0
    assert summary["default"]["totalAmount"] * 100 == 1990 * summary["default"]["totalRequests"]
    return int(summary["default"]["totalRequests"])


def test_the_sum_is_written_with_exactly_two_decimals(service):
    assert service.get("/payments-summary").body == (
        b'{"default":{"totalRequests":30,"totalAmount":597.00},"fallback":{"totalRequests":0,"totalAmount":0.00}}'
    )


def test_sums_of_awkward_amounts_are_exact_in_the_bytes_of_the_answer(tmp_path):
    chance = random.Random(17)
    amounts = [1, 10, 1990, 1005, 110, 2999, 99_999_999_999, 99_999_999_999, 100_000_000_000]
    amounts += [chance.randrange(1, 100_000_000_000) for _ in range(40)]
    amounts += [1990] * 50
    with running_service(tmp_path) as service:
        for done, minor in enumerate(amounts, 1):
            assert service.pay(amount=f"{minor // 100}.{minor % 100:02d}").status == 202
            if done in (1, 3, 9, len(amounts)):
                total = sum(amounts[:done])
                expected = rb'"default":{"totalRequests":%d,"totalAmount":%d.%02d}' % (done, total // 100, total % 100)
                wait_until(lambda: b'"totalRequests":%d,' % done in service.get("/payments-summary").body)  # noqa: B023
                assert expected in service.get("/payments-summary").body
        assert sum(charge.cents for charge in service.default.charges) == sum(amounts)


def test_both_processors_are_summed_for_themselves(tmp_path):
    with running_service(tmp_path, patience_s=0.0) as service:
        service.on_loop(service.default.configure, failing=True)
        for _ in range(5):
            service.pay(amount="0.01")
        wait_until(
            lambda: b'"fallback":{"totalRequests":5,"totalAmount":0.05}' in service.get("/payments-summary").body
        )
        assert b'"default":{"totalRequests":0,"totalAmount":0.00}' in service.get("/payments-summary").body


def test_both_bounds_are_inclusive_to_the_microsecond(service, instants):
    for index in (0, 7, 29):
        at = instants[index]
        same = instants.count(at)
        assert count(service, f"?from={instant(at)}&to={instant(at)}") == same
        assert count(service, f"?from={instant(at + 1)}") == sum(one > at for one in instants)
        assert count(service, f"?to={instant(at - 1)}") == sum(one < at for one in instants)


def test_a_missing_bound_is_open(service, instants):
    at = instants[10]
    assert count(service, f"?from={instant(at)}") == sum(one >= at for one in instants)
    assert count(service, f"?to={instant(at)}") == sum(one <= at for one in instants)
    assert count(service, "?") == 30


def test_nanoseconds_decide_between_two_microseconds(service, instants):
    at = instants[10]
    micro = f"{at % 1_000_000:06d}"
    at_or_later, later = sum(one >= at for one in instants), sum(one > at for one in instants)
    assert count(service, f"?from={instant(at, fraction=micro + '000')}") == at_or_later
    assert count(service, f"?from={instant(at, fraction=micro + '001')}") == later
    assert count(service, f"?to={instant(at, fraction=micro + '999')}") == 30 - later


@pytest.mark.parametrize("hours", [2, -3, 5.5, 14, -12])
@pytest.mark.parametrize("escape", [True, False])
def test_a_bound_may_be_in_any_zone_and_its_plus_may_be_unescaped(service, instants, hours, escape):
    text = instant(instants[10], zone=timedelta(hours=hours))
    bound = quote(text, safe="") if escape else text
    expected = sum(one >= instants[10] for one in instants)
    assert count(service, f"?from={bound}") == expected
    assert count(service, f"?to={instant(2**52)}&from={bound}") == expected


def test_a_whole_day_and_lower_case_are_understood(service):
    assert count(service, "?from=1970-01-01T00:00:00Z&to=9999-12-31T23:59:59.999999999Z") == 30
    assert count(service, "?from=1970-01-01t00:00:00z") == 30
    assert count(service, "?from=0001-01-01T00:00:00%2B14:00") == 30
    assert count(service, "?to=1970-01-01T00:00:00Z") == 0
    assert count(service, "?from=9999-12-31T23:59:59-14:00") == 0


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "must be RFC 3339 with a zone, like 2026-01-31T12:00:00.000Z, got ''"),
        ("now", "must be RFC 3339 with a zone, like 2026-01-31T12:00:00.000Z, got 'now'"),
        ("1752582896", "must be RFC 3339 with a zone"),
        ("2025-07-15", "must be RFC 3339 with a zone"),
        ("2025-07-15T12:34:56", "must be RFC 3339 with a zone"),
        ("2025-07-15T12:34Z", "must be RFC 3339 with a zone"),
        ("2025-07-15T12:34:56.Z", "must be RFC 3339 with a zone"),
        ("2025-07-15T12:34:56.1234567890Z", "must be RFC 3339 with a zone"),
        ("2025-07-15T12:34:56,5Z", "must be RFC 3339 with a zone"),
        ("2025-07-15T12:34:56+0200", "must be RFC 3339 with a zone"),
        ("2025-02-30T12:34:56Z", "is not a date that exists"),
        ("2025-07-15T24:00:00Z", "is not a date that exists"),
        ("2025-07-15T12:34:60Z", "is not a date that exists"),
        ("0000-01-01T00:00:00Z", "is not a date that exists"),
        ("2025-07-15T12:34:56%2B24:00", "has no such zone"),
        ("2025-07-15T12:34:56%2B02:60", "has no such zone"),
        ("%00", "must be RFC 3339 with a zone"),
        ("%ff%fe", "must be RFC 3339 with a zone"),
        ("%D9%A2025-07-15T12:34:56Z", "must be RFC 3339 with a zone"),
        ("9" * 9000, "must be RFC 3339 with a zone"),
    ],
)
@pytest.mark.parametrize("name", ["from", "to"])
def test_a_bound_that_cannot_be_read_is_refused_by_name(service, name, text, detail):
    answer = service.get(f"/payments-summary?{name}={text}")
    assert (answer.status, answer.detail.startswith(f"{name} {detail}")) == (400, True), answer.detail
    assert len(answer.body) < 500


def test_a_window_that_ends_before_it_begins_is_refused(service):
    answer = service.get("/payments-summary?from=2025-07-15T12:00:00.000001Z&to=2025-07-15T12:00:00Z")
    assert (answer.status, answer.detail) == (
        400,
        "from must not be after to, got from=2025-07-15T12:00:00.000001Z and to=2025-07-15T12:00:00Z",
    )
    assert service.get("/payments-summary?from=2025-07-15T12:00:00%2B02:00&to=2025-07-15T10:00:00Z").status == 200


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?form=2025-07-15T12:00:00Z", "unknown parameter 'form'; known are from and to"),
        ("?From=2025-07-15T12:00:00Z", "unknown parameter 'From'; known are from and to"),
        ("?x", "unknown parameter 'x'; known are from and to"),
        ("?=1", "unknown parameter ''; known are from and to"),
        ("?to=2025-07-15T12:00:00Z&to=2025-07-15T12:00:00Z", "to is given twice"),
        ("?from=2025-07-15T12:00:00Z&%66rom=2025-07-15T12:00:00Z", "from is given twice"),
        ("?" + "x" * 5000 + "=1", f"unknown parameter '{'x' * 40}'; known are from and to"),
    ],
)
def test_a_parameter_that_is_unknown_or_repeated_is_refused(service, query, detail):
    answer = service.get(f"/payments-summary{query}")
    assert (answer.status, answer.detail) == (400, detail)


def test_the_summary_is_one_line_of_json_with_every_processor(service):
    answer = service.get("/payments-summary?to=1970-01-01T00:00:00Z")
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(rb'\{"default":\{[^{}]*\},"fallback":\{[^{}]*\}\}', answer.body)
