"""The text for Prometheus: read by its own tool and by its own library, complete, bounded and quick."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration.metric_text import samples
from integration.promtool import needs_promtool, promtool
from integration.snapshots import AMOUNT_MINOR, NOW_US, a_cluster, processors, snapshot
from payrouter.adapters.prometheus import MOST_PROCESSORS, exposition
from payrouter.application.books_watch import BooksReport, BooksState, ComparedProcessor
from payrouter.application.desk import Money, Overview, Rates, Waiting
from payrouter.domain.ledger import Totals
from payrouter.domain.metrics import CATALOGUE, PREFIX, Kind
from payrouter.domain.snapshot import Count, Distribution
from payrouter.entrypoints.admin.metrics import scrape

SCRAPE_WITHIN_MS = 60.0
"""Two here. The bound is generous: the machine may do other things."""


def overview(nodes=(), **changed) -> Overview:
    compared = BooksReport(
        BooksState.DIFFER,
        at_us=NOW_US,
        processors=(
            ComparedProcessor("p000", BooksState.AGREE, Totals(1, 1), Totals(1, 1)),
            ComparedProcessor("p001", BooksState.DIFFER, Totals(1, 1), Totals(2, 2)),
        ),
        compared_us=NOW_US - 5_000_000,
    )
    seen = Overview(
        at_us=NOW_US,
        nodes=tuple(nodes),
        rates=Rates(),
        backlog=Waiting(7, NOW_US - 1_500_000),
        reason=None,
        processors=(),
        money=Money(Totals(), 0, 0, 0),
        unknown=Waiting(2, NOW_US - 3_000_000),
        dead_letters=4,
        poison=1,
        webhooks=Waiting(5, NOW_US - 2_000_000),
        books=compared,
        problems=(),
    )
    return replace(seen, **changed)


# -- the format


@needs_promtool
@pytest.mark.parametrize("nodes", [[], [snapshot("router")], a_cluster()], ids=["nobody", "one process", "a cluster"])
def test_promtool_has_nothing_to_complain_of(nodes) -> None:
    done = promtool("check", "metrics", text=scrape(overview(nodes)))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_metric_of_the_catalogue_is_there_with_its_kind_and_help() -> None:
    extra = [
        Count("webhooks_total", ("delivered",), 3),
        Count("http_refused_total", ("rate-limited",), 1),
    ]
    router = snapshot("router")
    text = scrape(overview([replace(router, counts=(*router.counts, *extra))]))
    families = {one.name: one for one in text_string_to_metric_families(text.decode())}
    # The library's names of counters are without _total.
    wanted = {PREFIX + one.name.removesuffix("_total"): (one.kind.value, one.help) for one in CATALOGUE}
    assert {name: (one.type, one.documentation) for name, one in families.items()} == wanted


def test_a_histogram_is_cumulative_and_ends_with_everything() -> None:
    settled = Distribution("settle_seconds", (), (1, 2, *([0] * 10), 4), 12.5)
    found = samples(exposition([replace(snapshot("dispatcher"), counts=(), distributions=(settled,))], []))
    by_bound = {dict(labels)["le"]: value for labels, value in found["payrouter_settle_seconds_bucket"].items()}
    assert list(by_bound) == ["0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1",
                              "2.5", "+Inf"]  # fmt: skip
    assert list(by_bound.values()) == [1.0] + [3.0] * 11 + [7.0]
    process = (("process", "dispatcher-1"),)
    assert found["payrouter_settle_seconds_count"] == {process: 7.0}
    assert found["payrouter_settle_seconds_sum"] == {process: 12.5}


def test_numbers_are_those_that_were_told_in_full_precision() -> None:
    told = (Count("settled_amount_minor_total", ("p000",), 9_007_199_254_740_993), Count("unrecorded", (), 0.1))
    text = exposition([replace(snapshot("dispatcher"), counts=told, distributions=())], []).decode()
    assert 'settled_amount_minor_total{process="dispatcher-1",processor="p000"} 9007199254740993\n' in text
    assert 'payrouter_unrecorded{process="dispatcher-1"} 0.1\n' in text


def test_labels_are_escaped() -> None:
    nasty = 'a\\b"c\nd'
    router = replace(snapshot("router"), counts=(Count("store_failures_total", (nasty,), 2),), distributions=())
    found = samples(exposition([router], []))
    assert found["payrouter_store_failures_total"] == {(("doing", nasty), ("process", "router-1")): 2.0}


# -- what is said


def test_what_each_process_counted_is_shown_under_its_name() -> None:
    nodes = [snapshot("api", 1), snapshot("api", 2, payments=50), snapshot("dispatcher", 1)]
    found = samples(exposition(nodes, []))
    for node in nodes:
        for result in ("accepted", "duplicate", "conflict", "full", "unavailable"):
            series = (("process", node.name), ("result", result))
            shown = found["payrouter_payments_accepted_total"].get(series, 0)
            assert shown == node.total("payments_accepted_total", result)
    settled = found["payrouter_payments_settled_total"]
    amount = found["payrouter_settled_amount_minor_total"]
    assert sum(settled.values()) > 80
    assert {labels: value * AMOUNT_MINOR for labels, value in settled.items()} == amount


def test_a_counter_is_there_before_anything_was_counted() -> None:
    found = samples(exposition([snapshot("api", payments=0), snapshot("dispatcher", payments=0)], []))
    assert sum(found["payrouter_payments_accepted_total"].values()) == 0
    assert len(found["payrouter_payments_accepted_total"]) == 5
    assert len(found["payrouter_http_refused_total"]) == 2
    assert len(found["payrouter_attempts_total"]) == 2 * 4
    assert len(found["payrouter_dead_letters_total"]) == 2
    assert len(found["payrouter_webhooks_total"]) == 3


def test_the_installation_is_told_without_a_process() -> None:
    found = samples(scrape(overview([snapshot("api", 1), snapshot("api", 2), snapshot("dispatcher")])))
    shown = {name: values for name, values in found.items() if name.removeprefix(PREFIX) in OF_ALL}
    assert shown == {
        "payrouter_backlog_payments": {(): 7.0},
        "payrouter_backlog_oldest_seconds": {(): 1.5},
        "payrouter_unknown_outcomes": {(): 2.0},
        "payrouter_unknown_oldest_seconds": {(): 3.0},
        "payrouter_dead_letters": {(): 4.0},
        "payrouter_poison_entries": {(): 1.0},
        "payrouter_webhooks_waiting": {(): 5.0},
        "payrouter_webhooks_oldest_seconds": {(): 2.0},
        "payrouter_processes": {(("role", "router"),): 0.0, (("role", "api"),): 2.0, (("role", "dispatcher"),): 1.0},
        "payrouter_leaders": {(): 1.0},
        "payrouter_books_differ": {(("processor", "p000"),): 0.0, (("processor", "p001"),): 1.0},
        "payrouter_books_compared_timestamp_seconds": {(): (NOW_US - 5_000_000) / 1e6},
    }


OF_ALL = {one.name for one in CATALOGUE if not one.of_process}


def test_what_a_store_did_not_tell_is_absent_rather_than_0() -> None:
    everything = frozenset(("nodes", "backlog", "dead_letters", "webhooks", "totals"))
    nothing = overview(unread=everything, books=BooksReport(BooksState.OFF))
    assert scrape(nothing) == b""
    without_backlog = samples(scrape(overview(unread=frozenset(["backlog"]))))
    assert "payrouter_backlog_payments" not in without_backlog
    assert "payrouter_dead_letters" in without_backlog


def test_a_processor_that_cannot_be_read_neither_agrees_nor_loses_its_difference() -> None:
    def unavailable(name: str) -> ComparedProcessor:
        return ComparedProcessor(name, BooksState.UNAVAILABLE, Totals(), None, "no answer")

    standing = overview().books
    finding = type("Standing", (), {"processor": "p001"})()
    books = replace(standing, processors=(unavailable("p000"), unavailable("p001")), findings=(finding,))
    found = samples(scrape(overview(books=books)))
    assert found["payrouter_books_differ"] == {(("processor", "p001"),): 1.0}


# -- bounds


def test_processors_beyond_the_bound_are_left_out_and_that_is_said() -> None:
    text = exposition([snapshot("router", of=processors(MOST_PROCESSORS + 3), payments=200)], [])
    names = {dict(labels).get("processor") for series in samples(text).values() for labels in series}
    assert names == {None, *(one.name for one in processors(MOST_PROCESSORS))}
    assert text.startswith(b"# 3 processors more than 50 are not shown\n")


def test_what_another_version_tells_is_left_out() -> None:
    told = (
        Count("a_metric_of_tomorrow", (), 1),
        Count("payments_settled_total", ("p000", "more"), 1),
        Count("settle_seconds", (), 1),
        Count("backlog_payments", (), 99),
    )
    buckets = (Distribution("settle_seconds", (), (1, 2), 1.0), Distribution("no_such_seconds", (), (1, 2), 1.0))
    api = replace(snapshot("api"), counts=told, distributions=buckets)
    found = samples(exposition([api], [Count("unrecorded", (), 1)]))
    assert set(found) == {"payrouter_payments_accepted_total", "payrouter_http_refused_total"}


def test_a_scrape_of_eight_processes_and_four_processors_is_quick() -> None:
    seen = overview(a_cluster())
    times_ms = []
    for _ in range(10):
        start_s = time.perf_counter()
        text = scrape(seen)
        times_ms.append((time.perf_counter() - start_s) * 1000)
    histograms = [one.name for one in CATALOGUE if one.kind is Kind.HISTOGRAM]
    assert all(f"payrouter_{name}_bucket".encode() in text for name in histograms)
    assert min(times_ms) < SCRAPE_WITHIN_MS
    print(f"{min(times_ms):.1f} to {max(times_ms):.1f} ms, {len(text)} bytes, {text.count(10)} lines")
