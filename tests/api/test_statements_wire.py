"""``/v1/statements`` and ``adserver statement`` against a real server."""

import csv
import io
import json
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from live import LIVE_S, Live, written
from test_cli import run, wrong
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.api.statements import AdvertiserLine, AdvertiserStatement, PublisherStatement

pytestmark = pytest.mark.slow

PATH = "/v1/statements/acme"
THEIRS = "/v1/statements/publishers/gazette"
NOW = datetime.now(UTC).strftime("%Y-%m")
ACME, GAZETTE = ("advertiser", "--advertiser", "acme"), ("publisher", "--publisher", "gazette")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("statements")
    documents = {
        "publishers/gazette.json": filled_publisher(publisher(revenue_share="0.70")),
        "acme/a.json": filled_campaign(
            campaign("acme/a", {"id": "l", "pricing": {"model": "cpm", "amount": "10.00"}})
        ),
        "rival/b.json": filled_campaign(campaign("rival/b", status="paused")),
    }
    with Live(folder / "data", written(folder / "campaigns", documents)) as live:
        ad = live.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"][0]
        assert live.get(ad["impression_url"]).headers["x-adserver-billed"] == "true"
        yield live


def ask(server: Live, path: str, *role: str, **headers: str) -> Any:
    return server.get(path, authorization=f"Bearer {server.key(*role)}", **headers)


def billed(server: Live, path: str, *role: str) -> Any:
    until = time.monotonic() + LIVE_S
    while not (answer := ask(server, f"{path}?month={NOW}", *role)).json()["lines"]:
        assert time.monotonic() < until
    return answer


def test_what_is_billed_and_what_is_owed(server: Live) -> None:
    answer = billed(server, PATH, *ACME)
    statement = msgspec.json.decode(answer.body, type=AdvertiserStatement)
    assert (statement.advertiser, statement.month, statement.status) == ("acme", NOW, "open")
    assert (statement.closed_ms, statement.journal) == (None, None)
    assert msgspec.to_builtins(statement.totals) == [{"currency": "EUR", "micros": 10_000, "amount": "0.01"}]
    (line,) = statement.lines
    assert (line.campaign, line.line_item, line.model, line.rate) == ("a", "l", "cpm", "10.00")
    assert (line.impressions, line.gross_nanos, line.micros) == (1, 10_000_000, 10_000)
    owed = msgspec.json.decode(ask(server, f"{THEIRS}?month={NOW}", *GAZETTE).body, type=PublisherStatement)
    assert (owed.lines[0].placement, owed.lines[0].campaign, owed.lines[0].line_item) == (
        "top",
        "acme/a",
        "l",
    )
    assert (owed.totals[0].micros, owed.totals[0].amount) == (7000, "0.007")


def test_as_csv(server: Live) -> None:
    billed(server, PATH, "operator")
    answer = ask(server, f"{PATH}?month={NOW}", "operator", accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv; charset=utf-8")
    head, row = csv.reader(io.StringIO(answer.body.decode()))
    assert head == ["month", "status", *AdvertiserLine.__struct_fields__, "credit", "kind", "reason"]
    assert dict(zip(head, row, strict=True))["micros"] == "10000"


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [
        (f"{PATH}?month={NOW}", ("operator",), 200),
        (f"{PATH}?month={NOW}", GAZETTE, 404),
        (f"{THEIRS}?month={NOW}", ACME, 404),
        (f"{PATH}?month={NOW}", ("advertiser", "--advertiser", "rival"), 404),
        (f"/v1/statements/nobody?month={NOW}", ("operator",), 404),
        (f"/v1/statements/publishers/acme?month={NOW}", ("operator",), 404),
        (PATH, ("operator",), 400),
        (f"{PATH}?month=2026-13", ("operator",), 400),
        (f"{PATH}?month=26-1", ("operator",), 400),
    ],
)
def test_who_may_and_how(server: Live, path: str, role: tuple[str, ...], status: int) -> None:
    assert ask(server, path, *role).status == status


@pytest.mark.parametrize(
    ("body", "role", "status"),
    [
        ({"month": NOW}, ("operator",), 409),
        ({"month": "1999-01"}, ("operator",), 200),
        ({"month": NOW}, ACME, 403),
        ({"month": "never"}, ("operator",), 400),
        ({}, ("operator",), 400),
        ({"month": "1999-02", "force": True}, ("operator",), 400),
    ],
)
def test_closing(server: Live, body: object, role: tuple[str, ...], status: int) -> None:
    answer = server.post(f"{PATH}:close", body, authorization=f"Bearer {server.key(*role)}")
    assert answer.status == status
    if status == 200:
        told = answer.json()
        assert told["status"] == "closed" and len(told["journal"]["chain"]) == 32
        assert (
            server.post(f"{PATH}:close", body, authorization=f"Bearer {server.key(*role)}").body
            == answer.body
        )


def test_the_command(server: Live) -> None:
    def told(*more: object) -> "subprocess.CompletedProcess[str]":
        env = {"ADSERVER_KEY": server.key(), "COLUMNS": "30"}
        return run("statement", *more, "--month", NOW, "--url", server.url, **env)

    billed(server, PATH, "operator")
    done = told("acme")
    assert (done.returncode, done.stderr) == (0, "")
    first, _, row, total = done.stdout.splitlines()
    assert (first, total) == (f"acme, {NOW}: open", "total: 0.01 EUR")
    assert row.split() == ["a", "l", "cpm", "10.00", "1", "0.01", "EUR"], "whole, in a pipe"
    empty = run("statement", "acme", "--month", "1999-01", "--url", server.url, ADSERVER_KEY=server.key())
    assert empty.stdout.splitlines()[1:] == ["total: nothing"]
    assert "0.007 EUR" in told("--publisher", "gazette").stdout
    assert told("acme", "--csv").stdout.splitlines()[1].startswith(f"{NOW},open,EUR,1,")
    assert json.loads(told("acme", "--json").stdout)["advertiser"] == "acme"
    refused = told("acme", "--close")
    assert refused.returncode == 2 and "is not settled yet" in refused.stderr


def test_wrong_input() -> None:
    assert "whose statement" in wrong("statement", "--month", NOW, ADSERVER_KEY="k")
    assert "whose statement" in wrong("statement", "a", "--publisher", "b", "--month", NOW, ADSERVER_KEY="k")
    assert "such as 2026-11" in wrong("statement", "a", "--month", "soon", ADSERVER_KEY="k")
    assert "--month is missing" in wrong("statement", "a", ADSERVER_KEY="k")


CREDIT = {"id": "2026/7", "kind": "make_good", "amount": "0.01", "currency": "EUR", "reason": "too late"}


BOOKED: Any = [
    ({}, ("operator",), 200),
    ({}, ("operator",), 200),
    ({"amount": "0.02"}, ("operator",), 409),
    ({}, ACME, 403),
    ({"amount": "0.00"}, ("operator",), 400),
    ({"amount": "-1"}, ("operator",), 400),
    ({"kind": "gift"}, ("operator",), 400),
    ({"id": "2026/8", "currency": "USD"}, ("operator",), 400),
    ({"id": "=1+1"}, ("operator",), 400),
    ({"reason": ""}, ("operator",), 400),
    ({"id": "2026/8", "months": 2}, ("operator",), 400),
]
"""In this order: the first is booked, the second is the same."""


def test_credits(server: Live) -> None:
    billed(server, PATH, "operator")
    path = "/v1/advertisers/acme/credits"
    for change, role, status in BOOKED:
        answer = server.post(path, CREDIT | change, authorization=f"Bearer {server.key(*role)}")
        assert answer.status == status, change
        if status == 200:
            assert answer.json()["amount"] == "0.01"
    more = CREDIT | {"id": "x", "kind": "credit", "amount": "0.005", "reason": "=1+1, sorry"}
    assert server.post(path, more, authorization=f"Bearer {server.key()}").status == 200
    until = time.monotonic() + LIVE_S
    while len((told := ask(server, f"{PATH}?month={NOW}", "operator").json())["credits"]) < 2:
        assert time.monotonic() < until
    answer = ask(server, f"{PATH}?month={NOW}", "operator", accept="text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert sum(int(row["micros"]) for row in rows) == told["totals"][0]["micros"] == 10_000 - 15_000
    assert [row["reason"] for row in rows] == ["", "too late", "'=1+1, sorry"]


def test_the_command_of_credits(server: Live) -> None:
    done = run(
        "credit", "rival", "1.00", "EUR", "--id", "x", "--reason", "y", "--kind", "deposit",
        "--url", server.url, ADSERVER_KEY=server.key(),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "rival: deposit x of 1.00 EUR\n")


def test_what_a_full_disk_answers_is_documented(server: Live) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    for path in (f"{PATH}:close", "/v1/advertisers/acme/credits", "/v1/invalidations"):
        documented = paths[path.replace("acme", "{owner}")]["post"]["responses"]
        assert "503" in documented, path
