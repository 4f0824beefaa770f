"""What operators who look cost the payments: a router with its page open in browsers, and with nobody there.

Alternately on one running router, so that a slow minute of the machine, and a ledger that grows, fall on both.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter_lab.bench.audit import audit_books
from payrouter_lab.bench.bed import FEES, PAYROUTER, Contender, started_bed
from payrouter_lab.bench.browsers import OpenBrowsers
from payrouter_lab.bench.calls import CallError, Peer
from payrouter_lab.bench.figures import Figure
from payrouter_lab.bench.jobs import quantiles
from payrouter_lab.bench.k6 import LoadError
from payrouter_lab.bench.loads import AMOUNT, Loads
from payrouter_lab.bench.page import first_view
from payrouter_lab.bench.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from payrouter_lab.bench.page import FirstView

SETTLE_WITHIN_S = 180.0
MOST_THROUGHPUT_LOST_PERCENT = 3.0
MOST_P99_ADDED_PERCENT = 10.0
MOST_PAGE_KB = 150.0
MOST_FIRST_VIEW_MS = 500.0
MOST_SCRAPE_P99_MS = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. `rounds`: each a flood of `payments` and `seconds` at `rate`, without browsers and with.

    `reload_s`: how often each of the `browsers` loads the page again. `asks`: first views, and scrapes.
    """

    payments: int = 30_000
    rate: float = 550.0
    seconds: float = 15.0
    rounds: int = 3
    browsers: int = 5
    reload_s: float = 10.0
    asks: int = 200
    connections: int = 64


@dataclass(slots=True)
class _Seen:
    """What the rounds of one kind came to."""

    settled_per_s: list[float] = field(default_factory=list)
    cpu_s_per_1000: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    @property
    def medians(self) -> tuple[float, float, float]:
        figures = (self.settled_per_s, self.cpu_s_per_1000, self.p99_ms)
        return statistics.median(figures[0]), statistics.median(figures[1]), statistics.median(figures[2])


def measure_dashboard(directory: Path, plan: Plan, tell: Callable[[str], None]) -> tuple[list[Figure], list[str]]:
    """Return the figures of the page and of its cost, and what is wrong with the books, a line each.

    Raises:
        LoadError, ChildError, CallError: if the test itself goes wrong.
    """
    admin = f"127.0.0.1:{free_port()}"
    contender = Contender(PAYROUTER, settings={"PAYROUTER_ADMIN_BIND": admin})
    with started_bed(contender, directory, FEES) as bed:
        since_s = time.time()
        loads = Loads(bed)
        tell("warming up")
        _flood(loads, plan)
        alone, watched = _Seen(), _Seen()
        for number in range(1, plan.rounds + 1):
            tell(f"round {number} of {plan.rounds}: nobody looks")
            _round(loads, plan, alone)
            tell(f"round {number} of {plan.rounds}: {plan.browsers} browsers look")
            with OpenBrowsers(directory, f"http://{admin}", plan.browsers, plan.reload_s) as browsers:
                _round(loads, plan, watched)
                events, views = browsers.seen()
            tell(f"  they loaded {views} pages and saw {events} events")
        findings = audit_books(bed, loads.accepted, loads.unanswered, AMOUNT, since_s=since_s).findings()
        tell(f"{plan.asks} first views")
        found = [first_view(f"http://{admin}") for _ in range(plan.asks)]
    return [*_costs(plan, alone, watched), *_page(found)], findings


def measure_scrapes(directory: Path, plan: Plan, tell: Callable[[str], None]) -> list[Figure]:
    """Return how long GET /metrics takes while payments come in.

    Raises:
        LoadError, ChildError, CallError: if the test itself goes wrong.
    """
    admin = f"127.0.0.1:{free_port()}"
    contender = Contender(PAYROUTER, settings={"PAYROUTER_ADMIN_BIND": admin})
    with started_bed(contender, directory, FEES) as bed:
        tell(f"{plan.asks} scrapes at {plan.rate:g} payments/s")
        prometheus = Peer(f"http://{admin}")
        pause_s = plan.seconds / plan.asks
        found, size = [], 0
        with Loads(bed).start(round(plan.rate * (plan.seconds + 5)), rate=plan.rate, connections=plan.connections):
            time.sleep(1.0)
            for _ in range(plan.asks):
                begun_s = time.perf_counter()
                status, body = prometheus.ask("GET", "/metrics")
                found.append(1000 * (time.perf_counter() - begun_s))
                if status != 200:
                    raise CallError(f"GET /metrics was answered {status}: {body[:200]!r}")
                size = len(body)
                time.sleep(pause_s)
        prometheus.close()
    took_ms = quantiles(found)
    detail = (
        f"p50 {took_ms['p50']:.2f}, max {took_ms['max']:.2f} ms; {size / 1000:.1f} kB; {plan.asks} at {plan.rate:g}/s"
    )
    return [Figure("scrape of /metrics, p99", took_ms["p99"], "ms", MOST_SCRAPE_P99_MS, detail)]


def _round(loads: Loads, plan: Plan, seen: _Seen) -> None:
    before = loads.bed.usage()
    seen.settled_per_s.append(_flood(loads, plan))
    after = loads.bed.usage()
    if before is not None and after is not None:
        seen.cpu_s_per_1000.append(1000 * (after.cpu_s - before.cpu_s) / plan.payments)
    seen.p99_ms.append(loads.paced(plan.rate, plan.seconds, plan.connections).latency_ms["p99"])
    _settle(loads, len(loads.accepted))


def _flood(loads: Loads, plan: Plan) -> float:
    """Send payments as fast as they are accepted; return how many settled per second."""
    with loads.start(plan.payments, connections=plan.connections) as run:
        outcome = run.outcome()
    _settle(loads, len(loads.accepted))
    return outcome.accepted / (time.monotonic() - outcome.first_sent_s)


def _settle(loads: Loads, expected: int) -> None:
    if not loads.bed.target.wait_until_settled(expected, SETTLE_WITHIN_S, pause_s=0.02):
        raise LoadError(f"not all of {expected} payments were settled within {SETTLE_WITHIN_S:g} s")


def _costs(plan: Plan, alone: _Seen, watched: _Seen) -> list[Figure]:
    (free_per_s, free_cpu, free_ms), (seen_per_s, seen_cpu, seen_ms) = alone.medians, watched.medians
    look = f"{plan.browsers} browsers look"
    return [
        Figure(
            f"throughput lost while {look}",
            100 * (1 - seen_per_s / free_per_s),
            "%",
            MOST_THROUGHPUT_LOST_PERCENT,
            f"settled/s {free_per_s:.0f} → {seen_per_s:.0f}, CPU-s per 1000 {free_cpu:.3f} → {seen_cpu:.3f}; "
            f"medians of {plan.rounds} floods of {plan.payments}",
        ),
        Figure(
            f"accept p99 added while {look}",
            100 * (seen_ms / free_ms - 1),
            "%",
            MOST_P99_ADDED_PERCENT,
            f"ms {free_ms:.2f} → {seen_ms:.2f}, medians of {plan.rounds} times {plan.seconds:g} s at {plan.rate:g}/s",
        ),
    ]


def _page(found: list[FirstView]) -> list[Figure]:
    took_ms = quantiles(1000 * view.seconds for view in found)
    last = found[-1]
    return [
        Figure(
            "page with all its files",
            last.file_bytes / 1000,
            "kB",
            MOST_PAGE_KB,
            f"{len(last.files)} files; history and first event {last.data_bytes / 1000:.1f} kB besides",
        ),
        Figure(
            "first view, p99",
            took_ms["p99"],
            "ms",
            MOST_FIRST_VIEW_MS,
            f"p50 {took_ms['p50']:.1f}, max {took_ms['max']:.1f} ms of {len(found)}; one file after the other",
        ),
    ]
