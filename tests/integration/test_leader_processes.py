"""Leaders that are killed, stopped where they stand and asked to end: the processor counts what it is asked (I8)."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from integration.simulator_client import simulated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from payrouter_lab.cluster.servers import RedisServer

PROGRAM = Path(__file__).with_name("coordination_node.py")


class NodeProcess:
    """A running node, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []

    @property
    def leading(self) -> bool:
        """Whether it leads, by its own last word."""
        return next((fact["leading"] for fact in reversed(self.said) if "leading" in fact), False)

    def count(self, key: str) -> int:
        return sum(key in fact for fact in self.said)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(json.loads(line))


@asynccontextmanager
async def node_process(*arguments: str) -> AsyncIterator[NodeProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(PROGRAM), *arguments, stdout=asyncio.subprocess.PIPE
    )
    node = NodeProcess(process)
    listening = asyncio.ensure_future(node.listen())
    try:
        yield node
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


async def until(condition, within_s: float) -> float:
    """Wait for something; return how long it took."""
    start_s = time.monotonic()
    while not condition():
        assert time.monotonic() - start_s < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - start_s


def test_the_lead_passes_on_and_calls_stay_polite(redis_server: RedisServer, redis_prefix: str) -> None:
    asyncio.run(asyncio.wait_for(lead_passes_on(redis_server.url, redis_prefix), 60))


async def lead_passes_on(redis_url: str, prefix: str) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(simulated())
        simulator = client.simulator
        url = f"http://127.0.0.1:{client.port}"
        nodes = [
            await stack.enter_async_context(node_process(redis_url, prefix, f"node-{number}", url))
            for number in range(3)
        ]

        def leaders() -> list[NodeProcess]:
            return [node for node in nodes if node.leading]

        async def called(times: int) -> None:
            await until(lambda: len(simulator.health_calls) == times, within_s=8)

        def all_told(times: int) -> bool:
            return all(node.count("reported") >= times for node in nodes)

        await until(leaders, within_s=5)
        await until(lambda: all_told(1), within_s=5)

        killed = leaders()[0]
        nodes.remove(killed)
        killed.send(signal.SIGKILL)
        after_kill_s = await until(leaders, within_s=4)
        await called(2)
        await until(lambda: all_told(2), within_s=1)

        frozen = leaders()[0]
        frozen.send(signal.SIGSTOP)
        [other] = [node for node in nodes if node is not frozen]
        after_stop_s = await until(lambda: other.leading, within_s=4)
        await asyncio.sleep(0.5)
        frozen.send(signal.SIGCONT)
        await until(lambda: not frozen.leading, within_s=1)
        await called(3)
        await until(lambda: all_told(3), within_s=1)

        other.send(signal.SIGTERM)
        after_term_s = await until(lambda: frozen.leading, within_s=0.5)
        await until(lambda: other.process.returncode == 0, within_s=2)
        await called(4)
        gaps = [later - earlier for earlier, later in itertools.pairwise(simulator.health_calls)]
        print(
            f"the next led {after_kill_s:.2f} s after a kill, {after_stop_s:.2f} s after a pause, "
            f"{after_term_s:.3f} s after an orderly end; gaps {', '.join(f'{gap:.3f}' for gap in gaps)}"
        )
        assert all(5.0 < gap < 6.5 for gap in gaps)
        assert [node.count("failed") for node in (killed, frozen, other)] == [0, 0, 0]
