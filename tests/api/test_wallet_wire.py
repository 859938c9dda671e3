"""Paying ahead, against a real server: a deposit starts it, its end stops it, a kill forgets neither."""

import json
import time
from pathlib import Path

import pytest
from live import LIVE_S, Live
from test_cli import run
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow

ASK = {"placements": [{"id": "top"}]}
PATH = "/v1/advertisers/acme/wallet"
OWN = ("advertiser", "--advertiser", "acme")
EMPTY = {
    "advertiser": "acme", "billing": "prepaid", "currency": "EUR", "paid_in_micros": 0, "spend_micros": 0,
    "reserved_micros": 0, "remaining_micros": 0,
}  # fmt: skip
LINE = {"id": "l", "pricing": {"model": "cpm", "amount": "10000.00"}}


def written(folder: Path) -> Path:
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/advertiser.json": {"advertiser": "acme", "currency": "EUR", "billing": "prepaid"},
        "acme/a.json": filled_campaign(campaign("acme/a", LINE)),
        "rival/b.json": filled_campaign(campaign("rival/b", status="paused")),
    }
    for name, document in documents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    return folder


def bearer(server: Live, *role: str) -> str:
    return f"Bearer {server.key(*role)}"


def pay(server: Live, name: str, amount: str) -> str:
    done = run(
        "credit", "acme", amount, "EUR", "--id", name, "--reason", "a transfer", "--kind", "deposit",
        "--url", server.url, ADSERVER_KEY=server.key(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def shown(server: Live) -> int:
    """How many ads come, and are billed, until there is no money any more."""
    count, until = 0, time.monotonic() + LIVE_S
    while (answer := server.decide(ASK)["decisions"][0])["no_fill"] != "budget_exhausted":
        assert time.monotonic() < until, answer["no_fill"]
        for ad in answer["ads"]:
            assert server.get(ad["impression_url"]).headers["x-adserver-billed"] == "true"
            count += 1
    return count


def test_from_an_empty_wallet_to_an_empty_wallet(tmp_path: Path) -> None:
    with Live(tmp_path / "data", written(tmp_path / "campaigns")) as server:
        assert shown(server) == 0
        assert server.get(PATH, authorization=bearer(server, *OWN)).json() == EMPTY
        told = "acme: deposit 1 of 35.00 EUR\nleft in the wallet: 35.00 of 35.00 EUR\n"
        assert pay(server, "1", "35.00") == told
        until = time.monotonic() + LIVE_S
        while not (ads := server.decide(ASK)["decisions"][0]["ads"]):
            assert time.monotonic() < until
        server.kill9()
        server.start()
        assert server.get(ads[0]["impression_url"]).headers["x-adserver-billed"] == "true"
        assert shown(server) == 2
        left = {"paid_in_micros": 35_000_000, "spend_micros": 30_000_000, "remaining_micros": 5_000_000}
        assert server.get(PATH, authorization=bearer(server)).json() == EMPTY | left
        assert pay(server, "1", "35.00").endswith("left in the wallet: 5.00 of 35.00 EUR\n")
        other = bearer(server, "advertiser", "--advertiser", "rival")
        assert server.get(PATH, authorization=other).status == 404
        assert server.get(PATH).status == 401
        for change in ({"billing": "invoiced"}, {}):
            put = server.call(
                "PUT", "/v1/advertisers/acme", {"currency": "EUR", **change},
                authorization=bearer(server, *OWN),
            )  # fmt: skip
            assert (put.status, "billing" in put.json()["detail"]) == (403, True)
        assert server.call("DELETE", "/v1/advertisers/acme", authorization=bearer(server)).status < 300
        assert pay(server, "2", "1.00") == "acme: deposit 2 of 1.00 EUR\n"
    assert verify(tmp_path / "data", lambda line: None) == []
