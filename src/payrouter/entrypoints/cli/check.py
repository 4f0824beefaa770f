"""`payrouter check`: the settings in force, the stores, and every processor, each tried."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import typer
from rich.table import Table
from rich.text import Text

from payrouter.bootstrap import installation, processor_books
from payrouter.bootstrap.tracing import INSTALL, missing_for_tracing
from payrouter.domain.urls import HIDDEN, without_secrets
from payrouter.domain.window import Window
from payrouter.entrypoints.cli.common import JsonOption, print_json, terminal
from payrouter.entrypoints.cli.plain import settings_in_force
from payrouter.entrypoints.running import run_async
from payrouter.ports.books import BooksUnavailable, TokenRefused
from payrouter.ports.findings import Finding, Level
from payrouter.settings import PREFIX, Settings

if TYPE_CHECKING:
    from payrouter.domain.processor import Processor
    from payrouter.ports.books import ProcessorBooks

WITHIN_S = 3.0

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def check(*, as_json: JsonOption = False) -> None:
    """Show the settings in force and try them: the data file, or Redis and PostgreSQL, and every processor.

    Nothing is written, no payment is sent, and no health call is made (a processor allows one per 5 s to the
    whole installation). Exit code 0 when all is well, 1 when something has to be done; warnings do not count.

    Example: `payrouter check --json`
    """
    settings = settings_in_force(need_processors=False)
    findings = run_async(_findings(settings))
    shown = settings_in_words(settings)
    if as_json:
        ok = all(one.level is not Level.ERROR for one in findings)
        print_json({"ok": ok, "settings": shown, "findings": [_json(one) for one in findings]})
    else:
        console = terminal()
        console.print(_settings_table(shown))
        console.print(_findings_table(findings))
    raise typer.Exit(1 if any(one.level is Level.ERROR for one in findings) else 0)


async def _findings(settings: Settings) -> list[Finding]:
    stores, processors = await asyncio.gather(installation(settings).look(), _processor_findings(settings))
    return [*stores, *processors, *_tracing_findings(settings)]


def _tracing_findings(settings: Settings) -> list[Finding]:
    missing = missing_for_tracing() if settings.tracing else None
    if missing is None:
        return []
    return [Finding(Level.ERROR, "tracing", f"it is on, and OpenTelemetry is not here: {missing}", INSTALL)]


# -- settings


def settings_in_words(settings: Settings) -> dict[str, str]:
    """Return every setting by its name in the environment, with secrets hidden."""
    words: dict[str, str] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == "processors":
            text = "\n".join(_processor_in_words(one) for one in value) or "none"
        elif field.name == "api_keys":
            text = ", ".join(f"{one.name} {HIDDEN}" for one in value) or "none"
        elif any(secret in field.name for secret in ("token", "key", "secret", "password")):
            text = HIDDEN if value else "none"
        elif field.name.endswith("_url"):
            text = without_secrets(value) or "none"
        elif isinstance(value, bool):
            text = str(value).lower()
        elif value is None:
            text = "off"
        else:
            text = f"{value:g}" if isinstance(value, float) else str(value)
        words[PREFIX + field.name.upper()] = text
    return words


def _processor_in_words(processor: Processor) -> str:
    headers = "".join(f" {name} {HIDDEN}" for name, _ in processor.headers)
    return (
        f"{processor.name} {without_secrets(processor.url)} fee {processor.fee_percent} admin_token {HIDDEN}{headers}"
    )


# -- processors


async def _processor_findings(settings: Settings) -> list[Finding]:
    if not settings.processors:
        example = '[{"name":"default","url":"http://127.0.0.1:8001","fee":"0.05"}]'
        return [Finding(Level.ERROR, "processors", "none is configured", f"set PAYROUTER_PROCESSORS, like {example}")]
    async with processor_books(settings, within_s=WITHIN_S) as books:
        each = await asyncio.gather(*(_try_processor(books, one) for one in settings.processors))
    return [finding for findings in each for finding in findings]


async def _try_processor(books: ProcessorBooks, processor: Processor) -> list[Finding]:
    subject = f"processor {processor.name}"
    try:
        await books.find(processor.name, str(uuid4()))
    except BooksUnavailable as error:
        step = "start it, or mend its url in PAYROUTER_PROCESSORS"
        return [Finding(Level.ERROR, subject, str(error), step)]
    reachable = Finding(Level.OK, subject, "reachable, and answers as a processor does")
    try:
        await books.totals(processor.name, Window(0, 0))
    except TokenRefused:
        step = "set its admin_token in PAYROUTER_PROCESSORS"
        said = "the admin token is refused: payments work, payrouter audit will not"
        return [reachable, Finding(Level.WARNING, subject, said, step)]
    except BooksUnavailable as error:
        said = f"payments work, payrouter audit will not: {error}"
        return [reachable, Finding(Level.WARNING, subject, said, "ask its operator for the admin summary")]
    return [reachable, Finding(Level.OK, subject, "the admin token is right: payrouter audit works")]


# -- showing


def _settings_table(shown: dict[str, str]) -> Table:
    table = Table(title="Settings in force", title_justify="left")
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    for name, text in shown.items():
        table.add_row(name, text)
    return table


def _findings_table(findings: list[Finding]) -> Table:
    table = Table(title="Findings", title_justify="left")
    table.add_column("")
    table.add_column("What", overflow="fold")
    table.add_column("Found", overflow="fold")
    table.add_column("What to do", overflow="fold")
    for one in findings:
        table.add_row(Text(one.level.value, style=_STYLES[one.level]), one.subject, one.found, one.next_step)
    return table


def _json(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.value,
        "subject": finding.subject,
        "found": finding.found,
        "nextStep": finding.next_step or None,
    }
