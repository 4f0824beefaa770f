"""The simulation finds every planted bug, and soon."""

from __future__ import annotations

import multiprocessing
import os
import statistics
from typing import TYPE_CHECKING

import pytest

from payrouter_lab.simulation.run import Options, run_seed
from simulation.planted_bugs import BUGS

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SEEDS = 400
MEDIAN_SEEDS = 50
SMALL = Options(payments=120, storm_s=12.0)

found_after: dict[str, int | None] = {}
"""Seeds it took, by bug, None for never."""


def seeds_until_found(name: str) -> tuple[str, int | None]:
    """Return how many seeds it takes until a promise is broken; None when it is not found."""
    with pytest.MonkeyPatch.context() as patch:
        BUGS[name](patch)
        for seed in range(MOST_SEEDS):
            if not run_seed(seed, SMALL).sound:
                return name, seed + 1
    return name, None


@pytest.fixture(scope="module", autouse=True)
def hunted() -> None:
    """Look for all of them, several at once."""
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        found_after.update(pool.imap_unordered(seeds_until_found, BUGS))


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, record_property: Callable[[str, object], None]) -> None:
    record_property("found after", (name, found_after[name]))
    assert found_after[name] is not None, f"not within {MOST_SEEDS} seeds: a check or a fault is missing"


def test_half_of_them_are_found_within_fifty_seeds() -> None:
    assert statistics.median(found or MOST_SEEDS for found in found_after.values()) <= MEDIAN_SEEDS


def test_without_a_bug_the_same_seeds_find_nothing() -> None:
    assert [seed for seed in range(60) if not run_seed(seed, SMALL).sound] == []
