"""``GET /v1/reports/delivery`` and ``adserver report`` against a real server."""

import csv
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from live import LIVE_S, Live, written
from test_cli import run, wrong
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.api.answers import DeliveryTable
from adserver.commands import remote
from adserver.options import Failed

pytestmark = pytest.mark.slow

TODAY = datetime.now(UTC).date()
DAYS = f"from={TODAY - timedelta(days=1)}&to={TODAY + timedelta(days=1)}"
SHOWN = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("reports")
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(campaign("acme/a", {"id": "l"})),
    }
    with Live(folder / "data", written(folder / "campaigns", documents)) as live:
        for number in range(SHOWN):
            asked = {"placements": [{"id": "top"}], "user": {"id": f"u{number}"}, "geo": {"country": "FR"}}
            ad = live.decide(asked)["decisions"][0]["ads"][0]
            assert live.get(ad["impression_url"]).status == 200
        until = time.monotonic() + LIVE_S
        while not table(live, "metrics=impressions").rows:
            assert time.monotonic() < until
        yield live


def ask(server: Live, query: str, *role: str, **headers: str) -> Any:
    path = f"/v1/reports/delivery?{DAYS}&{query}"
    return server.get(path, authorization=f"Bearer {server.key(*role)}", **headers)


def table(server: Live, query: str, *role: str) -> DeliveryTable:
    answer = ask(server, query, *role)
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=DeliveryTable)


def test_what_was_delivered(server: Live) -> None:
    found = table(server, "group_by=campaign,creative&metrics=impressions,spend_micros,reach")
    (row,) = found.rows
    assert row == {
        "campaign": "acme/a", "creative": "acme/a/l", "currency": "EUR", "impressions": SHOWN,
        "net_impressions": SHOWN, "spend_micros": SHOWN * 1000, "gross_spend_micros": SHOWN * 1000,
        "reach": SHOWN,
    }  # fmt: skip
    assert (found.since, found.timezone) == (f"{TODAY - timedelta(days=1)}T00:00:00+00:00", "UTC")
    assert table(server, "", "advertiser", "--advertiser", "acme").rows[0]["impressions"] == SHOWN
    assert not table(server, "", "advertiser", "--advertiser", "brise").rows


def test_few_people_are_withheld(server: Live) -> None:
    found = table(server, "group_by=country&metrics=impressions")
    assert found.rows == [] and found.people_min == 50
    assert found.withheld == [{"rows": 1, "impressions": SHOWN, "net_impressions": SHOWN}]
    text = ask(server, "group_by=country&metrics=impressions", accept="text/csv").body.decode()
    assert text == f"country,impressions,net_impressions\r\nwithheld,{SHOWN},{SHOWN}\r\n"


def test_requests_are_told_within_seconds(server: Live) -> None:
    until = time.monotonic() + LIVE_S + 10
    role = ("publisher", "--publisher", "gazette")
    while True:
        rows = table(server, "group_by=publisher&metrics=requests,fill,earned_micros,impressions", *role).rows
        if rows and rows[0]["requests"]:
            break
        assert time.monotonic() < until
    assert rows == [
        {"publisher": "gazette", "currency": "EUR", "requests": SHOWN, "fill": 1.0,
         "earned_micros": SHOWN * 1000, "impressions": SHOWN, "net_impressions": SHOWN}
    ]  # fmt: skip


def test_csv(server: Live) -> None:
    answer = ask(server, "group_by=day&metrics=impressions,ctr,frequency", accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    header, *rows = csv.reader(io.StringIO(answer.body.decode(), newline=""), strict=True)
    assert header == [
        "day",
        "impressions",
        "net_impressions",
        "ctr",
        *(f"frequency_{n}" for n in range(1, 11)),
    ]
    assert sum(int(row[1]) for row in rows) == SHOWN
    assert sum(int(row[4]) for row in rows) == SHOWN


@pytest.mark.parametrize(
    ("query", "role", "status"),
    [("group_by=mood", (), 400), ("metrics=fill", ("advertiser", "--advertiser", "acme"), 403),
     ("campaign=brise/x", ("advertiser", "--advertiser", "acme"), 404)],
)  # fmt: skip
def test_refused(server: Live, query: str, role: tuple[str, ...], status: int) -> None:
    answer = ask(server, query, *role)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_key(server: Live) -> None:
    assert server.get(f"/v1/reports/delivery?{DAYS}").status == 401


def test_the_command(server: Live) -> None:
    days = ("--from", str(TODAY - timedelta(days=1)), "--to", str(TODAY + timedelta(days=1)))
    remote = ("--url", server.url, "--key", server.key())
    told = run(
        "report", *days, "--group-by", "campaign", "--metrics", "impressions,spend_micros", *remote
    ).stdout
    header, row = told.splitlines()
    assert header.split() == [
        "campaign",
        "currency",
        "impressions",
        "net_impressions",
        "spend",
        "gross_spend",
    ]
    assert row.split() == ["acme/a", "EUR", "3", "3", "0.003", "0.003"]
    text = run("report", *days, "--group-by", "country", "--metrics", "clicks", "--csv", *remote).stdout
    assert text.splitlines() == ["country,clicks,net_clicks", "withheld,0,0"]
    assert (
        "some are about fewer than 50 people" in run("report", *days, "--group-by", "country", *remote).stdout
    )
    assert "group_by" in wrong("report", *days, "--group-by", "mood", *remote)


def test_half_an_answer_is_none(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    path, key = f"/v1/reports/delivery?{DAYS}", server.key()
    whole = remote.Remote(server.url, key).text(path, "text/csv")
    monkeypatch.setattr(remote, "_ANSWER_BYTES_MAX", len(whole))
    assert remote.Remote(server.url, key).text(path, "text/csv") == whole
    monkeypatch.setattr(remote, "_ANSWER_BYTES_MAX", len(whole) - 1)
    with pytest.raises(Failed, match="more than"):
        remote.Remote(server.url, key).text(path, "text/csv")
