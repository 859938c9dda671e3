"""What a builder reads of the catalog: what changed is told, what is read is what everybody reads."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from places import fresh_file, fresh_schema
from test_catalog_examination import CHANGES, STANDING, pseudonymise
from world import campaign, filled_campaign

from adserver.catalog.source import Source
from adserver.catalog.store import Store
from adserver.databases import Place
from adserver.domain.campaign import Campaign
from adserver.domain.changes import Conflict, Invalid


def of_owner(store: Store, name: str) -> list[Campaign]:
    return [one for one in store.load().campaigns if one.advertiser == name]


def serial(given: Campaign) -> int:
    return given.serial


def follow(place: Place, changes: list[Any]) -> None:
    """Of each advertiser whose digest is another, what is read, with what was known before or without, is
    what the store loads; the others are as they were."""
    store = Store(place, pseudonymise)
    source = Source(place)
    held: dict[str, tuple[str, Any]] = {}
    for change in [*STANDING, *changes]:
        try:
            store.put(*change) if len(change) == 3 else store.archive(*change)
        except (Invalid, Conflict):
            pass  # refused, it changes nothing: then the source must see nothing changed either
        loaded = store.load()
        with source.state() as state:
            changed = [name for name, key in state.owners.items() if held.get(name, ("",))[0] != key]
            known = {name: {} if name not in held else held[name][1] for name in changed}
            for one in state.documents(known):
                names = [f"{c.advertiser}/{c.id}" for c in one.campaigns]
                mine = dict(zip(zip(names, one.etags, strict=True), one.campaigns, strict=True))
                held[one.advertiser.id] = (state.owners[one.advertiser.id], mine)
                assert one.advertiser in loaded.advertisers
            held = {name: both for name, both in held.items() if name in state.owners}
            campaigns = [c for _, mine in held.values() for c in mine.values()]
            assert sorted(campaigns, key=serial) == sorted(loaded.campaigns, key=serial)
            assert sorted(held) == [advertiser.id for advertiser in loaded.advertisers]
            rest = state.rest
            assert (rest.publishers, rest.audiences) == (loaded.publishers, loaded.audiences)
            assert (rest.members, rest.digest) == (loaded.members, loaded.digest)
            assert rest.revision == loaded.revision
    store.close()
    source.close()


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_following_change_by_change_is_reading_everything(tmp_path: Path, changes: list[Any]) -> None:
    follow(fresh_file(tmp_path), changes)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES)
def test_following_change_by_change_is_reading_everything_in_postgresql(
    database: str, changes: list[Any]
) -> None:
    follow(fresh_schema(database), changes)


def test_only_what_changed_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(place, pseudonymise)
    for name in ("acme/one", "acme/two", "bolt/one"):
        store.put("campaign", name, filled_campaign(campaign(name)))
    source = Source(place)
    with source.state() as state:
        (acme,) = state.documents({"acme": {}})
        before = state.owners
    known = {(f"acme/{c.id}", etag): c for c, etag in zip(acme.campaigns, acme.etags, strict=True)}
    store.put("campaign", "acme/two", filled_campaign(campaign("acme/two", labels=["new"])))
    read: list[str] = []
    monkeypatch.setattr(
        "adserver.catalog.source.draft_of", lambda row: read.append(row.full_id) or draft_of(row)
    )
    from adserver.catalog.objects import draft_of

    with source.state() as state:
        (after,) = state.documents({"acme": known})
        assert (state.owners["bolt"], state.owners["acme"] != before["acme"]) == (before["bolt"], True)
    assert read == ["acme", "acme/two"]
    assert after.campaigns == of_owner(store, "acme")
    store.archive("advertiser", "bolt")
    with source.state() as state:
        assert list(state.owners) == ["acme"]
    store.close()
    source.close()


def test_serials_of_another_history_are_told_apart(tmp_path: Path) -> None:
    """A catalog brought back from a backup, and changed again to the same objects at the same revisions,
    may have given other serials."""
    path = tmp_path / "catalog.sqlite"

    def changed(*amounts: str) -> dict[int, str]:
        store = Store(path, pseudonymise)
        items = [{"id": f"i{number}"} for number, _ in enumerate(amounts)]
        store.put("campaign", "acme/one", filled_campaign(campaign("acme/one", *items)))
        store.put("campaign", "bolt/one", filled_campaign(campaign("bolt/one")))
        digests = {item.serial: item.full_id for c in store.load().campaigns for item in c.line_items}
        store.close()
        return digests

    def lineage() -> tuple[int, str]:
        with closing(Source(path)) as source, source.state() as state:
            last, digest = state.lineage()
            assert state.lineages([last, 1])[last] == digest
            assert state.lineage() == (last, digest)
            return last, digest

    Store(path, pseudonymise).close()
    with sqlite3.connect(path) as backup, closing(sqlite3.connect(tmp_path / "copy")) as copy:
        backup.backup(copy)
    first, (last, digest) = changed("1"), lineage()
    with closing(sqlite3.connect(tmp_path / "copy")) as copy, closing(sqlite3.connect(path)) as file:
        copy.backup(file)
    second = changed("1", "2")
    assert first != second
    with closing(Source(path)) as source, source.state() as state:
        assert state.lineages([last])[last] != digest
        assert 10**6 not in state.lineages([10**6])


def test_serials_are_told_alike_wherever_they_are(database: str, tmp_path: Path) -> None:
    """What somebody keeps of a catalog does not depend on where that is."""
    told = []
    for place in (fresh_file(tmp_path), fresh_schema(database)):
        store = Store(place, pseudonymise)
        for name in ("bolt/one", "acme/two", "acme/one"):
            store.put("campaign", name, filled_campaign(campaign(name)))
        with closing(Source(place)) as source, source.state() as state:
            told.append((state.lineage(), state.lineages([1, 3]), state.owners, store.content()))
        store.close()
    assert told[0] == told[1]
