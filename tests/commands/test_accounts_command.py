"""``adserver accounts``: what it prints, its exit codes, and wrong input."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live, written
from test_cli import run, wrong
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.ledger.place import LEDGER

pytestmark = pytest.mark.slow

PRICE = 3_000_000
SHOWN = 3
CAMPAIGN = "campaign:acme/a:EUR"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """That has shown some ads, and one to a robot; all of it is posted."""
    folder = tmp_path_factory.mktemp("accounts")
    item = {"id": "l", "pricing": {"model": "cpm", "amount": "3.00"}}
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(campaign("acme/a", item, budget={"lifetime": "9.00"})),
    }
    with Live(folder / "data", written(folder / "campaigns", documents)) as live:
        for number in range(SHOWN + 1):
            asked = {"placements": [{"id": "top"}], "user": {"id": f"u-{number}"}}
            (ad,) = live.decide(asked)["decisions"][0]["ads"]
            path = "/" + ad["impression_url"].split("/", 3)[3]
            answer = live.get(path, user_agent="a robot") if number == SHOWN else live.get(path)
            assert answer.status == 200
        live.restart()
        yield live


def told(server: Live, *arguments: object) -> Any:
    done = run("accounts", *arguments, "--json", "--data", server.data)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_beside_a_running_server(server: Live) -> None:
    found = {one["account"]: one["balance"] for one in told(server)["accounts"]}
    assert found == {
        "advertiser:acme:EUR": SHOWN * PRICE,
        "publisher:gazette:EUR": -SHOWN * PRICE,
        f"granted:{CAMPAIGN}": -9 * 10**9,
        f"budget:{CAMPAIGN}": 9 * 10**9 - SHOWN * PRICE,
        f"used:{CAMPAIGN}": SHOWN * PRICE,
        "filtered:advertiser:acme:events": 1,
        "filtered:line_item:acme/a/l:events": 1,
        "filtered:publisher:gazette:events": -1,
        "filtered:operator:events": -1,
    }


def test_each_book_adds_up(server: Live) -> None:
    sums = [(one["book"], one["unit"], one["balance"]) for one in told(server)["sums"]]
    assert sums == [("owed", "EUR", 0), ("budgets", "EUR", 0), ("filtered", "events", 0)]
    done = run("accounts", "--data", server.data)
    assert [line.split()[-2:] for line in done.stdout.splitlines() if line.startswith("all ")] == [
        ["0.00", "EUR"], ["0.00", "EUR"], ["0", "events"],
    ]  # fmt: skip


def test_one_account_by_either_name(server: Live) -> None:
    found = told(server, f"used:{CAMPAIGN}", "--most", 2)
    account = found["account"]
    assert (account["debits"], account["credits"], found["more"]) == (SHOWN * PRICE, 0, True)
    assert [(m["what"], m["other"], m["debits"]) for m in found["movements"]] == [
        ("impression", f"budget:{CAMPAIGN}", PRICE)
    ] * 2
    assert told(server, account["booked_as"], "--most", 2) == found
    done = run("accounts", f"budget:{CAMPAIGN}", "--data", server.data)
    head, _, *moved = done.stdout.splitlines()
    assert head.startswith(f"budget:{CAMPAIGN} (budget:campaign:")
    assert head.endswith(": debits 9.00, credits 0.009, balance 8.991 EUR")
    assert len(moved) == SHOWN + 1


def test_as_csv(server: Live) -> None:
    done = run("accounts", "--csv", "--data", server.data)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [
        {**row, **{name: int(row[name]) for name in ("debits", "credits", "balance")}} for row in rows
    ] == (told(server)["accounts"])
    done = run("accounts", "advertiser:acme:EUR", "--csv", "--data", server.data)
    assert [row["debits"] for row in csv.DictReader(io.StringIO(done.stdout))] == [str(PRICE)] * SHOWN


def test_over_http_the_same(server: Live) -> None:
    """Except that only operators ask."""
    path, key = "/v1/accounts", {"authorization": f"Bearer {server.key()}"}
    assert server.get(path, **key).json() == told(server)
    one = f"/v1/movements?account=used:{CAMPAIGN}&most=2"
    assert server.get(one, **key).json() == told(server, f"used:{CAMPAIGN}", "--most", 2)
    for asked, name in ((path, ""), (one, f"used:{CAMPAIGN}")):
        done = run("accounts", *([name, "--most", 2] if name else ()), "--csv", "--data", server.data)
        answer = server.get(asked, accept="text/csv", **key)
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.body.decode().splitlines() == done.stdout.splitlines()


WRONG = {
    "accounts": (401, None),
    "movements?account=operator:EUR": (401, None),
    "accounts?most=1": (400, "operator"),
    "movements": (400, "operator"),
    "movements?account=nobody": (404, "operator"),
    "movements?account=operator:EUR&most=0": (400, "operator"),
    "movements?account=operator:EUR&most=many": (400, "operator"),
    "movements?account=operator:EUR&moist=1": (400, "operator"),
    "accounts ": (403, "advertiser"),
    "movements?account=advertiser:acme:EUR": (403, "advertiser"),
}


@pytest.mark.parametrize(("asked", "said"), WRONG.items(), ids=str)
def test_who_asks_what_they_may_not(server: Live, asked: str, said: tuple[int, str | None]) -> None:
    status, role = said
    flags = ("--advertiser", "acme") if role == "advertiser" else ()
    headers = {} if role is None else {"authorization": f"Bearer {server.key(role, *flags)}"}
    assert server.get(f"/v1/{asked.strip()}", **headers).status == status


def test_wrong_input_is_one_line(server: Live, tmp_path: Path) -> None:
    data = ("--data", server.data)
    assert "no ledger" in wrong("accounts", "--data", tmp_path)
    (tmp_path / "ledger.sqlite").touch()
    assert "no ledger yet" in wrong("accounts", "--data", tmp_path)
    assert "nothing ever moved an account \\x1b" in wrong("accounts", "\x1b[31m", *data)
    assert "nothing ever moved an account used:campaign:99:EUR" in wrong(
        "accounts", "used:campaign:99:EUR", *data
    )
    assert "not both" in wrong("accounts", "--csv", "--json", *data)
    assert "--most" in wrong("accounts", "--most", "0", *data)
    (tmp_path / LEDGER).write_text("no database")
    assert "cannot be" in wrong("accounts", "--data", tmp_path)
