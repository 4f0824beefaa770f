"""What `payrouter demo` shows: what runs where, what to try, and how it goes."""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table

from payrouter.adapters.log_output import LineWriter
from payrouter.domain.ledger import Totals
from payrouter.domain.money import format_minor
from payrouter.domain.urls import without_secrets
from payrouter.domain.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from payrouter.bootstrap import Router
    from payrouter.settings import Address, Settings

LIVE_EVERY_S = 1.0
LINE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where the router is, and the operator's pages, None when there are none."""

    url: str
    pages: Address | None


def introduction(console: Console, settings: Settings, places: Places, *, simulated: bool, keep_books: bool) -> None:
    """Say what runs where, and give lines to try, fit for copying."""
    table = Table(title="Payrouter demo", title_justify="left", show_header=False)
    url = places.url
    table.add_row("router", url)
    table.add_row("dashboard", "none" if places.pages is None else f"http://{places.pages}")
    for one in settings.processors:
        kind = "simulated, " if simulated else ""
        table.add_row(f"processor {one.name}", f"{without_secrets(one.url)} ({kind}fee {one.fee_percent})")
    table.add_row("books", f"{settings.data}" if keep_books else f"{settings.data} (removed at the end)")
    console.print(table)
    if simulated:
        console.print("About 3 sample payments a second are on their way. Try:")
    else:
        console.print("PAYROUTER_PROCESSORS is set: payments go to these processors, no sample payments are sent. Try:")
    correlation_id = uuid.uuid4()
    lines = [
        f"curl -i {url}/payments -H 'Content-Type: application/json' "
        f'-d \'{{"correlationId":"{correlation_id}","amount":19.90}}\'',
        f"curl {url}/payments-summary",
        f"curl {url}/payments/{correlation_id}",
    ]
    for line in lines:
        console.print(f"  {line}", soft_wrap=True)
    if simulated:
        first = settings.processors[0]
        console.print(f"Or let {first.name} fail, and watch the payments (false heals it):")
        console.print(
            f"  curl -X PUT {first.url}/admin/configurations/failure -H 'X-Rinha-Token: {first.admin_token}' "
            "-d '{\"failure\":true}'",
            soft_wrap=True,
        )
    console.print("Ctrl-C stops everything.")


class Status:
    """Shows what was accepted and settled: a live table on a terminal, else a line now and then."""

    def __init__(self, router: Router, console: Console) -> None:
        self._router = router
        self._console = console

    async def run(self) -> None:
        """Show, for ever."""
        if not self._console.is_terminal:
            while True:
                await asyncio.sleep(LINE_EVERY_S)
                self._console.print(self._line(*await self._facts()), soft_wrap=True)
        with (
            Live(self._table(*await self._facts()), console=self._console, auto_refresh=False) as live,
            _logging_above(),
        ):
            while True:
                await asyncio.sleep(LIVE_EVERY_S)
                live.update(self._table(*await self._facts()), refresh=True)

    async def _facts(self) -> tuple[dict[str, Totals], int]:
        """Return what is settled since the books began, by processor, and how many payments are under way."""
        settled = await self._router.ledger.summary(Window())
        pinned = sum(board.pinned for board in self._router.boards.values())
        waiting = (await self._router.queue.backlog()).waiting
        totals = {name: settled.get(name, Totals()) for name in self._router.processor_names}
        return totals, waiting + self._router.dispatcher.in_flight + pinned

    def _line(self, totals: dict[str, Totals], under_way: int) -> str:
        accepted = sum(total.count for total in totals.values()) + under_way
        settled = ", ".join(f"{name} {one.count} ({format_minor(one.amount_minor)})" for name, one in totals.items())
        return f"accepted {accepted}; settled: {settled}; under way {under_way}"

    def _table(self, totals: dict[str, Totals], under_way: int) -> Table:
        accepted = sum(total.count for total in totals.values()) + under_way
        table = Table(title=f"accepted {accepted}, under way {under_way}", title_justify="left")
        table.add_column("Processor")
        table.add_column("Settled", justify="right")
        table.add_column("Amount", justify="right")
        table.add_column("Standing")
        now_s = self._router.clock.monotonic_s()
        for name, one in totals.items():
            standing = self._router.boards[name].view(now_s).standing.value
            table.add_row(name, str(one.count), format_minor(one.amount_minor), standing)
        return table


@contextmanager
def _logging_above() -> Iterator[None]:
    """Let log lines appear above a live table, not inside it: it has put itself in place of `sys.stderr`."""
    writers = [one for one in logging.getLogger().handlers if isinstance(one, LineWriter)]
    streams = [writer.redirect(sys.stderr) for writer in writers]
    try:
        yield
    finally:
        for writer, stream in zip(writers, streams, strict=True):
            writer.redirect(stream)
