"""How fast one client may hand in payments, in made-up time."""

from __future__ import annotations

import random

import pytest

from payrouter.entrypoints.api.rate_limit import MOST_CLIENTS, RateLimit


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(limit: RateLimit, count: int, client: str = "a") -> int:
    return sum(limit.take(client) == 0 for _ in range(count))


@pytest.mark.parametrize(("per_s", "burst"), [(1, 2), (5, 10), (0.5, 1), (0.1, 1), (3.3, 6), (1000, 2000)])
def test_two_seconds_worth_may_come_at_once_and_one_always(clock, per_s, burst):
    assert taken(RateLimit(per_s, clock), 3 * burst) == burst


def test_after_a_burst_payments_go_on_at_the_rate(clock):
    limit = RateLimit(10, clock)
    taken(limit, 100)
    admitted = 0
    for _ in range(1000):
        clock.now_s += 0.01
        admitted += taken(limit, 5)
    assert admitted == pytest.approx(100, abs=1)


def test_what_is_refused_costs_nothing_and_is_told_when_to_come_again(clock):
    limit = RateLimit(2, clock)
    assert taken(limit, 50) == 4
    assert limit.take("a") == pytest.approx(0.5)
    clock.now_s += 0.3
    assert limit.take("a") == pytest.approx(0.2)
    clock.now_s += 0.2
    assert taken(limit, 5) == 1


def test_silence_fills_the_bucket_no_further_than_full(clock):
    limit = RateLimit(5, clock)
    taken(limit, 50)
    clock.now_s += 86_400
    assert taken(limit, 50) == 10


def test_clients_do_not_share_a_bucket(clock):
    limit = RateLimit(1, clock)
    assert taken(limit, 9, "a") == taken(limit, 9, "b") == 2


def test_never_more_than_rate_and_burst_in_any_interval_whatever_the_pattern(clock):
    chance = random.Random(7)
    limit, times = RateLimit(20, clock), []
    for _ in range(5000):
        clock.now_s += chance.choice((0, 0, 0.001, 0.02, 0.3))
        if limit.take("a") == 0:
            times.append(clock.now_s)
    for first in range(0, len(times), 7):
        for last in range(first, len(times), 11):
            assert last - first + 1 <= 40 + (times[last] - times[first]) * 20 + 1e-6


def test_the_client_that_was_silent_longest_is_forgotten_when_there_are_too_many(clock):
    limit = RateLimit(1, clock, most_clients=3)
    for name in "abc":
        assert taken(limit, 5, name) == 2
    assert taken(limit, 1, "a") == 0
    taken(limit, 1, "d")
    assert limit.clients == 3
    assert taken(limit, 1, "a") == taken(limit, 1, "c") == 0
    assert taken(limit, 5, "b") == 2


def test_a_million_addresses_do_not_fill_the_memory(clock):
    limit = RateLimit(1, clock)
    for number in range(3 * MOST_CLIENTS):
        limit.take(str(number))
    assert limit.clients == MOST_CLIENTS
