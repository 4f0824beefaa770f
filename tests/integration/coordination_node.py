"""One node of a cluster as a process of its own: it contends for the lead, asks processors for health and reads news.

It writes a JSON line per fact: `{"leading": true}`, `{"reported": "default"}` for a report on its boards, and
`{"failed": "..."}`. It ends gracefully on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from decimal import Decimal
from functools import partial

from payrouter.adapters.clock import SystemClock
from payrouter.adapters.http.gateway import HttpGateway
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.health_calls import RedisHealthCalls
from payrouter.adapters.redis.keys import Keys
from payrouter.adapters.redis.lease import RedisLease
from payrouter.adapters.redis.news import RedisNewsBoard
from payrouter.adapters.redis.subscription import Subscription
from payrouter.application.health import HealthPoller
from payrouter.application.leadership import Leadership
from payrouter.application.news import NewsReader
from payrouter.domain.board import ProcessorBoard
from payrouter.domain.events import HealthCallFailed, LeadershipChanged, StoreFailed
from payrouter.domain.processor import Processor


def say(**fact) -> None:
    print(json.dumps(fact), flush=True)


class Speaker:
    """`EventSink` that writes what a test wants to know."""

    def publish(self, event) -> None:
        match event:
            case LeadershipChanged(_, leading):
                say(leading=leading)
            case StoreFailed(doing, detail):
                say(failed=f"{doing}: {detail}")
            case HealthCallFailed(processor, detail):
                say(failed=f"{processor}: {detail}")


class Board(ProcessorBoard):
    """Says when it learns of a report."""

    def reported(self, report, made_s) -> None:
        super().reported(report, made_s)
        say(reported=self.processor.name)


async def run(redis_url: str, prefix: str, name: str, processor_url: str) -> None:
    clock, events, keys = SystemClock(), Speaker(), Keys(prefix)
    processor = Processor("default", processor_url, Decimal("0.05"))
    boards = {processor.name: Board(processor)}
    link = RedisLink(redis_url)
    await link.open(5.0)
    gateway = HttpGateway((processor,), attempt_timeout_s=1.0, connections=1)
    lease = RedisLease(link, keys, name, clock)
    news = RedisNewsBoard(link, Subscription(redis_url, keys.news), keys, lease, clock)
    calls = RedisHealthCalls(link, keys, lease)
    poller = HealthPoller(gateway, calls, clock, events, lambda: None, post=news.post_report)
    leadership = Leadership(lease, partial(poller.run, boards), name, clock, events)
    reader = NewsReader(
        news,
        boards,
        clock,
        events,
        on_change=lambda: None,
        on_purge=lambda _: None,
        on_vacancy=leadership.try_now,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(leadership.run()), tasks.create_task(reader.run())]
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, lambda: [task.cancel() for task in running])
    finally:
        await gateway.close()
        await link.close()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
