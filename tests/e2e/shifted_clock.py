"""`payrouter` on a host whose clock is wrong: `python -m e2e.shifted_clock SECONDS COMMAND ...`."""

from __future__ import annotations

import sys
import time

from payrouter.__main__ import main
from payrouter.adapters.clock import SystemClock

if __name__ == "__main__":
    shift_us = round(float(sys.argv.pop(1)) * 1_000_000)
    SystemClock.now_us = lambda self: time.time_ns() // 1000 + shift_us  # type: ignore[method-assign]
    sys.exit(main())
