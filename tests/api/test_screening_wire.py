"""Invalid traffic over HTTP: settings from the command line, addresses through a trusted proxy, and what a
caller, a diagnosis, the metrics and the documentation are told."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import Live, written
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.domain.invalid import Invalid

pytestmark = pytest.mark.slow

CLOUD, HOME = "198.51.100.7", "203.0.113.7"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Live]:
    folder = tmp_path / "screening"
    item = {"id": "a", "serve_without_user": True}
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(campaign("acme/a", item)),
    }
    campaigns = written(folder / "campaigns", documents)
    (folder / "centres.txt").write_text("198.51.100.0/24\n")
    flags = (
        "--trusted-proxies", "127.0.0.1", "--data-centres", str(folder / "centres.txt"),
        "--rate-per-address", "5/5", "--rate-per-user", "2/2", "--fastest-click-ms", "10000",
    )  # fmt: skip
    with Live(folder / "data", campaigns, None, *flags) as live:
        yield live


def one_ad(server: Live, user: str) -> Any:
    """A machine that has other things to do may shed a request."""
    request = {"placements": [{"id": "top"}], "user": {"id": user}}
    for _ in range(20):
        decision = server.decide(request, x_forwarded_for=HOME)["decisions"][0]
        if decision["no_fill"] != "overloaded":
            break
        time.sleep(0.2)
    return decision["ads"][0]


def verdict(server: Live, url: str, ip: str = HOME) -> str:
    answer = server.get(url, x_forwarded_for=ip)
    billed = answer.headers["x-adserver-event"] == "accepted" and "/i/" in url
    assert answer.headers["x-adserver-billed"] == str(billed).lower()
    return answer.headers["x-adserver-event"]


def test_the_reasons_are_told_to_who_owns_them(server: Live) -> None:
    a_reader_in_a_data_centre(server)
    clicks_lead_on_whatever_they_are(server)
    too_many_of_a_user_and_of_an_address(server)
    the_reasons_are_told(server)


def a_reader_in_a_data_centre(server: Live) -> None:
    one_ad(server, "u-0")
    answer = server.decide({"placements": [{"id": "top"}]}, x_forwarded_for=f"{HOME}, {CLOUD}")
    assert answer["decisions"][0]["no_fill"] == "invalid_traffic"
    url = one_ad(server, "u-1")["impression_url"]
    assert verdict(server, url, CLOUD) == "filtered"
    assert [verdict(server, url, "203.0.113.1") for _ in range(2)] == ["accepted", "duplicate"]


def clicks_lead_on_whatever_they_are(server: Live) -> None:
    ad = one_ad(server, "u-2")
    unseen = server.get(ad["click_url"])
    verdict(server, ad["impression_url"], "203.0.113.2")
    fast = server.get(ad["click_url"])
    for click in (unseen, fast):
        assert (click.status, click.headers["x-adserver-event"]) == (302, "filtered")
        assert click.headers["location"] == "https://acme.example/"


def too_many_of_a_user_and_of_an_address(server: Live) -> None:
    mine = [verdict(server, one_ad(server, "u-3")["impression_url"], f"203.0.113.{n}") for n in (11, 12, 13)]
    assert mine == ["accepted", "accepted", "filtered"]
    crowd = [verdict(server, one_ad(server, f"c-{number}")["impression_url"]) for number in range(6)]
    assert crowd == ["accepted"] * 5 + ["filtered"]


def the_reasons_are_told(server: Live) -> None:
    path = "/v1/advertisers/acme/campaigns/a/diagnosis"
    key = server.key("advertiser", "--advertiser", "acme")
    told = server.get(path, authorization=f"Bearer {key}").json()["line_items"][0]["filtered"]
    # The second reason of one click: an event is marked once.
    assert told == {"data_centre": 1, "no_impression": 1, "user_rate": 1, "address_rate": 1}
    metrics = server.get("/metrics").body.decode()
    for reason, calls in (*told.items(), ("fast_click", 1), ("crawler", 0)):
        assert f'adserver_filtered_events_total{{reason="{reason}"}} {calls}.0' in metrics
    assert "adserver_data_centre_networks 1.0" in metrics
    document = server.get("/openapi.json").json()
    said = document["paths"]["/i/{token}"]["get"]["responses"]["200"]["description"]
    assert all(reason in said for reason in Invalid)


def test_a_server_does_not_start_with_a_list_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "centres.txt").write_text("198.51.100.0/24\n198.51.100.0/240\n")
    flags = ("--data-centres", str(tmp_path / "centres.txt"))
    with pytest.raises(RuntimeError, match=r"adserver: .*centres.txt: line 2: "):
        Live(tmp_path / "data", None, None, *flags).start()
