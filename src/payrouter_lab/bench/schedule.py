"""Schedules: how many users post payments for how long, and what goes wrong with the processors meanwhile.

Read from TOML (`bench/schedules/*.toml`); their stages are written out or drawn from a seed.
"""

from __future__ import annotations

import random
from decimal import Decimal  # noqa: TC003 - msgspec reads the annotations
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

PROCESSORS = ("default", "fallback")


class ScheduleError(Exception):
    """A schedule that cannot be run; says which, what was wrong and what to do."""


class ProcessorState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a simulated processor does from one stage on."""

    delay_ms: int = 0
    failing: bool = False

    def __str__(self) -> str:
        return f"{self.delay_ms} ms" + (" failing" if self.failing else "")


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `at_s` seconds after the start on, the processors behave so."""

    at_s: float
    default: ProcessorState = ProcessorState()
    fallback: ProcessorState = ProcessorState()


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """Virtual users, ramping evenly; each posts one payment, then sleeps a second."""

    start: int
    end: int


class AuditTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every `period_s` seconds the books are compared for the window now-`lookback_s` to now-`lag_s`."""

    period_s: float = 10.0
    lookback_s: float = 15.0
    lag_s: float = 1.5


class RandomStages(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How stages are drawn: each processor keeps a state for `shortest_s` to `longest_s`, then takes another.

    Weights are relative: a state of weight 2 is drawn twice as often as one of weight 1.
    """

    seed: int
    shortest_s: float = 4.0
    longest_s: float = 30.0
    healthy_ms: tuple[int, int] = (0, 60)
    slow_ms: tuple[int, int] = (200, 4000)
    healthy_weight: int = 5
    slow_weight: int = 2
    failing_weight: int = 3


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One whole test. `stages` are ordered by time; empty only in a file that draws them (`random`)."""

    name: str
    length_s: float
    users: Users
    amount: Decimal
    fees: dict[str, Decimal]
    audit: AuditTerms = AuditTerms()
    stages: tuple[Stage, ...] = ()
    random: RandomStages | None = None

    def stage_at(self, second: float) -> Stage:
        """Return the stage in force at a second of the test; healthy processors before the first."""
        current = Stage(at_s=0.0)
        for stage in self.stages:
            if stage.at_s > second:
                break
            current = stage
        return current

    def users_at(self, second: float) -> int:
        """Return how many virtual users are active at a second of the test."""
        share = min(1.0, max(0.0, second / self.length_s))
        return round(self.users.start + (self.users.end - self.users.start) * share)


def load(path: Path, *, seed: int | None = None, length_s: float | None = None) -> Schedule:
    """Read a schedule; `seed` and `length_s` replace the file's own where the stages are drawn.

    Raises:
        ScheduleError: if the file cannot be read or does not describe a schedule.
    """
    try:
        return parse(path.read_bytes(), seed=seed, length_s=length_s)
    except OSError as error:
        raise ScheduleError(f"{path}: {error.strerror}") from error
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from error


def parse(text: bytes, *, seed: int | None = None, length_s: float | None = None) -> Schedule:
    """Return the schedule in a TOML text, its stages drawn where the text asks for it.

    Raises:
        ScheduleError: if the text does not describe a schedule.
    """
    try:
        schedule = msgspec.toml.decode(text, type=Schedule)
    except msgspec.DecodeError as error:  # also covers values of the wrong type
        raise ScheduleError(str(error)) from error
    if schedule.random is not None:
        if schedule.stages:
            raise ScheduleError("has both [random] and [[stages]]: keep one")
        terms = schedule.random if seed is None else msgspec.structs.replace(schedule.random, seed=seed)
        length_s = schedule.length_s if length_s is None else length_s
        stages = draw_stages(terms, length_s)
        schedule = msgspec.structs.replace(schedule, length_s=length_s, random=terms, stages=stages)
    elif seed is not None or length_s is not None:
        raise ScheduleError("a seed or length was given, but the stages are written out: use a schedule with [random]")
    _check(schedule)
    return schedule


def _check(schedule: Schedule) -> None:
    instants = [stage.at_s for stage in schedule.stages]
    limit_s = schedule.length_s
    problems = [
        (limit_s <= 0, f"length_s must be above 0, got {limit_s:g}"),
        (not instants, "has no stages: add [[stages]] or [random]"),
        (instants != sorted(set(instants)), f"stages must be ordered by at_s, each once, got {instants}"),
        (
            any(not 0 <= at < limit_s for at in instants),
            f"stages must lie within 0 to {limit_s:g} s, got {instants}",
        ),
        (
            not 1 <= schedule.users.start <= schedule.users.end,
            "users.from must be at least 1 and at most users.to",
        ),
        (schedule.amount <= 0, f"amount must be above 0, got {schedule.amount}"),
        (
            set(schedule.fees) != set(PROCESSORS),
            f"fees must name {' and '.join(PROCESSORS)}, got {list(schedule.fees)}",
        ),
        (any(not 0 <= fee < 1 for fee in schedule.fees.values()), "fees are shares: at least 0, below 1"),
        (schedule.audit.period_s <= 0, "audit.period_s must be above 0"),
        (schedule.audit.lookback_s <= schedule.audit.lag_s, "audit.lookback_s must be above audit.lag_s"),
    ]
    found = [problem for wrong, problem in problems if wrong]
    if found:
        raise ScheduleError("; ".join(found))


def draw_stages(terms: RandomStages, length_s: float) -> tuple[Stage, ...]:
    """Return stages drawn from a seed: the same for the same terms and length, on every machine."""
    changes: dict[float, dict[str, ProcessorState]] = {}
    for processor in PROCESSORS:
        chance = random.Random(f"{terms.seed}/{processor}")
        at_s = 0.0
        while at_s < length_s:
            changes.setdefault(at_s, {})[processor] = _draw_state(chance, terms)
            at_s = round(at_s + chance.uniform(terms.shortest_s, terms.longest_s), 1)
    now = dict.fromkeys(PROCESSORS, ProcessorState())
    stages = []
    for at_s in sorted(changes):
        now |= changes[at_s]
        stages.append(Stage(at_s, now["default"], now["fallback"]))
    return tuple(stages)


def _draw_state(chance: random.Random, terms: RandomStages) -> ProcessorState:
    weights = (terms.healthy_weight, terms.slow_weight, terms.failing_weight)
    kind = chance.choices(("healthy", "slow", "failing"), weights)[0]
    if kind == "healthy":
        return ProcessorState(chance.randint(*terms.healthy_ms))
    if kind == "slow":
        return ProcessorState(chance.randint(*terms.slow_ms))
    return ProcessorState(chance.randint(0, terms.slow_ms[1]), failing=True)
