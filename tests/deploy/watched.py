"""What Prometheus and Grafana are told to ask, read from ``deploy/``."""

import json
import re
from typing import Any

import yaml
from live import REPOSITORY

ALERTS = REPOSITORY / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = REPOSITORY / "deploy" / "grafana" / "dashboards" / "adserver.json"
SOURCE = REPOSITORY / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
INSTANCE, INTERVAL = "$instance", "$__rate_interval"

_SELECTOR = re.compile(r"\b(adserver_\w+|process_\w+|up)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def shown(panel: dict[str, Any]) -> list[str]:
    """What a panel asks, as Grafana fills it in."""
    exprs = [target["expr"] for target in panel["targets"]]
    return [expr.replace(INSTANCE, ".*").replace(INTERVAL, "1m") for expr in exprs]


def asked() -> list[str]:
    return [rule["expr"] for rule in rules()] + [expr for panel in panels() for expr in shown(panel)]


def selectors(expr: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """(metric, its matchers as (label, operator, value)) of each."""
    return [(name, _MATCHER.findall(matchers)) for name, matchers in _SELECTOR.findall(expr)]
