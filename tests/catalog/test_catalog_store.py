"""The store: round trips, serials, revisions, preconditions, conflicts, applying folders."""

import copy
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
from places import held

from adserver.catalog.folder import read_folder
from adserver.catalog.store import Store
from adserver.databases import Place
from adserver.domain.changes import Conflict, Invalid, Mismatch

LUMEN: dict[str, Any] = {
    "publisher": "lumen",
    "currency": "EUR",
    "user_space": "login",
    "placements": [
        {"id": "feed", "surface": "feed", "formats": ["native"], "feed": {"max_share": "0.06"}},
        {"id": "top", "surface": "page", "formats": ["image"]},
    ],
}
SUMMER: dict[str, Any] = {
    "advertiser": "voyages",
    "campaign": "summer",
    "currency": "EUR",
    "timezone": "Europe/Paris",
    "line_items": [
        {
            "id": "feed",
            "priority": "standard",
            "pricing": {"model": "cpm", "amount": "4.20"},
            "flight": {"start": "2026-06-01", "end": "2026-08-31"},
            "frequency_caps": [{"limit": 3, "per": "1d"}],
            "targeting": {
                "placements": ["lumen/feed"],
                "audiences": {"any": ["travellers"], "none": ["lumen/staff"]},
                "dayparts": [{"hours": "22-02"}],
            },
            "creatives": [
                {
                    "id": "card",
                    "format": "native",
                    "assets": {"title": "By night", "rating": 4},
                    "landing_url": "https://voyages.example/?c={click_id}",
                }
            ],
        }
    ],
}
TRAVELLERS: dict[str, Any] = {"user_space": "login", "users": ["u-1", "u-2", "u-1"]}
STAFF: dict[str, Any] = {"publisher": "lumen", "users": ["u-2", "u-3"], "facets": {"industry": ["Press "]}}


def pseudonymise(space: str, user: str) -> bytes:
    return blake2b(f"{space}\0{user}".encode(), digest_size=16).digest()


def changed(body: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A copy of a campaign with values of its line item replaced."""
    body = copy.deepcopy(body)
    body["line_items"][0] |= values
    return body


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = Store(place, pseudonymise)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> Store:
    store.put("publisher", "lumen", LUMEN)
    store.put("audience", "lumen/staff", STAFF)
    store.put("advertiser", "voyages", {})
    store.put("audience", "voyages/travellers", TRAVELLERS)
    store.put("campaign", "voyages/summer", SUMMER)
    return store


class TestCatalog:
    """In a file, and in PostgreSQL."""

    def test_a_new_catalog_is_empty(self, store: Store) -> None:
        catalogue = store.load()
        assert (catalogue.revision, catalogue.campaigns, catalogue.members) == (0, (), {})
        assert store.get("campaign", "voyages/summer") is None
        assert store.creative(1) is None
        assert store.archive("campaign", "voyages/summer") is False

    def test_what_was_put_is_loaded(self, world: Store) -> None:
        catalogue = world.load()
        (campaign,) = catalogue.campaigns
        (line_item,) = campaign.line_items
        (creative,) = line_item.creatives
        assert line_item.full_id == "voyages/summer/feed"
        assert line_item.pricing.amount_micros == 4_200_000
        assert line_item.targeting.clauses["audiences"].any == ("voyages/travellers",)
        assert line_item.targeting.clauses["audiences"].none == ("lumen/staff",)
        assert len(line_item.targeting.hours or ()) == 28
        assert creative.advertiser_domain == "voyages.example"
        assert creative.assets == {"title": "By night", "rating": "4"}
        (publisher,) = catalogue.publishers
        assert [placement.id for placement in publisher.placements] == ["feed", "top"]
        assert publisher.placements[0].feed is not None
        assert publisher.placements[0].render_within_ms == 900_000
        assert {audience.full_id: audience.user_space for audience in catalogue.audiences} == {
            "lumen/staff": "login",
            "voyages/travellers": "login",
        }
        assert catalogue.audiences[0].facets == {"industry": ("press",)}
        assert catalogue.members == {
            pseudonymise("login", "u-1"): ("voyages/travellers",),
            pseudonymise("login", "u-2"): ("lumen/staff", "voyages/travellers"),
            pseudonymise("login", "u-3"): ("lumen/staff",),
        }
        serials = [campaign.serial, line_item.serial, creative.serial, creative.identity, publisher.serial]
        assert min(serials) >= 1

    def test_another_process_loads_the_same(self, world: Store, place: Place) -> None:
        other = Store(place, pseudonymise)
        assert other.load() == world.load()
        world.put("campaign", "voyages/summer", changed(SUMMER, level=2))
        assert other.load() == world.load()
        assert other.load().campaigns[0].line_items[0].level == 2
        other.close()

    def test_raw_user_ids_are_nowhere(self, world: Store, place: Place) -> None:
        world.put("audience", "lumen/staff", STAFF | {"users": ["CANARY-PRIVATE-7f3"]})
        content = held(place)
        assert b"CANARY" not in content
        assert b"voyages/travellers" in content
        stored = world.get("audience", "lumen/staff")
        assert stored is not None
        assert stored.body["members"] == 1
        assert "users" not in stored.body

    def test_the_same_content_changes_nothing(self, world: Store) -> None:
        before = world.revision()
        stored = world.put("campaign", "voyages/summer", SUMMER)
        world.put("audience", "voyages/travellers", TRAVELLERS | {"users": ["u-2", "u-1"]})
        assert (stored.created, world.revision()) == (False, before)
        again = world.put("campaign", "voyages/summer", changed(SUMMER, level=1))
        assert (again.created, again.revision, world.revision()) == (False, before + 1, before + 1)
        assert again.etag != stored.etag

    def test_serials_are_given_once(self, world: Store) -> None:
        first = world.load().campaigns[0]
        empty = copy.deepcopy(SUMMER)
        empty["line_items"] = []
        world.put("campaign", "voyages/summer", empty)
        assert world.load().campaigns[0].line_items == ()
        world.put("campaign", "voyages/summer", SUMMER)
        assert world.load().campaigns[0] == first
        other = copy.deepcopy(SUMMER)
        other["campaign"] = "winter"
        world.put("campaign", "voyages/winter", other)
        winter = world.load().campaigns[1]
        assert winter.serial != first.serial
        assert winter.line_items[0].serial != first.line_items[0].serial

    def test_a_creative_has_an_identity_and_versions(self, world: Store) -> None:
        first = world.load().campaigns[0].line_items[0].creatives[0]
        body = copy.deepcopy(SUMMER)
        body["line_items"][0]["creatives"][0] |= {"weight": 7, "status": "paused"}
        world.put("campaign", "voyages/summer", body)
        turned = world.load().campaigns[0].line_items[0].creatives[0]
        assert (turned.serial, turned.identity, turned.weight) == (first.serial, first.identity, 7)
        body["line_items"][0]["creatives"][0]["landing_url"] = "https://elsewhere.example/"
        world.put("campaign", "voyages/summer", body)
        second = world.load().campaigns[0].line_items[0].creatives[0]
        assert second.serial != first.serial
        assert second.identity == first.identity
        found = world.creative(first.serial)
        assert found is not None
        assert found[0].landing_url == "https://voyages.example/?c={click_id}"
        assert (found[1].full_id, found[2]) == ("voyages/summer/feed", "voyages/summer")
        assert found[1].serial == world.load().campaigns[0].line_items[0].serial

    def test_old_creatives_outlive_their_line_item_and_campaign(self, world: Store, place: Place) -> None:
        first = world.load().campaigns[0].line_items[0].creatives[0]
        world.put("campaign", "voyages/summer", changed(SUMMER, id="renamed", creatives=[]))
        assert world.archive("campaign", "voyages/summer")
        again = Store(place, pseudonymise)
        found = again.creative(first.serial)
        assert found is not None
        assert found[0] == first
        assert found[1].id == "feed"
        assert found[1].pricing.amount_micros == 4_200_000
        again.close()

    def test_archiving_and_coming_back(self, world: Store) -> None:
        before = world.load().campaigns[0]
        assert world.archive("campaign", "voyages/summer")
        assert not world.archive("campaign", "voyages/summer")
        assert world.load().campaigns == ()
        stored = world.get("campaign", "voyages/summer")
        assert stored is not None
        assert stored.archived
        assert world.list("campaign", "voyages", None, 10) == []
        assert world.put("campaign", "voyages/summer", SUMMER, if_none_match=True).created
        assert world.load().campaigns[0] == before

    def test_archiving_an_advertiser_takes_what_is_its_own(self, world: Store) -> None:
        assert world.archive("advertiser", "voyages")
        catalogue = world.load()
        assert (catalogue.advertisers, catalogue.campaigns) == ((), ())
        assert [audience.full_id for audience in catalogue.audiences] == ["lumen/staff"]
        assert pseudonymise("login", "u-1") not in catalogue.members
        with pytest.raises(Invalid, match="is archived"):
            world.put("campaign", "voyages/summer", SUMMER)

    def test_an_audience_in_use_is_not_archived(self, world: Store) -> None:
        with pytest.raises(Conflict, match="in use by: campaign voyages/summer"):
            world.archive("audience", "lumen/staff")
        with pytest.raises(Conflict, match="in use by"):
            world.archive("publisher", "lumen")
        world.archive("campaign", "voyages/summer")
        assert world.archive("audience", "lumen/staff")
        with pytest.raises(Invalid, match="is archived"):
            world.put("campaign", "voyages/summer", SUMMER)

    def test_an_id_belongs_to_one_kind_of_owner_for_ever(self, world: Store) -> None:
        world.archive("advertiser", "voyages")
        with pytest.raises(Invalid, match="share their ids"):
            world.put("publisher", "voyages", {"currency": "EUR"})
        with pytest.raises(Invalid, match="share their ids"):
            world.put("advertiser", "lumen", {})

    def test_preconditions(self, world: Store) -> None:
        stored = world.get("campaign", "voyages/summer")
        assert stored is not None
        with pytest.raises(Mismatch, match="exists already"):
            world.put("campaign", "voyages/summer", SUMMER, if_none_match=True)
        with pytest.raises(Mismatch, match="is not what it was"):
            world.put("campaign", "voyages/summer", SUMMER, if_match='"0123"')
        with pytest.raises(Mismatch):
            world.put("campaign", "voyages/other", SUMMER | {"campaign": "other"}, if_match="*")
        with pytest.raises(Mismatch):
            world.archive("campaign", "voyages/summer", if_match="0123")
        again = world.put("campaign", "voyages/summer", changed(SUMMER, level=1), if_match=f'"{stored.etag}"')
        with pytest.raises(Mismatch):
            world.put("campaign", "voyages/summer", SUMMER, if_match=stored.etag)
        assert (
            world.put("campaign", "voyages/summer", SUMMER, if_match=f'W/"x", "{again.etag}"').etag
            == stored.etag
        )
        assert world.archive("campaign", "voyages/summer", if_match="*")

    def test_a_publisher_and_its_placements(self, world: Store) -> None:
        stored = world.get("publisher", "lumen")
        assert stored is not None
        assert stored.body == {**LUMEN, "placements": LUMEN["placements"]}
        without = {name: value for name, value in LUMEN.items() if name != "placements"}
        assert world.put("publisher", "lumen", without).etag == stored.etag
        world.put("placement", "lumen/top", {"surface": "page", "formats": ["html"]})
        after = world.get("publisher", "lumen")
        assert after is not None
        assert after.etag != stored.etag
        world.put("publisher", "lumen", LUMEN | {"placements": LUMEN["placements"][:1]}, if_match=after.etag)
        top = world.get("placement", "lumen/top")
        assert top is not None
        assert top.archived
        assert [placement.id for placement in world.load().publishers[0].placements] == ["feed"]

    def test_an_audience_keeps_its_members_where_the_body_is_silent(self, world: Store) -> None:
        facets = {"user_space": "login", "facets": {"seniority": ["director"]}}
        assert world.put("audience", "voyages/travellers", facets).body["members"] == 2
        assert pseudonymise("login", "u-1") in world.load().members
        with pytest.raises(Invalid, match="name the users again"):
            world.put("audience", "voyages/travellers", {"user_space": "elsewhere"})
        assert (
            world.put("audience", "voyages/travellers", {"user_space": "login", "users": []}).body["members"]
            == 0
        )
        assert pseudonymise("login", "u-1") not in world.load().members

    @pytest.mark.parametrize(
        ("targeting", "message"),
        [
            (
                {"placements": ["lumen/feeds"]},
                'there is no placement "lumen/feeds"; did you mean "lumen/feed"?',
            ),
            ({"publishers": ["lumens"]}, 'there is no publisher "lumens"; did you mean "lumen"?'),
            ({"audiences": ["traveller"]}, 'there is no audience "voyages/traveller"; did you mean'),
            ({"audiences": ["solace/buyers"]}, 'there is no audience "solace/buyers"'),
        ],
    )
    def test_what_a_campaign_names_must_be_there(
        self, world: Store, targeting: dict[str, Any], message: str
    ) -> None:
        world.put("advertiser", "solace", {})
        world.put("audience", "solace/buyers", {"user_space": "login", "users": ["u-9"]})
        before = world.revision()
        with pytest.raises(Invalid) as refusal:
            world.put("campaign", "voyages/summer", changed(SUMMER, targeting=targeting))
        (problem,) = refusal.value.problems
        assert problem.path == f"line_items[0].targeting.{next(iter(targeting))}"
        assert message in problem.message
        assert world.revision() == before

    def test_one_budget_has_one_currency(self, world: Store) -> None:
        world.put("advertiser", "voyages", {"currency": "USD"})
        with pytest.raises(Invalid) as refusal:
            world.put("advertiser", "voyages", {"currency": "USD", "budget": {"daily": "5.00"}})
        (problem,) = refusal.value.problems
        assert (problem.path, problem.document) == ("currency", "campaign voyages/summer")

    def test_an_advertiser_needs_no_file(self, store: Store) -> None:
        body = changed(SUMMER, targeting={})
        store.put("campaign", "voyages/summer", body)
        assert [advertiser.id for advertiser in store.load().advertisers] == ["voyages"]
        with pytest.raises(Invalid, match="there is no advertiser"):
            store.put("audience", "nobody/x", {"user_space": "login", "users": []})
        with pytest.raises(Invalid, match="there is no publisher"):
            store.put("placement", "nobody/x", {"surface": "page", "formats": ["image"]})

    def test_what_is_fixed_once_billed(self, world: Store) -> None:
        dollars = SUMMER | {"currency": "USD"}
        world.put("campaign", "voyages/summer", dollars)
        world.put("campaign", "voyages/summer", SUMMER)
        world.put("advertiser", "voyages", {"timezone": "Europe/Paris"})
        serial = world.load().campaigns[0].serial
        world.mark_billed(set())
        world.put("campaign", "voyages/summer", dollars)
        world.put("campaign", "voyages/summer", SUMMER)
        for marked in ({serial + 1000}, {serial, serial + 1000, serial + 1001}, {serial}):
            world.mark_billed(marked)
        before = world.revision()
        for body in (dollars, SUMMER | {"timezone": "UTC"}):
            with pytest.raises(Conflict, match="something was billed"):
                world.put("campaign", "voyages/summer", body)
        with pytest.raises(Conflict, match="the timezone of the advertiser voyages"):
            world.put("advertiser", "voyages", {"timezone": "Asia/Tokyo"})
        world.put("advertiser", "voyages", {"timezone": "Europe/Paris", "currency": "EUR"})
        assert world.revision() == before + 1

    def test_lists_are_paged(self, world: Store) -> None:
        for name in ("a", "b", "c"):
            world.put("campaign", f"voyages/{name}", changed(SUMMER, targeting={}) | {"campaign": name})
        first = world.list("campaign", "voyages", None, 2)
        second = world.list("campaign", "voyages", first[-1].full_id, 2)
        assert [stored.full_id for stored in first + second] == [
            "voyages/a", "voyages/b", "voyages/c", "voyages/summer",
        ]  # fmt: skip
        assert world.list("campaign", "voyage", None, 9) == []
        assert [stored.full_id for stored in world.list("advertiser", None, None, 9)] == ["voyages"]

    def test_apply_takes_what_changed_and_leaves_the_rest(self, store: Store, tmp_path: Path) -> None:
        folder = tmp_path / "campaigns"
        write(folder, "publishers/lumen.yaml", PUBLISHER)
        write(folder, "voyages/summer.yaml", CAMPAIGN)
        first = store.apply(read_folder(folder))
        assert set(first.created) == {
            "publisher lumen", "placement lumen/feed", "campaign voyages/summer", "advertiser voyages",
        }  # fmt: skip
        again = store.apply(read_folder(folder))
        assert (again.created, again.replaced, len(again.unchanged), store.revision()) == ((), (), 3, 1)
        # Changed elsewhere, the file untouched: left alone. Then the file changes too.
        write(folder, "publishers/lumen.yaml", PUBLISHER + "# a remark is no change\n")
        stored = store.get("campaign", "voyages/summer")
        assert stored is not None
        store.put("campaign", "voyages/summer", stored.body | {"status": "paused"})
        assert store.apply(read_folder(folder)).replaced == ()
        assert store.load().campaigns[0].status == "paused"
        write(folder, "voyages/summer.yaml", CAMPAIGN.replace("level: 5", "level: 2"))
        assert store.apply(read_folder(folder)).replaced == ("campaign voyages/summer",)
        assert store.load().campaigns[0].status == "active"
        # Files that went away, and objects that were archived, stay as they are.
        store.archive("campaign", "voyages/summer")
        (folder / "publishers/lumen.yaml").unlink()
        assert store.apply(read_folder(folder)).unchanged == ("campaign voyages/summer",)
        assert store.load().campaigns == ()
        assert len(store.load().publishers) == 1

    def test_apply_is_all_or_nothing_and_sees_what_the_catalog_holds(
        self, store: Store, tmp_path: Path
    ) -> None:
        folder = tmp_path / "campaigns"
        write(folder, "voyages/summer.yaml", CAMPAIGN)
        write(folder, "solace/sleep.yaml", CAMPAIGN.replace("voyages", "solace").replace("summer", "sleep"))
        with pytest.raises(Invalid) as refusal:
            store.apply(read_folder(folder))
        assert {problem.document for problem in refusal.value.problems} == {
            "voyages/summer.yaml",
            "solace/sleep.yaml",
        }
        assert (store.revision(), store.load().campaigns) == (0, ())
        store.put("publisher", "lumen", LUMEN)
        assert len(store.apply(read_folder(folder)).created) == 4
        write(folder, "voyages/summer.yaml", CAMPAIGN.replace("level: 5", "level: 3"))
        write(
            folder,
            "solace/sleep.yaml",
            CAMPAIGN.replace("voyages", "solace").replace("level: 5", "level: 99"),
        )
        with pytest.raises(Invalid):
            store.apply(read_folder(folder))
        assert {campaign.line_items[0].level for campaign in store.load().campaigns} == {5}

    def test_many_threads_put_at_once(self, world: Store) -> None:
        failures: list[BaseException] = []

        def put(name: str) -> None:
            try:
                for level in range(1, 6):
                    body = changed(SUMMER, targeting={}, level=level) | {"campaign": name}
                    world.put("campaign", f"voyages/{name}", body)
                    world.load()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=put, args=(f"c{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        campaigns = world.load().campaigns
        assert len({campaign.serial for campaign in campaigns}) == len(campaigns) == 7
        assert all(campaign.line_items[0].level == 5 for campaign in campaigns)


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


PUBLISHER = "publisher: lumen\ncurrency: EUR\nplacements:\n  - {id: feed, surface: feed, formats: [native]}\n"
CAMPAIGN = """
advertiser: voyages
campaign: summer
currency: EUR
line_items:
  - id: feed
    priority: standard
    level: 5
    pricing: {model: cpm, amount: "4.20"}
    targeting: {placements: [lumen/feed]}
"""
