"""`kill -9` of the router at random moments, under load and with a backlog: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import random
import time

from e2e.lives import Clients, behave, duplicates_at, fill, lives

SEED = 20_250_715
KILLS = 22
"""How often the router is killed under load; each life costs about 1.3 s."""

RATE = 300.0
LIVES_S = (0.02, 1.2)
KILLED_WHILE_STARTING = 0.15
DRAINED_WITHIN_S = 20.0


def _moods(chance: random.Random):
    """Return how the two processors behave for one life of the router."""
    return chance.choice(
        [
            ({}, {}),
            ({"delay_ms": chance.randint(50, 300)}, {"delay_ms": chance.randint(50, 300)}),
            ({"answer_lost": 0.2}, {"answer_lost": 0.2}),
            ({"delay_ms": chance.randint(50, 300), "answer_lost": 0.05}, {}),
            ({"failing": True}, {"delay_ms": chance.randint(50, 300)}),
            ({"refuse_before": 0.3}, {"answer_lost": 0.5}),
        ]
    )


async def _killed_again_and_again(router, clients, chance) -> int:
    kills = 0
    async with asyncio.TaskGroup() as tasks:
        load = tasks.create_task(clients.run())
        for _ in range(KILLS):
            for processor, mood in zip(router.processors.values(), _moods(chance), strict=True):
                await asyncio.to_thread(behave, processor, **mood)
            if chance.random() >= KILLED_WHILE_STARTING:
                await asyncio.to_thread(router.wait_until_serving)
            await asyncio.sleep(chance.uniform(*LIVES_S))
            assert not load.done()
            await asyncio.to_thread(router.kill)
            kills += 1
            router.begin()
        for processor in router.processors.values():
            await asyncio.to_thread(behave, processor)
        await asyncio.to_thread(router.wait_until_serving)
        clients.stopping = True
    return kills


def test_whatever_was_accepted_is_charged_exactly_once_however_often_the_router_is_killed(tmp_path):
    chance = random.Random(SEED)
    with lives(tmp_path, PAYROUTER_PATIENCE_S="1", PAYROUTER_ATTEMPT_TIMEOUT_S="2") as router:
        router.start()
        clients = Clients(router.port, SEED, RATE)
        start_s = time.monotonic()
        kills = asyncio.run(_killed_again_and_again(router, clients, chance))
        load_s = time.monotonic() - start_s
        drained_s = router.wait_until_settled(len(clients.accepted), DRAINED_WITHIN_S)
        router.check_books(clients.accepted)
        log = router.log.read_text()
        repeated = sum(duplicates_at(one) for one in router.processors.values())
        print(
            f"{kills} kills in {load_s:.1f} s (seed {SEED}), {len(clients.accepted)} payments accepted, "
            f"{clients.repeats} repeated by clients, {log.count('recovered')} lives recovered something, "
            f"{repeated} charges asked for again and answered 422, drained in {drained_s:.1f} s"
        )
        assert repeated, "no kill hit a charge: this tested little"
        assert clients.accepted == clients.sent
        assert not clients.others
        assert "Traceback" not in log


def test_a_router_killed_with_twenty_thousand_waiting_serves_at_once_and_drains_them(tmp_path):
    with lives(tmp_path, PAYROUTER_PATIENCE_S="2") as router:
        for processor in router.processors.values():
            behave(processor, failing=True)
        router.start()
        accepted = fill(router.port, 20_000, salt=2)
        router.kill()
        serving_s = router.start()
        assert router.settled_count() == 0
        for processor in router.processors.values():
            behave(processor)
        drained_s = router.wait_until_settled(len(accepted), within_s=25)
        router.check_books(accepted)
        print(f"{len(accepted)} waiting: serves after {serving_s:.2f} s, drained in {drained_s:.1f} s")
        assert serving_s < 3.0


def test_a_hundred_thousand_waiting_payments_cost_little_memory(tmp_path):
    with lives(tmp_path) as router:
        for processor in router.processors.values():
            behave(processor, failing=True)
        router.start()
        fill(router.port, 2_000, salt=3)
        before_mb = router.resident_mb()
        start_s = time.monotonic()
        accepted = fill(router.port, 98_000, salt=4)
        after_mb = router.resident_mb()
        print(
            f"{2000 + len(accepted)} waiting: {before_mb:.1f} MB, then {after_mb:.1f} MB "
            f"(filled in {time.monotonic() - start_s:.1f} s)"
        )
        assert after_mb - before_mb < 30
