"""What processes tell of themselves as Prometheus text (exposition format 0.0.4).

https://prometheus.io/docs/instrumenting/exposition_formats/. Which metrics there are says `domain/metrics.py`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from payrouter.domain.metrics import BY_NAME, CATALOGUE, PREFIX, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from payrouter.domain.metrics import Metric
    from payrouter.domain.snapshot import Count, Distribution, NodeSnapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_PROCESSORS = 50
"""How many processors are shown, by their names' order: each is more than a hundred series per process."""

_RESULTS = ("accepted", "duplicate", "conflict", "full", "unavailable")
_REASONS = ("unauthorized", "rate-limited")
_OUTCOMES = ("charged", "refused", "unknown", "invalid")
_TOLD = ("delivered", "failed", "given-up")
_BY_PROCESSOR = (
    "payments_settled_total",
    "settled_amount_minor_total",
    "fees_minor_total",
    "dead_letters_total",
    "health_call_failures_total",
)
_ACCEPTING = ("router", "api")


def exposition(nodes: Sequence[NodeSnapshot], installation: Iterable[Count]) -> bytes:
    """Return the text of a scrape: what each process tells, with its name as a label, and what all of it comes to.

    Counters whose labels are known beforehand begin at 0. What is not in the catalogue, or has other labels or buckets
    there, is left out: processes of two versions live side by side during an update.
    """
    page = _Page(nodes)
    for one in installation:
        page.number(one.name, one.labels, one.value)
    for node in nodes:
        process = f'process="{_escaped(node.name)}"'
        told = {(one.name, one.labels) for one in node.counts}
        for name, labels in _zeros(node):
            if (name, labels) not in told:
                page.number(name, labels, 0, process)
        for one in node.counts:
            page.number(one.name, one.labels, one.value, process)
        for distribution in node.distributions:
            page.histogram(distribution, process)
    return page.text()


class _Page:
    """The lines of each metric, in the order they came."""

    def __init__(self, nodes: Sequence[NodeSnapshot]) -> None:
        names = sorted({one.name for node in nodes for one in node.processors})
        self._hidden = frozenset(names[MOST_PROCESSORS:])
        self._lines: dict[str, list[str]] = {}

    def number(self, name: str, labels: tuple[str, ...], value: float, process: str = "") -> None:
        metric = BY_NAME.get(name)
        if metric is None or metric.kind is Kind.HISTOGRAM or (inside := self._inside(metric, labels, process)) is None:
            return
        self._of(name).append(f"{PREFIX}{name}{_braced(inside)} {_number(value)}")

    def histogram(self, told: Distribution, process: str) -> None:
        metric = BY_NAME.get(told.name)
        if metric is None or metric.kind is not Kind.HISTOGRAM or len(told.buckets) != len(metric.buckets) + 1:
            return
        inside = self._inside(metric, told.labels, process)
        if inside is None:
            return
        name, counts = PREFIX + told.name, list(accumulate(told.buckets))
        before = f"{name}_bucket{{{inside}{',' if inside else ''}le="
        lines = self._of(told.name)
        lines += [f'{before}"{bound:g}"}} {count}' for bound, count in zip(metric.buckets, counts[:-1], strict=True)]
        lines.append(f'{before}"+Inf"}} {counts[-1]}')
        lines.append(f"{name}_sum{_braced(inside)} {_number(told.sum)}")
        lines.append(f"{name}_count{_braced(inside)} {counts[-1]}")

    def _of(self, name: str) -> list[str]:
        return self._lines.setdefault(name, [])

    def _inside(self, metric: Metric, labels: tuple[str, ...], process: str) -> str | None:
        """Return what stands between the braces; None for what is not shown."""
        if len(labels) != len(metric.labels) or metric.of_process is not bool(process):
            return None
        if self._hidden and "processor" in metric.labels and not self._hidden.isdisjoint(labels):
            return None
        named = [f'{name}="{_escaped(value)}"' for name, value in zip(metric.labels, labels, strict=True)]
        return ",".join([process, *named] if process else named)

    def text(self) -> bytes:
        parts = []
        if self._hidden:
            parts.append(f"# {len(self._hidden)} processors more than {MOST_PROCESSORS} are not shown")
        for metric in CATALOGUE:
            lines = self._lines.get(metric.name)
            if lines:
                name = PREFIX + metric.name
                parts += [f"# HELP {name} {_escaped_help(metric.help)}", f"# TYPE {name} {metric.kind}", *lines]
        parts.append("")
        return "\n".join(parts).encode()


def _zeros(node: NodeSnapshot) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield counters that this process will count, by name and labels: `rate` sees the first event only after a 0."""
    if node.role in _ACCEPTING:
        for result in _RESULTS:
            yield "payments_accepted_total", (result,)
        for reason in _REASONS:
            yield "http_refused_total", (reason,)
    if node.processors:
        for told in _TOLD:
            yield "webhooks_total", (told,)
    for processor in node.processors:
        for name in _BY_PROCESSOR:
            yield name, (processor.name,)
        for outcome in _OUTCOMES:
            yield "attempts_total", (processor.name, outcome)


def _braced(inside: str) -> str:
    return f"{{{inside}}}" if inside else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
