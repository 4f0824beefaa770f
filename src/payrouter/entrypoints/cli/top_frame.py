"""One frame of `payrouter top`: an overview and its last seconds, as wide as the screen is."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType

    from payrouter.entrypoints.cli.top_overview import History, Overview, Processor, Waiting

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.:-=+*#"
_WIDE = 110
"""Columns from which money per processor has room."""

_STANDINGS = {
    "usable": "green",
    "probe": "yellow",
    "full": "yellow",
    "slow": "yellow",
    "down": "red",
}
_AUDITS = {"agree": "green", "differ": "bold red", "unavailable": "yellow"}


def frame(overview: Overview, history: History, console: Console, *, url: str, trouble: str = "") -> Group:
    """Return what is shown. `trouble` says why the numbers are old; empty when they are not."""
    width = console.width
    bars = _BARS if console.encoding.startswith("utf") else _PLAIN_BARS
    parts: list[RenderableType] = [_title(overview, url)]
    if trouble:
        parts.append(_line(f"these numbers are old: {trouble}", "bold red"))
    parts += [_line(problem, "bold red") for problem in overview.problems]
    parts += [
        _figures(overview, history, bars, max(10, min(60, width - 60))),
        _processors(overview, history, bars, width),
    ]
    parts += [_beside(overview), _nodes(overview)]
    return Group(*parts)


def line(overview: Overview) -> str:
    """Return an overview in one line, for what is no terminal."""
    rates = overview.rates
    split = ", ".join(f"{one.name} {one.settled_per_second:.0f}/s {_state(one)}" for one in overview.processors)
    said = (
        f"{overview.at} accepted {rates.accepted:.0f}/s, settled {rates.settled:.0f}/s, failed {rates.failed:.0f}/s; "
        f"{_waiting(overview.backlog)}; {split}; {overview.unknown.count} unknown, "
        f"{overview.dead_letters.count} dead letters; audit: {overview.audit.state}"
    )
    return printable("; ".join((said, *overview.problems)))


def sparkline(values: Iterable[float | None], width: int, bars: str = _BARS) -> str:
    """Return the last `width` values as bars, scaled to the greatest of them; blank where nothing was seen."""
    shown = list(values)[-width:]
    greatest = max((value for value in shown if value is not None), default=0.0)
    scale = (len(bars) - 1) / greatest if greatest > 0 else 0.0
    drawn = "".join(" " if value is None else bars[round(max(0.0, value) * scale)] for value in shown)
    return drawn.rjust(width)


def printable(text: str) -> str:
    """Return a text that cannot steer a terminal: parts of it may come from elsewhere."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _title(overview: Overview, url: str) -> Text:
    kind = "cluster" if overview.clustered else overview.engine
    at = overview.at.replace("T", " ").partition(".")[0].removesuffix("Z")
    return Text.assemble(
        ("payrouter", "bold"), f" {printable(overview.version)}  {printable(kind)}  {printable(at)} UTC  ", (url, "dim")
    )


def _figures(overview: Overview, history: History, bars: str, width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    rates, backlog = overview.rates, overview.backlog
    failed = Text(f"failed {rates.failed:.1f}/s", "yellow") if rates.failed else Text("")
    table.add_row("accepted", sparkline(history.accepted, width, bars), f"{rates.accepted:,.0f}/s", "")
    table.add_row("settled", sparkline(history.settled, width, bars), f"{rates.settled:,.0f}/s", failed)
    age = "" if backlog.oldest_age_seconds is None else f"oldest {_age(backlog.oldest_age_seconds)}"
    table.add_row("waiting", sparkline(history.waiting, width, bars), f"{backlog.waiting:,}", age)
    if backlog.reason:
        table.add_row("", _line(backlog.reason, "yellow"))
    return table


def _processors(overview: Overview, history: History, bars: str, width: int) -> Table:
    wide = width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Processor", no_wrap=True)
    table.add_column("Fee", justify="right", no_wrap=True)
    table.add_column("Standing", no_wrap=True)
    table.add_column("Settled/s", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("In flight", justify="right", no_wrap=True)
    table.add_column("Share", justify="right", no_wrap=True)
    for title in ("Settled", "Amount", "Fees") if wide else ():
        table.add_column(title, justify="right", no_wrap=True)
    for one in overview.processors:
        past = sparkline(history.by_processor.get(one.name, ()), 20 if wide else 8, bars)
        cells: list[RenderableType] = [
            printable(one.name),
            one.fee_percent,
            _standing(one),
            f"{past} {one.settled_per_second:,.0f}",
            "-" if one.observed_ms is None else f"{one.observed_ms:,.1f}",
            f"{one.in_flight} of {one.limit}" + (f", {one.pinned} pinned" if one.pinned else ""),
            f"{100 * one.share:.1f} %",
        ]
        table.add_row(*cells, *((f"{one.settled:,}", one.amount, one.fees) if wide else ()))
    return table


def _standing(one: Processor) -> Text:
    failed = f", failing {one.failed_per_second:,.0f}/s" if one.failed_per_second else ""
    style = "yellow" if one.paused else _STANDINGS.get(one.standing, "dim")
    return Text(printable(_state(one) + failed), style)


def _state(one: Processor) -> str:
    """Return what an operator needs to know: paused, breaker not closed, or how it stands."""
    if one.paused:
        return "paused"
    return one.standing if one.breaker in {None, "closed"} else f"{one.standing}, breaker {one.breaker}"


def _beside(overview: Overview) -> Table:
    """Return money, and everything that should be nothing."""
    money, unknown = overview.money, overview.unknown
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "money",
        f"{money.settled:,} settled, {money.amount}; fees {money.fees}, "
        f"{money.saved_against_dearest} below the dearest, {money.lost_against_cheapest} above the cheapest",
    )
    age = "" if unknown.oldest_age_seconds is None else f", oldest {_age(unknown.oldest_age_seconds)}"
    table.add_row("unknown", _alarming(unknown.count, f"{unknown.count} attempts{age if unknown.count else ''}"))
    letters = overview.dead_letters.count
    table.add_row("dead letters", _alarming(letters, f"{letters}"))
    if overview.webhooks is not None:
        table.add_row("webhooks", _waiting(overview.webhooks))
    audit = overview.audit
    said = f"{audit.text or audit.state}" + (f" ({audit.differences} differences)" if audit.differences else "")
    table.add_row("audit", _line(said, _AUDITS.get(audit.state, "dim")))
    return table


def _alarming(count: int, text: str) -> Text:
    return Text(text, "yellow" if count else "")


def _nodes(overview: Overview) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, justify in (("Process", "left"), ("Host", "left"), ("PID", "right"), ("Up", "right"), ("MB", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("CPU", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for one in islice(overview.nodes, 32):
        silent = f"silent for {_age(one.seen_seconds_ago)}" if one.seen_seconds_ago > 2 else ""
        table.add_row(
            printable(one.name),
            printable(one.host),
            f"{one.pid}",
            _age(one.uptime_seconds),
            f"{one.memory_mb:,.0f}",
            f"{100 * one.cpu:.0f} %",
            Text(silent, "yellow") if silent else Text("leads" if one.leads else "", "dim"),
        )
    return table


def _waiting(one: Waiting) -> str:
    age = (
        "" if one.oldest_age_seconds is None or not one.waiting else f", the oldest for {_age(one.oldest_age_seconds)}"
    )
    return f"{one.waiting:,} waiting{age}"


def _age(seconds: float) -> str:
    """Return a span for people, such as 0.4 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86400 * 4 else f"{seconds / 86400:.0f} d"
