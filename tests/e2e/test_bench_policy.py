from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import pytest

from payrouter_lab.bench.policy_model import (
    SENT_PER_TICK,
    TICK_S,
    Profile,
    accepted_per_tick,
    best_margin,
    forecast,
)
from payrouter_lab.bench.policy_table import compare, low, schedules_of
from payrouter_lab.bench.schedule import Schedule, ScheduleError, parse

SCHEDULES = Path(__file__).parents[2] / "bench" / "schedules"
HEAD = """
name = "test"
length_s = 30
users = { from = 50, to = 50 }
amount = "19.90"
fees = { default = "0.05", fallback = "0.15" }
"""
DEAR_SHARE = 0.85 / 0.95


def schedule(*stages: tuple[float, str, str]) -> Schedule:
    """Stages as (second, default, fallback); a processor is `20`, `20 failing`."""
    texts = [HEAD]
    for at_s, default, fallback in stages:
        texts.append(f"[[stages]]\nat_s = {at_s}\ndefault = {state(default)}\nfallback = {state(fallback)}")
    return parse("\n".join(texts).encode())


def state(text: str) -> str:
    delay, _, failing = text.partition(" ")
    return f"{{ delay_ms = {delay}, failing = {'true' if failing else 'false'} }}"


def test_each_user_pays_about_once_a_second_from_when_it_starts() -> None:
    counts = accepted_per_tick(schedule((0, "0", "0")))
    assert len(counts) == 30 / TICK_S
    assert sum(counts) == pytest.approx(30 * 50, rel=0.01)
    ramping = accepted_per_tick(schedules_of(SCHEDULES / "published.toml")[0])
    assert sum(ramping) == pytest.approx(16_700, rel=0.01)
    assert sum(ramping[: len(ramping) // 2]) == pytest.approx(sum(ramping) / 4, rel=0.02)


def test_where_nothing_goes_wrong_the_cheapest_settles_everything() -> None:
    found = forecast(schedule((0, "10", "0")), Profile())
    assert found.settled["fallback"] == 0
    assert found.margin > 0.99
    assert found.audit_risk == 0
    assert found.longest_queue <= 50


def test_where_the_cheapest_never_works_the_next_settles_all_but_those_patience_holds_at_first() -> None:
    found = forecast(schedule((0, "0 failing", "0")), Profile(patience_s=5))
    assert found.settled["default"] == 0
    assert found.margin == pytest.approx(DEAR_SHARE, rel=0.01)
    assert found.longest_queue == pytest.approx(5 * 50, rel=0.1), "what was accepted within patience"


def test_where_each_payment_waits_its_own_patience_the_queue_stays_as_long() -> None:
    found = forecast(schedule((0, "0 failing", "0")), Profile(patience_s=5, per_payment=True))
    assert found.lag_percent == pytest.approx(100 * 5 / 30, rel=0.1)


def test_where_nobody_works_nothing_is_settled() -> None:
    found = forecast(schedule((0, "0 failing", "0 failing")), Profile())
    assert (found.margin, found.lag_percent, sum(found.settled.values())) == (0, 100, 0)


def test_what_takes_longer_than_an_audit_looks_back_may_be_seen_by_one_side_only() -> None:
    slow = schedule((0, "2000", "0 failing"))
    patient = forecast(slow, Profile(last_resort_s=60))
    hasty = forecast(slow, Profile(last_resort_s=0))
    assert hasty.settled["default"] > 20 * patient.settled["default"]
    assert hasty.audit_risk > 2 * patient.audit_risk > 0
    assert hasty.fined_margin < hasty.margin


def test_a_backlog_drains_no_faster_than_a_router_can() -> None:
    outage = schedule((0, "0 failing", "0 failing"), (28, "0", "0 failing"))
    found = forecast(outage, Profile())
    assert 0 < sum(found.settled.values()) <= 2 * SENT_PER_TICK / TICK_S


@pytest.mark.parametrize(
    ("stages", "best"),
    [
        ([(0, "0", "0 failing")], 1),
        ([(0, "0 failing", "5000")], DEAR_SHARE * 25 / 30),
        ([(0, "0 failing", "0 failing"), (20, "0", "0")], 1),
        ([(0, "0", "0"), (15, "0 failing", "0")], (15 + 15 * DEAR_SHARE) / 30),
        ([(0, "4000", "0 failing"), (15, "0 failing", "0 failing")], 11 / 30),
        ([(0, "10000 failing", "0 failing"), (15, "0", "0 failing"), (29, "0 failing", "0 failing")], 29 / 30),
    ],
)
def test_perfect_foresight_sends_each_payment_to_the_cheapest_that_will_charge_it_in_time(
    stages: list[tuple[float, str, str]], best: float
) -> None:
    assert best_margin(schedule(*stages)) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_no_profile_beats_perfect_foresight(seed: int) -> None:
    plan = schedules_of(SCHEDULES / "random.toml", seeds=3, length_s=60, users=200)[seed]
    for patience_s in (0, 10, 60):
        assert forecast(plan, Profile(patience_s=patience_s)).margin <= best_margin(plan) + 1e-9


def test_seeds_length_and_users_are_those_asked_for() -> None:
    plans = schedules_of(SCHEDULES / "random.toml", seeds=3, length_s=40, users=77)
    assert [plan.random.seed for plan in plans if plan.random] == [1, 2, 3]
    assert {(plan.length_s, plan.users.end) for plan in plans} == {(40, 77)}
    assert max(stage.at_s for plan in plans for stage in plan.stages) < 40
    assert len({plan.stages for plan in plans}) == 3
    [own] = schedules_of(SCHEDULES / "random.toml")
    assert (own.random.seed if own.random else None, own.length_s) == (20250731, 180)
    assert len(schedules_of(SCHEDULES / "long.toml", seeds=3)) == 1, "its stages are written out"


def test_what_the_model_does_not_know_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "asleep.toml"
    file.write_text(HEAD + "[[stages]]\nat_s = 1\ndefault = { delay_ms = 20000 }\n")
    with pytest.raises(ScheduleError, match="no timeouts"):
        schedules_of(file)


def test_the_5th_percentile_leaves_one_in_twenty_below() -> None:
    assert low([float(one) for one in range(20)]) == 1
    assert low([3.0]) == 3


def test_several_processes_find_what_one_finds() -> None:
    plans = schedules_of(SCHEDULES / "random.toml", seeds=2, length_s=10, users=20)
    profiles = [Profile(0), Profile(5)]
    assert compare("", plans, profiles, jobs=2) == compare("", plans, profiles)


def test_the_command_prints_a_table() -> None:
    command = [sys.executable, "-m", "payrouter_lab.bench", "policy", str(SCHEDULES / "short.toml")]
    done = run([*command, "--patience", "3", "--per-payment", "10"], capture_output=True, text=True, check=True)
    assert "short, one schedule" in done.stdout
    for expected in ("10 s each", "3 s", "margin, mean", "audit risk", "perfect foresight 1.0000"):
        assert expected in done.stdout
