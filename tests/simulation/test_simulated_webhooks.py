"""Whatever happens to those who tell and to whoever is told, everything is told at least once, and only what is so."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from payrouter.application.webhooks import Webhooks
from payrouter.domain.errors import StoreUnavailable
from payrouter_lab.simulation.__main__ import app, live_through
from payrouter_lab.simulation.faults import LOSES_THE_LAST_SECOND
from payrouter_lab.simulation.receiver import STEPS
from payrouter_lab.simulation.redis import SimulatedRedis
from payrouter_lab.simulation.run import Options, Run, run_seed

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = 50
TOLD = Options(payments=120, storm_s=12.0, webhooks=True)


def test_everything_is_told_at_least_once_and_nothing_that_is_not_so() -> None:
    results = list(live_through(range(SEEDS), TOLD, os.cpu_count() or 1))
    assert {result.seed: result.violations[:3] for result in results if not result.sound} == {}
    # And processes died wherever a notice could be lost.
    killed = {step for result in results for step in result.killed_at}
    assert set(STEPS) - killed <= {"redis.conclude:before", "redis.conclude:after", "redis.put_off_notice:before"}


def test_where_redis_loses_its_last_second_nothing_older_is_kept_from_the_receiver() -> None:
    options = replace(TOLD, faults=(LOSES_THE_LAST_SECOND,))
    kinds = {one.check for seed in range(10) for one in run_seed(seed, options).violations}
    assert not [kind for kind in kinds if kind.startswith("webhooks")]


def test_dead_letters_are_told_too_and_some_webhooks_twice() -> None:
    told: list[str] = []
    kinds: set[str] = set()
    for seed in range(8):
        run = Run(seed, TOLD)
        run.live()
        assert run.installation.receiver is not None
        told += [f"{seed} {one.webhook_id}" for one in run.installation.receiver.told]
        kinds |= {one.type for one in run.installation.receiver.told}
    assert kinds == {"payment.settled", "payment.dead_letter"}
    assert len(set(told)) < len(told)


def test_the_same_seed_tells_the_same_twice() -> None:
    lives = []
    for _ in range(2):
        run = Run(3, TOLD)
        run.live()
        assert run.installation.receiver is not None
        lives.append(run.installation.receiver.told)
    assert lives[0] == lives[1] != []


def test_without_webhooks_no_notice_is_written() -> None:
    run = Run(3, replace(TOLD, webhooks=False))
    assert run.live().sound
    assert not run.installation.redis.data.notices
    assert not any(step.startswith("redis.claim_notices") for step in run.installation.steps)


def test_the_command_tells_how_to_see_it_again() -> None:
    with pytest.MonkeyPatch.context() as patch:
        _settled_is_not_noted(patch)
        given = ["run", "--webhooks", "--runs", "1", "--payments", "30", "--storm", "4", "--jobs", "1"]
        done = CliRunner().invoke(app, given)
    assert done.exit_code == 1
    assert "replay 0 --webhooks --payments 30" in done.output


# -- defects that must be found


def _settled_is_not_noted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedRedis, "_settle_notices", lambda *_: None)


def _dead_letters_are_not_noted(patch: pytest.MonkeyPatch) -> None:
    note = SimulatedRedis._note

    def only_settled(self: SimulatedRedis, event: bytes, *rest: Any) -> None:
        if event == b"3":
            note(self, event, *rest)

    patch.setattr(SimulatedRedis, "_note", only_settled)


def _forgotten_before_it_was_told(patch: pytest.MonkeyPatch) -> None:
    async def send(self: Webhooks, notice: Any, before: Any) -> None:
        try:
            await self._until_written(lambda: self._notices.delivered([notice]))
            await self._post(notice)
        except StoreUnavailable:
            return

    patch.setattr(Webhooks, "_send", send)


def _told_when_it_was_not(patch: pytest.MonkeyPatch) -> None:
    post = Webhooks._post

    async def careless(self: Webhooks, notice: Any) -> None:
        await post(self, notice)

    patch.setattr(Webhooks, "_post", careless)


def _a_claim_is_for_ever(patch: pytest.MonkeyPatch) -> None:
    claim = SimulatedRedis.claim_notices

    def claimed(self: SimulatedRedis, limit: bytes, _lease_us: bytes) -> list[bytes]:
        return claim(self, limit, b"%d" % 10**12)

    patch.setattr(SimulatedRedis, "claim_notices", claimed)


def _a_dead_letter_is_told_of_what_waits(patch: pytest.MonkeyPatch) -> None:
    release = SimulatedRedis.release

    def released(self: SimulatedRedis, instance: bytes, group: bytes, *given: bytes) -> int | None:
        self._note(b"4", given[::3], self._now_us())
        return release(self, instance, group, *given)

    patch.setattr(SimulatedRedis, "release", released)


@pytest.mark.parametrize(
    "plant",
    [
        _settled_is_not_noted,
        _dead_letters_are_not_noted,
        _forgotten_before_it_was_told,
        _told_when_it_was_not,
        _a_claim_is_for_ever,
        _a_dead_letter_is_told_of_what_waits,
    ],
)
def test_a_planted_defect_is_found(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        assert any(not run_seed(seed, TOLD).sound for seed in range(40))
