"""A disk that takes its time, under a real Redis: with `always` its answers wait for it, with `everysec` they do not."""

from __future__ import annotations

import time

from payrouter_lab.bench.processes import Manner
from payrouter_lab.faults.slow_disk import slow_disk_prefix

DELAY_S = 0.3


def test_an_answer_waits_for_the_slow_disk_only_where_redis_syncs_first(own_redis, tmp_path):
    tmp_path.chmod(0o755)
    manner = Manner(prefix=slow_disk_prefix(tmp_path, DELAY_S))
    took_s = {}
    for appendfsync in ("always", "everysec"):
        redis = own_redis(appendfsync=appendfsync, manner=manner)
        begun_s = time.monotonic()
        assert redis.ask("SET", "a", "1") == "OK"
        took_s[appendfsync] = time.monotonic() - begun_s
    assert took_s["everysec"] < DELAY_S <= took_s["always"]


def test_what_everysec_answered_while_the_disk_was_slow_is_gone_after_a_kill(own_redis, tmp_path):
    redis = own_redis(appendfsync="everysec", manner=Manner(prefix=slow_disk_prefix(tmp_path, 1.5)))
    answered = 0
    begun_s = time.monotonic()
    # A sync begins within a second, and lasts for longer than this.
    while time.monotonic() < begun_s + 1.8:
        answered = redis.ask("INCR", "answered")
        time.sleep(0.005)
    redis.kill()
    redis.start()
    kept = int(redis.ask("GET", "answered") or 0)
    assert kept < answered
