"""Prometheus text, read by Prometheus' own library."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]


def samples(text: bytes) -> dict[str, dict[Labels, float]]:
    """Return every sample by its name and its labels (by name); a series that comes twice fails."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            series = found.setdefault(one.name, {})
            labels = tuple(sorted(one.labels.items()))
            assert labels not in series, f"{one.name} {labels} comes twice"
            series[labels] = one.value
    return found


def total(found: dict[str, dict[Labels, float]], name: str, **labels: str) -> float:
    """Return the sum of a metric's series that have these labels."""
    return sum(value for series, value in found.get(name, {}).items() if labels.items() <= dict(series).items())


def families(text: bytes) -> set[str]:
    """Return the names of all metrics, counters with `_total`."""
    return {one.name + "_total" * (one.type == "counter") for one in text_string_to_metric_families(text.decode())}
