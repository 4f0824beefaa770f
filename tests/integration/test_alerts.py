"""Alert rules, the example of a scrape, the Grafana dashboard and the page of metrics name what there is, and work."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from docs.test_links import anchors_of
from integration.promtool import needs_promtool, promtool
from payrouter.domain.metrics import BY_NAME, CATALOGUE, PREFIX, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
BOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "payrouter.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
FOR_GRAFANA = {"$__rate_interval": "5m", "$__range": "1h", "$instance": "a:1", "$processor": ".*"}
_SERIES = re.compile(rf"{PREFIX}(\w+)(?:{{([^}}]*)}})?")
_MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_OF_TARGET = {"job", "instance"}


def panels() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each panel of the dashboard with each of its queries."""
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel, target


def expressions() -> list[tuple[str, str]]:
    """Return every expression with where it stands."""
    found = [(f"alert {one['alert']}", one["expr"]) for one in ALERTS]
    found += [(f"panel {panel['title']}", target["expr"]) for panel, target in panels()]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert asked, variable
            found.append((f"variable {variable['name']}", asked[1]))
    return found


def unknown_in(expression: str) -> list[str]:
    """Return the metrics and labels of an expression that the catalogue does not have."""
    wrong = []
    for series, matchers in _SERIES.findall(expression):
        metric = BY_NAME.get(series)
        for suffix in ("_bucket", "_sum", "_count"):
            of = BY_NAME.get(series.removesuffix(suffix))
            if metric is None and of is not None and of.kind is Kind.HISTOGRAM:
                metric = of
        if metric is None:
            wrong.append(series)
            continue
        known = {*metric.labels, *_OF_TARGET, *(["process"] if metric.of_process else []), "le"}
        wrong += [f"{series}{{{label}}}" for label in _MATCHED.findall(matchers) if label not in known]
    return wrong


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=lambda one: one)
def test_an_expression_names_only_what_the_catalogue_has(where: str, expression: str) -> None:
    assert PREFIX in expression or expression == 'up{job="payrouter"} == 0'
    assert unknown_in(expression) == []


def test_what_the_catalogue_does_not_have_would_be_found() -> None:
    assert unknown_in("payrouter_backlog_seconds > 1") == ["backlog_seconds"]
    assert unknown_in("payrouter_leaders_count") == ["leaders_count"]
    assert unknown_in('rate(payrouter_attempts_total{result="x", process="y"}[5m])') == ["attempts_total{result}"]
    assert unknown_in('payrouter_leaders{process="x"}') == ["leaders{process}"]
    assert unknown_in('rate(payrouter_accept_seconds_bucket{le="1"}[5m])') == []


# -- alerts


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    anchors = anchors_of(ROOT / "docs" / "operate.md")
    for one in ALERTS:
        said = one["annotations"]
        assert set(said) == {"summary", "description", "runbook_url"}, one["alert"]
        assert said["runbook_url"] == f"docs/operate.md#{one['alert'].lower()}"
        assert one["alert"].lower() in anchors, f"{one['alert']} has no section in docs/operate.md"
        assert one["labels"]["severity"] in {"critical", "warning"}
        assert "{{ $labels." in said["description"]


def test_every_section_of_an_alert_is_of_one_that_there_is() -> None:
    text = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (Payrouter\w+)$", text, re.MULTILINE)) == {one["alert"] for one in ALERTS}


def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load((RULES / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    checks = [check for one in tests for check in one["alert_rule_test"]]
    names = {one["alert"] for one in ALERTS}
    assert {one["alertname"] for one in checks if one["exp_alerts"]} == names
    assert {one["alertname"] for one in checks if not one["exp_alerts"]} == names


@needs_promtool
@pytest.mark.parametrize(
    "words", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")], ids=" ".join
)
def test_the_rules_are_valid_and_do_what_they_should(words: tuple[str, ...]) -> None:
    done = promtool(*words, folder=RULES)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@needs_promtool
def test_a_rule_that_does_something_else_is_found(tmp_path: Path) -> None:
    text = (RULES / "alerts.yml").read_text(encoding="utf-8")
    assert text.count("backlog_oldest_seconds > 60") == 1
    (tmp_path / "alerts.yml").write_text(text.replace("backlog_oldest_seconds > 60", "backlog_oldest_seconds > 600"))
    shutil.copy(RULES / "alerts_test.yml", tmp_path)
    done = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert done.returncode != 0
    assert b"PayrouterBacklogOld" in done.stdout + done.stderr


@needs_promtool
def test_the_example_of_a_scrape_is_valid_once_there_is_a_token(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(RULES / name, tmp_path)
    assert b"admin-token" in promtool("check", "config", "prometheus.yml", folder=tmp_path).stderr
    (tmp_path / "admin-token").write_text("a-token-of-thirty-two-characters")
    done = promtool("check", "config", "prometheus.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


# -- Grafana


@needs_promtool
def test_every_expression_of_the_dashboard_parses(tmp_path: Path) -> None:
    rules = []
    for number, (_, target) in enumerate(panels()):
        expression = target["expr"]
        for variable, value in FOR_GRAFANA.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        rules.append({"record": f"panel:{number}", "expr": expression})
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", "rules.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert f"{len(rules)} rules found".encode() in done.stdout


def test_the_dashboard_asks_the_data_source_that_is_chosen_and_overlaps_nowhere() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel, target in panels():
        assert panel["datasource"] == target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert 'instance="$instance"' in target["expr"], panel["title"]


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for _, target in panels() for name, _ in _SERIES.findall(target["expr"])}
    assert {one.name for one in CATALOGUE} - {name.removesuffix("_bucket") for name in shown} == set()


# -- the page


def test_every_metric_is_on_the_page_and_nothing_else() -> None:
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \| (\w+) \| ([^|]*) \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == len(CATALOGUE)
    assert {name: (kind, labels, text) for name, kind, labels, text in rows} == {
        one.name: (one.kind.value, ", ".join(f"`{label}`" for label in one.labels), one.help) for one in CATALOGUE
    }
    whole = PAGE.index("## What is true of the whole installation")
    for one in CATALOGUE:
        assert (PAGE.index(f"| `{PREFIX}{one.name}` |") < whole) is one.of_process, one.name


@pytest.mark.parametrize("page", ["metrics.md", "operate.md"])
def test_every_name_on_a_page_is_in_the_catalogue(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert unknown_in(text) == []
