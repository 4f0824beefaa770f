"""A disk that takes its time, under a real Redis: it is waited for with `always`, and not with `everysec`."""

from __future__ import annotations

import time

from payrouter_lab.bench.processes import Manner
from payrouter_lab.faults.slow_disk import slow_disk_prefix

DELAY_S = 0.1


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
