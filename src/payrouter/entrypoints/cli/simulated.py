"""Simulated processors as child processes of ours: started, watched and ended."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from payrouter.domain.processor import Processor
from payrouter.entrypoints.cli.common import CommandFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from decimal import Decimal

STARTED_WITHIN_S = 15.0
STOPPED_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True)
class SimulatedProcessor:
    """A running child and how to reach it."""

    processor: Processor
    process: asyncio.subprocess.Process

    async def ended(self) -> str:
        """Wait until the child ends, and return what it said and how to start it again."""
        said = await _said(self.process)
        code = await self.process.wait()
        port = self.processor.url.rpartition(":")[2]
        name, fee = self.processor.name, self.processor.fee
        return (
            f"the simulated processor {name} ended (exit code {code}){': ' + said if said else ''}; "
            f"start another with: payrouter simulate-processor --port {port} --fee {fee} --name {name}"
        )


@asynccontextmanager
async def simulated_processor(name: str, port: int, fee: Decimal) -> AsyncIterator[SimulatedProcessor]:
    """Run a simulated processor on this machine; port 0 picks a free one. It is gone on leaving.

    Raises:
        CommandFailed: if it does not start.
    """
    argv = [
        sys.executable,
        "-m",
        "payrouter_lab.simulator",
        "--name",
        name,
        "--port",
        str(port),
        "--fee",
        str(fee),
    ]
    # Should we be killed, it must not live on and keep the port.
    guard = shutil.which("setpriv")
    process = await asyncio.create_subprocess_exec(
        *([guard, "--pdeathsig", "KILL", "--"] if guard else []),
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # A Ctrl-C in the terminal is for us: what is in flight is to be answered before the processors go.
        start_new_session=True,
    )
    try:
        yield SimulatedProcessor(Processor(name, await _listening(process, name), fee), process)
    finally:
        await _stop(process)


async def _listening(process: asyncio.subprocess.Process, name: str) -> str:
    """Return the url that the child announces in its first line."""
    stdout = cast("asyncio.StreamReader", process.stdout)
    try:
        async with asyncio.timeout(STARTED_WITHIN_S):
            line = (await stdout.readline()).decode()
            if line:
                return line.split()[-1]
            said = await _said(process)
    except TimeoutError:
        said = f"it said nothing within {STARTED_WITHIN_S:g} s; is the machine overloaded?"
    raise CommandFailed(f"the simulated processor {name} did not start: {said}")


async def _said(process: asyncio.subprocess.Process) -> str:
    """Return what a child wrote to its standard error, once it has ended."""
    stderr = cast("asyncio.StreamReader", process.stderr)
    return (await stderr.read()).decode(errors="replace").strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOPPED_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.wait()
