"""Diagnosis over HTTP: what is documented is what is answered, to whom it belongs."""

from collections.abc import Iterator

import msgspec
import pytest
from live import Answer, Live, written
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.api.answers import CampaignDiagnosis, PlacementDiagnosis

pytestmark = pytest.mark.slow

CAMPAIGN = "/v1/advertisers/acme/campaigns/a/diagnosis"
PLACEMENT = "/v1/publishers/gazette/placements/top/diagnosis"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("diagnosis")
    documents = {
        "publishers/gazette.json": filled_publisher(publisher()),
        "acme/a.json": filled_campaign(campaign("acme/a", {"id": "l"})),
        "bolt/b.json": filled_campaign(
            campaign("bolt/b", {"id": "l", "pricing": {"model": "cpm", "amount": "3.00"}})
        ),
    }
    with Live(folder / "data", written(folder / "campaigns", documents)) as live:
        for _ in range(4):
            ad = live.decide({"placements": [{"id": "top"}]})["decisions"][0]["ads"][0]
            live.get(ad["impression_url"])
        yield live


def ask(server: Live, path: str, *role: str) -> Answer:
    return server.get(path, authorization=f"Bearer {server.key(*role)}")


def test_a_campaign(server: Live) -> None:
    told = msgspec.json.decode(ask(server, CAMPAIGN).body, type=CampaignDiagnosis)
    (line_item,) = told.line_items
    assert (told.rate, told.hours, line_item.eligible, line_item.won) == (1, 24, 4, 0)
    assert [(loss.reason, loss.count) for loss in line_item.losses] == [("outbid", 4)]
    assert line_item.change is not None and line_item.change.change == "pricing.amount"
    assert ask(server, CAMPAIGN).json()["line_items"][0]["change"]["to_micros"] == 3_000_001


def test_a_placement(server: Live) -> None:
    told = msgspec.json.decode(ask(server, f"{PLACEMENT}?hours=1").body, type=PlacementDiagnosis)
    assert (told.hours, told.eligible, told.won, told.rendered) == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [
        (CAMPAIGN, ("advertiser", "--advertiser", "acme"), 200),
        (CAMPAIGN, ("advertiser", "--advertiser", "bolt"), 404),
        (CAMPAIGN, ("publisher", "--publisher", "gazette"), 404),
        (PLACEMENT, ("publisher", "--publisher", "gazette"), 200),
        (PLACEMENT, ("publisher", "--publisher", "other"), 404),
        (PLACEMENT, ("advertiser", "--advertiser", "acme"), 404),
        (f"{CAMPAIGN}?hours=0", ("operator",), 400),
        (f"{PLACEMENT}?hours=day", ("operator",), 400),
        (CAMPAIGN.replace("/a/", "/none/"), ("operator",), 404),
    ],
)
def test_to_whom_it_belongs(server: Live, path: str, role: tuple[str, ...], status: int) -> None:
    assert ask(server, path, *role).status == status


def test_an_advertiser_is_not_told_what_others_bid(server: Live) -> None:
    answer = ask(server, CAMPAIGN, "advertiser", "--advertiser", "acme")
    assert answer.json()["line_items"][0]["change"]["to_micros"] is None
    assert b"bolt" not in answer.body and b"3000" not in answer.body


def test_it_needs_a_key_and_is_documented(server: Live) -> None:
    assert server.get(CAMPAIGN).status == 401
    paths = server.get("/openapi.json").json()["paths"]
    for path in ("advertisers/{owner}/campaigns", "publishers/{owner}/placements"):
        operation = paths[f"/v1/{path}/{{id}}/diagnosis"]["get"]
        assert [one["name"] for one in operation["parameters"]] == ["owner", "id", "hours"]
