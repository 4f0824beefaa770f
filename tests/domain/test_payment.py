from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payrouter.domain.errors import InvalidInput
from payrouter.domain.payment import (
    TRANSITIONS,
    PaymentEvent,
    PaymentState,
    next_state,
    parse_correlation_id,
)

if TYPE_CHECKING:
    from uuid import UUID

S, E = PaymentState, PaymentEvent

ALLOWED = {
    (S.QUEUED, E.INTENT_WRITTEN): S.ATTEMPTING,
    (S.ATTEMPTING, E.CHARGED): S.SETTLED,
    (S.ATTEMPTING, E.REFUSED): S.QUEUED,
    (S.ATTEMPTING, E.UNKNOWN): S.PINNED,
    (S.ATTEMPTING, E.INVALID): S.DEAD_LETTER,
    (S.PINNED, E.CHARGED): S.SETTLED,
    (S.PINNED, E.REFUSED): S.PINNED,
    (S.PINNED, E.UNKNOWN): S.PINNED,
    (S.PINNED, E.INVALID): S.DEAD_LETTER,
    (S.DEAD_LETTER, E.CHARGED): S.SETTLED,
    (S.DEAD_LETTER, E.RETRIED): S.QUEUED,
    (S.QUEUED, E.PROVEN): S.SETTLED,
    (S.DEAD_LETTER, E.RETRIED_WHILE_PINNED): S.PINNED,
}
EVERYTHING = list(itertools.product(S, E))


@pytest.mark.parametrize(("state", "event"), list(ALLOWED), ids=lambda one: one.name.lower())
def test_an_allowed_step_leads_where_the_table_says(state: PaymentState, event: PaymentEvent) -> None:
    assert next_state(state, event) is ALLOWED[state, event]


@pytest.mark.parametrize(
    ("state", "event"), [step for step in EVERYTHING if step not in ALLOWED], ids=lambda one: one.name.lower()
)
def test_any_other_step_is_refused_by_name(state: PaymentState, event: PaymentEvent) -> None:
    with pytest.raises(ValueError, match=f"a {state.label} payment cannot be {event.value}"):
        next_state(state, event)


def test_nothing_leads_out_of_settled() -> None:
    assert not [event for state, event in TRANSITIONS if state is S.SETTLED]


def test_a_pinned_payment_never_goes_straight_back_to_the_queue() -> None:
    assert S.QUEUED not in {TRANSITIONS.get((S.PINNED, event)) for event in E}


def test_every_state_can_be_reached_from_the_queue() -> None:
    reached = {S.QUEUED}
    while new := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
        reached |= new
    assert reached == set(S)


def test_settled_can_be_reached_from_every_state() -> None:
    ending = {S.SETTLED}
    while new := {before for (before, _), after in TRANSITIONS.items() if after in ending} - ending:
        ending |= new
    assert ending == set(S)


def test_the_stored_numbers_of_states_never_change() -> None:
    assert [(state.name, int(state)) for state in S] == [
        ("QUEUED", 0),
        ("ATTEMPTING", 1),
        ("PINNED", 2),
        ("SETTLED", 3),
        ("DEAD_LETTER", 4),
    ]


def test_a_state_reads_as_lower_case_with_dashes() -> None:
    assert [state.label for state in S] == ["queued", "attempting", "pinned", "settled", "dead-letter"]


@given(st.uuids())
def test_any_uuid_is_a_correlation_id_and_upper_case_is_the_same_one(uuid: UUID) -> None:
    assert parse_correlation_id(str(uuid)) == str(uuid)
    assert parse_correlation_id(str(uuid).upper()) == str(uuid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4a7901b87d264d9daa194dc1c7cf60b3",
        "{4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3}",
        "urn:uuid:4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3",
        "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3 ",
        " 4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3",
        "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3\n",
        "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b",
        "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b34",
        "4a7901b8-7d26-4d9d-aa194-dc1c7cf60b3",
        "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60bg",
        "4a7901b8_7d26_4d9d_aa19_4dc1c7cf60b3",
        "4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b\u0663",
        "payment-1",
    ],
)
def test_what_is_not_a_uuid_with_dashes_is_not_a_correlation_id(text: str) -> None:
    with pytest.raises(InvalidInput, match="correlationId must be a UUID"):
        parse_correlation_id(text)


def test_a_long_wrong_correlation_id_is_not_echoed_whole() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_correlation_id("x" * 10_000)
    assert len(str(caught.value)) < 200
