"""Whether Redis and PostgreSQL are fit for payments and what goes on in them, in words for whoever runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payrouter.adapters.postgres.connection import Access, open_session, translated
from payrouter.adapters.postgres.server import (
    SCHEMA_VERSION,
    examine,
    require_durable,
    require_schema,
    require_writable,
)
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.report import report_on
from payrouter.adapters.redis.server import ask_promises
from payrouter.domain.errors import StoreError, StoreUnavailable
from payrouter.ports.findings import Finding, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from payrouter.adapters.redis.keys import Keys
    from payrouter.adapters.redis.report import RedisReport

WITHIN_S = 3.0
NEARLY_FULL = 0.8
"""Of its memory, or of the queue's limit: from here on there is something to do."""

_REDIS, _POSTGRES, _SAFETY, _LEDGER = "Redis", "PostgreSQL", "PostgreSQL durability", "ledger"


async def look_at_redis(url: str, keys: Keys, *, queue_limit: int, trusted: bool) -> list[Finding]:
    """Return what there is to say about a Redis; changes nothing.

    `trusted`: the operator takes one that may lose payments.
    """
    link = RedisLink(url, name="payrouter-check")
    findings: list[Finding] = []
    try:
        await link.open(WITHIN_S)
        promises = await ask_promises(link)
        findings.append(Finding(Level.OK, _REDIS, promises.in_words()))
        for text in promises.findings():
            bad = Level.WARNING if trusted and promises.role == "master" else Level.ERROR
            findings.append(_parted(bad, "Redis durability", text, "see its configuration"))
        findings.extend(_in_words(await report_on(link, keys), queue_limit))
    except StoreUnavailable as error:
        findings.append(Finding(Level.ERROR, _REDIS, str(error), "start it, or correct PAYROUTER_REDIS_URL"))
    except StoreError as error:
        findings.append(_parted(Level.ERROR, _REDIS, str(error), "correct PAYROUTER_REDIS_URL"))
    finally:
        await link.close()
    return findings


def _in_words(report: RedisReport, queue_limit: int) -> Iterator[Finding]:
    yield _memory(report)
    yield _dispatchers(report)
    if report.dispatchers:
        yield _leader(report)
    held = f"{report.held} with dispatchers"
    if report.oldest_held_us is not None:
        age_s = max(0, report.now_us - report.oldest_held_us) / 1_000_000
        held += f", the oldest accepted {age_s:.1f} s ago"
    found = f"{report.waiting} payments waiting, {held}; {report.orphans} unresolved that nobody holds"
    if report.waiting >= NEARLY_FULL * queue_limit:
        step = f"at {queue_limit} (PAYROUTER_QUEUE_LIMIT) new payments are answered 503: look at the processors"
        yield Finding(Level.WARNING, "queue", found, step)
    else:
        yield Finding(Level.OK, "queue", found)
    if report.dead_letters:
        text = f"{report.dead_letters} payments need an operator"
        yield Finding(Level.WARNING, "dead letters", text, "payrouter dead-letters list")
    if report.poison:
        text = f"{report.poison} entries put aside that nobody can send: somebody else writes to this Redis"
        yield Finding(Level.WARNING, "poison", text, "payrouter dead-letters list")


def _memory(report: RedisReport) -> Finding:
    used, limit = report.memory_used, report.memory_limit
    if not limit:
        return Finding(Level.OK, "Redis memory", f"{used / 1e6:.1f} MB used, without a limit of its own")
    found = f"{used / 1e6:.1f} MB used of {limit / 1e6:.1f} MB"
    if used < NEARLY_FULL * limit:
        return Finding(Level.OK, "Redis memory", found)
    level = Level.WARNING if used < limit else Level.ERROR
    step = "raise its maxmemory, or let dispatchers catch up: when it is full, new payments are answered 503"
    return Finding(level, "Redis memory", found, step)


def _dispatchers(report: RedisReport) -> Finding:
    lost = f"; {report.lost} lost, to be taken over" if report.lost else ""
    if report.dispatchers:
        return Finding(Level.OK, "dispatchers", f"{len(report.dispatchers)} alive{lost}")
    step = "payrouter dispatcher: until one runs, accepted payments wait"
    return Finding(Level.WARNING, "dispatchers", f"none alive{lost}", step)


def _leader(report: RedisReport) -> Finding:
    if report.leader is not None:
        return Finding(Level.OK, "leader", f"{report.leader} makes the health calls")
    return Finding(Level.WARNING, "leader", "nobody leads at this moment", "check again in some seconds")


async def look_at_postgres(url: str, *, trusted: bool) -> list[Finding]:
    """Return what there is to say about a PostgreSQL and our tables in it; changes nothing.

    `trusted`: the operator takes one that may lose payments.
    """
    access = Access(url, name="payrouter check")
    findings: list[Finding] = []
    try:
        connection = await open_session(access, WITHIN_S)
        try:
            with translated(access):
                await _look(connection, str(access), findings, trusted=trusted)
        finally:
            connection.terminate()
    except StoreError as error:
        findings.append(_parted(Level.ERROR, _POSTGRES, str(error), "start it, or correct PAYROUTER_POSTGRES_URL"))
    return findings


async def _look(connection: Any, where: str, findings: list[Finding], *, trusted: bool) -> None:
    """Add findings, one by one, up to the first that leaves nothing more to look at."""
    server = await examine(connection, where)
    findings.append(Finding(Level.OK, _POSTGRES, f"version {server['version']}"))
    try:
        require_writable(server, where)
        notes = await require_durable(connection, server, where, trusted=trusted)
    except StoreError as error:
        findings.append(_parted(Level.ERROR, _SAFETY, str(error), "see its configuration"))
    else:
        if not notes:
            findings.append(Finding(Level.OK, _SAFETY, "it can be written, and syncs what it commits"))
        findings.extend(_parted(Level.WARNING, _SAFETY, note, "see its configuration") for note in notes)
    try:
        await require_schema(connection, server, where)
    except StoreError as error:
        findings.append(_parted(Level.ERROR, _LEDGER, str(error), "run payrouter migrate"))
        return
    if not await connection.fetchval(_MAY_WRITE):
        step = "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA payrouter to it"
        findings.append(Finding(Level.ERROR, _LEDGER, "its user may not write to our tables", step))
    count = await connection.fetchval(_SETTLED)
    findings.append(Finding(Level.OK, _LEDGER, f"schema version {SCHEMA_VERSION}, {count} payments settled"))


_MAY_WRITE = """
SELECT has_table_privilege('payrouter.ledger', 'INSERT') AND has_table_privilege('payrouter.processor', 'INSERT')
   AND has_table_privilege('payrouter.rollup', 'INSERT') AND has_table_privilege('payrouter.rollup', 'UPDATE')
"""
# Every level of roll-ups holds every payment; the widest buckets are the fewest.
_SETTLED = """
SELECT coalesce(sum(count), 0)::bigint FROM payrouter.rollup WHERE shift = (SELECT max(shift) FROM payrouter.rollup)
"""


def _parted(level: Level, subject: str, text: str, otherwise: str) -> Finding:
    """Return a finding of a message that says what is wrong and then what to do."""
    found, _, step = text.rpartition("; ")
    return Finding(level, subject, found, step) if found else Finding(level, subject, text, otherwise)
