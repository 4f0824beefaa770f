"""`payrouter demo`: the router, two simulated processors, and sample payments, until told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from payrouter.adapters.http.client import Answer, HttpPool
from payrouter.entrypoints.api.serve import serving
from payrouter.entrypoints.cli.common import CommandFailed, reachable, terminal
from payrouter.entrypoints.cli.demo_status import Places, Status, introduction
from payrouter.entrypoints.cli.plain import server_settings
from payrouter.entrypoints.cli.simulated import simulated_processor
from payrouter.entrypoints.running import run_async
from payrouter.settings import PREFIX, Address, Settings

if TYPE_CHECKING:
    from payrouter.entrypoints.cli.simulated import SimulatedProcessor

SAMPLE_EVERY_S = 0.33
_AMOUNTS = ("19.90", "5.00", "149.99", "0.75", "42.00")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Port = Annotated[int, typer.Option(min=0, max=65535, hidden=True)]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `simulated` are name, port and fee of the processors to start: none beside real ones.

    `keep_books` is False when the data file goes with the simulated processors, which forget theirs as well.
    """

    settings: Settings
    simulated: tuple[tuple[str, int, Decimal], ...]
    keep_books: bool


def demo(
    *,
    port: Annotated[int | None, typer.Option(min=0, max=65535, hidden=True)] = None,
    default_port: _Port = 8001,
    fallback_port: _Port = 8002,
) -> None:
    """Try everything with one command: the router on port 9999, two simulated processors on 8001 and 8002.

    A few sample payments a second are sent, to the simulated processors only. Where PAYROUTER_PROCESSORS
    names real ones, the router runs with those, and no payment is sent but yours. Ctrl-C stops all of it.

    Example: `payrouter demo`
    """
    plan = _plan(port, default_port, fallback_port)
    if plan.keep_books:
        run_async(_run(plan))
        return
    with tempfile.TemporaryDirectory(prefix="payrouter-demo-") as folder:
        run_async(_run(replace(plan, settings=replace(plan.settings, data=Path(folder) / "payrouter.db"))))


def _plan(port: int | None, default_port: int, fallback_port: int) -> Plan:
    # Sample payments have no place in anybody's Redis and PostgreSQL: the demo is one process on one file.
    settings = replace(server_settings(need_processors=False), redis_url="", postgres_url="")
    if settings.bind.path is not None:
        raise CommandFailed(
            f"the demo needs a port, got {PREFIX}BIND={settings.bind}; set it to host:port, or unset it"
        )
    if port is not None:
        settings = replace(settings, bind=Address(settings.bind.host, port))
    if settings.processors:
        return Plan(settings, (), keep_books=True)
    simulated = (("default", default_port, Decimal("0.05")), ("fallback", fallback_port, Decimal("0.15")))
    chosen = f"{PREFIX}DATA" in os.environ or settings.data != Settings().data
    # Its sample payments have no key, and the calls it suggests need none: there is nothing to guard.
    return Plan(replace(settings, api_keys=(), rate_limit_per_s=0.0), simulated, keep_books=chosen)


async def _run(plan: Plan) -> None:
    stop = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        # Entered first, so they end last: what is in flight gets its answer.
        children = [await stack.enter_async_context(simulated_processor(*one)) for one in plan.simulated]
        settings = plan.settings
        if children:
            settings = replace(settings, processors=tuple(child.processor for child in children))
        router, address, pages = await stack.enter_async_context(serving(settings))
        console = terminal()
        url = f"http://{reachable(address)}"
        introduction(console, settings, Places(url, pages), simulated=bool(children), keep_books=plan.keep_books)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(Status(router, console).run())]
            running += [tasks.create_task(_report_death(child)) for child in children]
            if children:
                running.append(tasks.create_task(_send_samples(url)))
            await stop.wait()
            for task in running:
                task.cancel()
        typer.echo("stopping")
    typer.echo("stopped")


async def _report_death(child: SimulatedProcessor) -> None:
    typer.echo(f"payrouter: {await child.ended()}", err=True)


async def _send_samples(url: str) -> None:
    """Send payments to ourselves, as a client would."""
    pool = HttpPool(url)
    head = pool.head("POST", "/payments", (("Content-Type", "application/json"),))
    refused = False
    try:
        for amount in cycle(_AMOUNTS):
            body = f'{{"correlationId":"{uuid.uuid4()}","amount":{amount}}}'.encode()
            exchange = await pool.ask(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body), within_s=5.0)
            if not refused and exchange != Answer(202, b'{"message":"payment accepted"}'):
                refused = True
                typer.echo(f"payrouter: a sample payment was not accepted: {exchange}", err=True)
            await asyncio.sleep(SAMPLE_EVERY_S)
    finally:
        await pool.close()
