"""Alerts and panels: checked by Prometheus's own tool, and against what the server tells."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from live import REPOSITORY
from servers import programs
from watched import ALERTS, SOURCE, asked, dashboard, panels, rules, selectors

from adserver.app import App

RUNBOOK = REPOSITORY / "deploy" / "README.md"
CASES = Path(__file__).with_name("alerts_test.yml")
OF_PROMETHEUS = ("job", "instance", "le")
"""Labels that it adds, and the bound of a bucket."""


def promtool(*arguments: object) -> None:
    done = subprocess.run([programs.promtool(), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration() -> None:
    promtool("check", "config", ALERTS.with_name("prometheus.yml"))


def test_alerts_go_off_when_they_should_and_only_then(tmp_path: Path) -> None:
    for file in (ALERTS, CASES):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", tmp_path / CASES.name)


def test_every_alert_has_a_case_in_which_it_goes_off() -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    seen = {
        case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    assert seen == {rule["alert"] for rule in rules()}


def test_the_runbook_tells_of_every_alert_and_of_no_other() -> None:
    table = RUNBOOK.read_text().partition("## What an alert means")[2]
    told = re.findall(r"^\| `(\w+)` \|", table, re.M)
    assert told == [rule["alert"] for rule in rules()]


@pytest.fixture(scope="module")
def told(app: App) -> dict[str, list[dict[str, str]]]:
    """Metric -> the labels of its samples; what is told once it happens has happened."""
    app.metrics.refused("/v1/events", 503)
    app.metrics.converted("attributed", 1)
    found: dict[str, list[dict[str, str]]] = {"up": [{}]}
    for family in app.metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


@pytest.mark.parametrize("expr", asked())
def test_what_is_asked_for_is_told(told: dict[str, list[dict[str, str]]], expr: str) -> None:
    found = selectors(expr)
    assert found
    for name, matchers in found:
        assert name in told
        for label, operator, value in matchers:
            if label in OF_PROMETHEUS:
                continue
            values = {labels[label] for labels in told[name]}
            assert any(re.fullmatch(value, one) if operator == "=~" else one == value for one in values), (
                label
            )


def test_what_is_asked_can_be_understood(tmp_path: Path) -> None:
    rules = [{"record": f"asked:{number}", "expr": expr} for number, expr in enumerate(asked())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    promtool("check", "rules", path)


def test_panels_stand_beside_each_other() -> None:
    taken = set[tuple[int, int]]()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in across for y in down}
        assert across.stop <= 24 and not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_panels_ask_the_source_that_is_there() -> None:
    [source] = yaml.safe_load(SOURCE.read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {
        source["uid"]
    }
