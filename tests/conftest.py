"""What all tests share: the fixtures of `servers.py`, and how far Hypothesis looks.

Hypothesis tries always the same examples, or with `HYPOTHESIS_PROFILE=explore` many new ones (`HYPOTHESIS_EXAMPLES`).
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["servers"]

settings.register_profile("steady", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile(
    "explore",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "2000")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))
