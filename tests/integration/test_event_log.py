"""Events as log lines: which ones an operator reads, and which are routine."""

from __future__ import annotations

import itertools
import logging

import pytest

from payrouter.adapters.event_log import EventLog
from payrouter.domain.board import Standing
from payrouter.domain.events import BooksCompared, StandingChanged


def levels(caplog: pytest.LogCaptureFixture, before: Standing, after: Standing) -> list[int]:
    with caplog.at_level(logging.DEBUG, "payrouter"):
        EventLog(lambda: 0.0).publish(StandingChanged("default", before, after, 100.0))
    return [record.levelno for record in caplog.records]


@pytest.mark.parametrize(
    ("state", "level"), [("agree", logging.INFO), ("differ", logging.ERROR), ("unavailable", logging.WARNING)]
)
def test_what_came_of_comparing_the_books_is_told_by_its_weight(caplog, state: str, level: int) -> None:
    with caplog.at_level(logging.DEBUG, "payrouter"):
        EventLog(lambda: 0.0).publish(BooksCompared(state, 1, "one at default: missing here"))
    [record] = caplog.records
    assert record.levelno == level
    assert record.getMessage().endswith("the processors': one at default: missing here")


@pytest.mark.parametrize("change", [(Standing.USABLE, Standing.FULL), (Standing.FULL, Standing.USABLE)])
def test_a_limit_that_is_reached_and_left_many_times_a_second_is_routine(caplog, change) -> None:
    assert levels(caplog, *change) == [logging.DEBUG]


@pytest.mark.parametrize(
    "change",
    [pair for pair in itertools.permutations(Standing, 2) if not {*pair} <= {Standing.USABLE, Standing.FULL}],
)
def test_any_other_change_of_a_standing_is_told(caplog, change) -> None:
    assert levels(caplog, *change) == [logging.INFO]
