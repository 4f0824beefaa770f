from __future__ import annotations

from pathlib import Path

import pytest

from payrouter_lab.bench.schedule import ProcessorState, Schedule, ScheduleError, Stage, load, parse

SCHEDULES = sorted((Path(__file__).parents[2] / "bench" / "schedules").glob("*.toml"))

HEAD = """
name = "test"
length_s = 60
users = { from = 1, to = 550 }
amount = "19.90"
fees = { default = "0.05", fallback = "0.15" }
"""
STAGE = "[[stages]]\nat_s = 10\ndefault = { delay_ms = 100, failing = true }\n"
DRAWN = "[random]\nseed = 7\n"


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_a_shipped_schedule_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load(path).name == path.stem


def test_the_published_schedule_is_the_contracts() -> None:
    published = load(next(path for path in SCHEDULES if path.stem == "published"))
    assert [(stage.at_s, f"{stage.default}|{stage.fallback}") for stage in published.stages] == [
        (1, "0 ms|0 ms"),
        (10, "100 ms|0 ms"),
        (20, "100 ms failing|0 ms"),
        (30, "2000 ms failing|1000 ms failing"),
        (40, "20 ms|20 ms"),
        (50, "0 ms|5000 ms"),
    ]


def test_the_stage_in_force_is_the_last_that_has_begun() -> None:
    schedule = parse((HEAD + STAGE).encode())
    assert schedule.stage_at(9.9) == Stage(at_s=0.0)
    assert schedule.stage_at(10).default == ProcessorState(100, failing=True)
    assert schedule.stage_at(10).fallback == ProcessorState()


def test_users_ramp_evenly() -> None:
    schedule = parse((HEAD + STAGE).encode())
    assert [schedule.users_at(second) for second in (-1, 0, 30, 60, 99)] == [1, 1, 276, 550, 550]


def drawn(seed: int) -> Schedule:
    return parse((HEAD + DRAWN).encode(), seed=seed)


def test_the_same_seed_draws_the_same_stages() -> None:
    assert drawn(7) == parse((HEAD + DRAWN).encode())
    assert drawn(7).stages != drawn(8).stages


@pytest.mark.parametrize("seed", range(20))
def test_drawn_stages_are_ordered_within_the_test_and_start_at_once(seed: int) -> None:
    instants = [stage.at_s for stage in drawn(seed).stages]
    assert instants[0] == 0
    assert instants == sorted(set(instants))
    assert instants[-1] < 60


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD, "no stages"),
        (HEAD + DRAWN + STAGE, "keep one"),
        (HEAD + STAGE + STAGE, "ordered by at_s"),
        (HEAD + STAGE.replace("10", "60"), "within 0 to 60 s"),
        (HEAD.replace("from = 1", "from = 551") + STAGE, "at most users.to"),
        (HEAD.replace('"19.90"', '"0"') + STAGE, "amount must be above 0"),
        (HEAD.replace("fallback", "spare") + STAGE, "fees must name"),
        (HEAD.replace('"0.05"', '"1.05"') + STAGE, "fees are shares"),
        (HEAD + STAGE.replace("delay_ms", "delay"), "unknown field"),
        ("name = ", "Invalid value"),
    ],
)
def test_a_wrong_schedule_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(ScheduleError, match=complaint):
        parse(text.encode())


def test_a_seed_needs_stages_to_draw() -> None:
    with pytest.raises(ScheduleError, match="seed"):
        parse((HEAD + STAGE).encode(), seed=1)
