from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.attempt import Charged, Invalid, Outcome, Refusal, Refused, Unknown, outcome_of_answer

OK = b'{"message":"payment processed successfully"}'
NOT_CHARGED = {500, 429, 401, 403, 404, 405, 406, 415}
BODIES = st.one_of(st.binary(max_size=200), st.just(OK))


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, OK, Charged()),
        (200, b'  {"anything": 1}', Charged()),
        (422, b"", Charged(already=True)),
        (422, OK, Charged(already=True)),
        (500, b"", Refused(Refusal.FAILING, "answered 500")),
        (429, b"", Refused(Refusal.BUSY, "answered 429")),
        (400, b"bad json", Invalid("answered 400: bad json")),
        (413, b"", Invalid("answered 413: ")),
    ],
)
def test_a_known_answer_means_what_the_contract_says(status: int, body: bytes, outcome: Outcome) -> None:
    assert outcome_of_answer(status, body) == outcome


@pytest.mark.parametrize("status", [401, 403, 404, 405, 406, 415])
def test_an_answer_that_blames_our_settings_is_a_refusal_and_not_the_payment_s_fault(status: int) -> None:
    outcome = outcome_of_answer(status, b"")
    assert isinstance(outcome, Refused)
    assert outcome.refusal is Refusal.MISCONFIGURED
    assert str(status) in outcome.detail


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"OK", b"null", b'"x"', b"   "])
def test_a_200_without_a_json_object_proves_nothing(body: bytes) -> None:
    assert isinstance(outcome_of_answer(200, body), Unknown)


@pytest.mark.parametrize("status", [100, 201, 202, 204, 301, 302, 307, 402, 408, 409, 410, 501, 502, 503, 504, 599])
def test_an_unforeseen_answer_is_unknown(status: int) -> None:
    outcome = outcome_of_answer(status, OK)
    assert isinstance(outcome, Unknown)
    assert str(status) in outcome.detail


@given(st.integers(0, 999), BODIES)
def test_nothing_but_200_and_422_is_a_charge(status: int, body: bytes) -> None:
    if isinstance(outcome_of_answer(status, body), Charged):
        assert status in (200, 422)


@given(st.integers(0, 999), BODIES)
def test_only_answers_known_to_mean_not_charged_are_refusals(status: int, body: bytes) -> None:
    assert isinstance(outcome_of_answer(status, body), Refused) == (status in NOT_CHARGED)


@given(st.integers(0, 999).filter(lambda status: status not in NOT_CHARGED | {200, 422, 400, 413}), BODIES)
def test_everything_else_is_unknown_whatever_the_body(status: int, body: bytes) -> None:
    assert isinstance(outcome_of_answer(status, body), Unknown)


@given(st.binary(min_size=500, max_size=5000))
def test_a_long_body_of_any_bytes_is_kept_short_as_text(body: bytes) -> None:
    outcome = outcome_of_answer(400, body)
    assert isinstance(outcome, Invalid)
    assert len(outcome.detail) <= 140
    outcome.detail.encode()
