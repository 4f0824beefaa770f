"""Whatever happens, every promise is kept: hundreds of lives of a whole installation, each decided by its seed.

A failing seed is named in the failure; `python -m payrouter_lab.simulation replay <seed>` lives through it again.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from payrouter_lab.simulation.__main__ import app, live_through
from payrouter_lab.simulation.faults import CATALOGUE, HARMLESS, LOSES_THE_LAST_SECOND, STEPS
from payrouter_lab.simulation.installation import Installation, Shape
from payrouter_lab.simulation.run import Options, Run, fewer_faults, run_seed
from payrouter_lab.simulation.story import tell
from simulation.planted_bugs import BUGS, ONCE_REAL

SEEDS = 300
SMALL = Options(payments=60, storm_s=8.0)
EVERYSEC = replace(SMALL, faults=(LOSES_THE_LAST_SECOND,))


def broken(seeds: range, options: Options | None = None, *, jobs: int = 1) -> dict[int, list]:
    results = live_through(seeds, options or Options(), jobs)
    return {result.seed: result.violations[:3] for result in results if not result.sound}


def test_every_promise_is_kept() -> None:
    assert broken(range(SEEDS), jobs=os.cpu_count() or 1) == {}


@pytest.mark.parametrize("name", HARMLESS)
def test_every_promise_is_kept_where_only_this_goes_wrong(name: str) -> None:
    options = replace(SMALL, faults=(name,))
    assert broken(range(2), options) == {}
    assert sum(run_seed(seed, options).faults[name] for seed in range(2)) > 0


def test_a_redis_that_loses_its_last_second_loses_nothing_older_and_holds_up_nothing_else() -> None:
    assert broken(range(12), EVERYSEC) == {}
    assert sum(run_seed(seed, EVERYSEC).excused for seed in range(12)) > 0


# -- seeds that found bugs


@pytest.mark.parametrize(
    ("seed", "bug"),
    [
        (1373, "a processor's news comes up while another's are told, and the dispatcher dies of it"),
        (15, "an unwatched clock is believed that a health call was long ago"),
    ],
)
def test_what_a_seed_found_stays_found_and_stays_mended(seed: int, bug: str) -> None:
    assert run_seed(seed).sound
    with pytest.MonkeyPatch.context() as patch:
        ONCE_REAL[bug](patch)
        assert not run_seed(seed).sound


# -- a seed decides everything


def test_the_same_seed_lives_the_same_life_twice() -> None:
    assert run_seed(7, SMALL).fingerprint == run_seed(7, SMALL).fingerprint != run_seed(8, SMALL).fingerprint


def test_another_process_lives_the_same_life() -> None:
    code = (
        "import logging; logging.disable(logging.CRITICAL)\n"
        "from payrouter_lab.simulation.run import Options, run_seed\n"
        "print(*(run_seed(seed, Options(payments=60, storm_s=8.0)).fingerprint for seed in range(5)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [run_seed(seed, SMALL).fingerprint for seed in range(5)]


# -- what clients are told


def test_a_503_denies_nothing_where_the_stores_answer_got_lost() -> None:
    installation = Installation(Shape(apis=1, dispatchers=1), random.Random(1)).start()
    installation.universe.run(0.5)
    installation.redis_site.hangs_until_s = installation.universe.now_s + 1.0
    answers: list[tuple[int, bytes]] = []
    body = b'{"correlationId":"00000001-0000-4000-8000-000000000001","amount":1.00}'
    installation.apis[0].ask(b"POST", b"/payments", body, lambda *answer: answers.append(answer))
    installation.universe.run(0.2)
    installation.redis_site.cut()
    installation.universe.run(0.2)
    installation.finish()
    [(status, said)] = answers
    assert status == 503
    assert b"it is not known whether the payment was accepted" in said
    assert b"try again with the same id" in said


# -- what a failure tells


def test_a_broken_promise_comes_with_its_payment_its_story_and_fewer_faults() -> None:
    with pytest.MonkeyPatch.context() as patch:
        BUGS["no answer means not charged"](patch)
        result = next(found for found in map(run_seed, range(50)) if not found.sound)
        [concerned, *_] = [one.correlation_id for one in result.violations if one.correlation_id]
        story = tell(result.seed, Options(), concerned)
        smaller = fewer_faults(result.seed, Options(), tuple(result.faults))
    assert sum("an attempt leaves for " in line for line in story) > 1
    assert smaller is None or len(smaller.faults) <= len(result.faults)


def test_a_story_is_of_one_payment_from_its_acceptance_to_its_charge() -> None:
    run = Run(3, SMALL)
    run.live()
    correlation_id = next(iter(run.installation.rows.rows))
    story = tell(3, SMALL, correlation_id)
    assert "accept: nothing -> Q;" in story[0]
    assert any(line.endswith("charges it") for line in story)
    assert "settled: A;" in story[-1]
    assert story[-1].endswith("-> nothing")


# -- the command


def test_the_command_counts_runs_and_faults() -> None:
    done = CliRunner().invoke(app, ["run", "--runs", "4", "--payments", "20", "--storm", "5", "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert "runs with a broken promise" in done.output


def test_the_command_ends_with_1_and_says_how_to_see_it_again() -> None:
    with pytest.MonkeyPatch.context() as patch:
        BUGS["no intent is written"](patch)
        done = CliRunner().invoke(app, ["run", "--runs", "3", "--payments", "40", "--storm", "6", "--jobs", "1"])
    assert done.exit_code == 1
    assert "again: python -m payrouter_lab.simulation replay" in done.output
    assert "the shortest story:" in done.output


def test_an_unknown_fault_is_named() -> None:
    done = CliRunner().invoke(app, ["run", "--fault", "meteor"])
    assert done.exit_code == 2
    assert "no fault is called meteor" in done.output


def test_every_fault_is_listed() -> None:
    listed = CliRunner().invoke(app, ["faults"]).output.splitlines()
    assert len(listed) == len(CATALOGUE)


# -- the storm itself


def test_a_trap_kills_at_its_step_and_only_once() -> None:
    run = Run(1, replace(SMALL, faults=(), shape=Shape(apis=1, dispatchers=1)))
    run.storm.trap("redis.begin:after", 0)
    result = run.live()
    assert result.killed_at == {"redis.begin:after": 1}
    assert result.sound


def test_every_step_of_the_catalogue_is_taken_in_some_run() -> None:
    taken: set[str] = set()
    lost = replace(SMALL, faults=tuple(name for name in HARMLESS if name.startswith(("redis: answers", "redis: conn"))))
    for seed, options in [*((seed, SMALL) for seed in range(30)), *((seed, lost) for seed in range(15))]:
        run = Run(seed, options)
        run.live()
        taken |= {step.partition(":")[0] for step in run.installation.steps}
    assert set(STEPS) <= taken
