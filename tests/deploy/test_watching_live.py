"""Prometheus as it is deployed, watching a real server: the panels show something and no alert is pending."""

from uuid import uuid4

import pytest
from live import Live
from servers.prometheus import Prometheus
from servers.server import Server, ground
from visitors import CAMPAIGNS, question
from watched import asked, panels, shown

pytestmark = pytest.mark.slow

SELDOM = {"Events billed, by kind", "Conversions, by status", "Asking Redis"}
"""Panels that stay empty while nothing of the kind happens."""


def visit(server: Live) -> None:
    """One of everything that the panels show."""
    for ad in [ad for placement in server.decide(question())["decisions"] for ad in placement["ads"]]:
        server.get(ad["impression_url"])
        server.get(ad["impression_url"])
        server.get(ad["click_url"], user_agent="curl/8")
    feed = {"id": "news-feed", "feed": {"id": "main", "page": 0, "organic_count": 40}}
    server.decide({"publisher": "lumen", "session": uuid4().hex, "placements": [feed]})
    server.decide({**question(), "placements": [{"id": "nowhere"}]})
    server.get("/i/forged")


def test_what_is_watched_can_be_seen() -> None:
    with (
        ground() as path,
        Live(path / "data", CAMPAIGNS) as server,
        Prometheus(path / "p", server.port) as watching,
    ):
        Server.until(watching, lambda: visit(server) or seen(watching), "has seen two visits")
        empty = [
            panel["title"]
            for panel in panels()
            if not any(watching.ask("query", query=expr)["result"] for expr in shown(panel))
        ]
        assert set(empty) <= SELDOM
        for expr in asked():
            watching.ask("query", query=expr)
        rules = watching.ask("rules")["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        assert not watching.ask("alerts")["alerts"]


def seen(watching: Prometheus) -> bool:
    """Whether a rate can be made of what it scraped."""
    return bool(watching.ask("query", query="rate(adserver_refused_requests_total[1m]) > 0")["result"])
