"""The overload benchmark: what it calls clear and recovered, and a short one of each engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from payrouter_lab.bench.bed import PAYROUTER, Contender
from payrouter_lab.bench.contender_cluster import Shape
from payrouter_lab.bench.jobs import Refusal, Sample
from payrouter_lab.bench.overload import Plan, recovery_s, run_overload, unclear

if TYPE_CHECKING:
    from pathlib import Path

DETAIL = "300 payments are waiting, which is the limit; try again later"
PROBLEM = json.dumps({"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": DETAIL})
TYPE = "application/problem+json"


def second(number: int, latency_ms: float, status: int = 202) -> list[Sample]:
    return [Sample(100 + number + step / 10, latency_ms, status) for step in range(10)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([*second(0, 5), *second(1, 5)], 1.0),
        ([*second(0, 90), *second(1, 5), *second(2, 5)], 2.0),
        ([*second(0, 5, 503), *second(1, 5), *second(2, 5)], 2.0),
        ([*second(0, 90), *second(1, 90), *second(2, 90)], None),
        # The last second may be cut short: it proves nothing.
        ([*second(0, 90), *second(1, 5)], None),
        ([], None),
    ],
)
def test_recovery_is_the_end_of_the_first_second_that_is_quick_and_refuses_nothing(after, expected) -> None:
    assert recovery_s(after, 100.0, limit_ms=10) == expected


def test_a_503_that_says_what_to_do_and_when_is_clear() -> None:
    assert unclear(Refusal(503, TYPE, "1", PROBLEM, 5)) == ""


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(500, TYPE, "1", PROBLEM, 1),
        Refusal(429, TYPE, "1", PROBLEM, 1),
        Refusal(503, "text/html", "1", PROBLEM, 1),
        Refusal(503, TYPE, "", PROBLEM, 1),
        Refusal(503, TYPE, "soon", PROBLEM, 1),
        Refusal(503, TYPE, "1", "busy", 1),
        Refusal(503, TYPE, "1", PROBLEM.replace("try again later", "no"), 1),
        Refusal(503, TYPE, "1", PROBLEM.replace("503", "500"), 1),
    ],
)
def test_any_other_refusal_is_not(refusal: Refusal) -> None:
    assert unclear(refusal)


@pytest.mark.parametrize(
    ("shape", "seconds"),
    [pytest.param(None, 10, id="one process"), pytest.param(Shape(limited=False), 3, id="cluster")],
)
def test_ten_times_what_can_be_settled_is_refused_clearly_loses_nothing_and_passes(
    servers_directory: Path, shape: Shape | None, seconds: int
) -> None:
    directory = servers_directory / f"overload{seconds}"
    directory.mkdir()
    # Beside other tests a second may be a bad one on its own account: the limits are those of a broken router.
    plan = Plan(
        seconds=seconds,
        before_s=3,
        after_s=4,
        in_flight=8,
        queue_limit=200,
        p99_limit_ms=2000,
        recover_within_s=3,
        normal_ratio=10,
    )
    contender = Contender(PAYROUTER, shape=shape, settings=plan.settings)
    figures = run_overload(contender, directory, plan, print, plots=directory)
    print(figures)
    assert figures.findings == []
    assert figures.unanswered == 0
    # What can be settled and what may wait is accepted, the rest is refused.
    settled = figures.settled_per_s * seconds
    assert 0.5 * settled < figures.accepted < 1.5 * (settled + plan.queue_limit)
    assert figures.refused > 0.7 * figures.overload_per_s * seconds
    assert len(list(directory.glob("overload*-*.svg"))) == 3
