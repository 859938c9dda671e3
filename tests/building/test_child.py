"""The child's own loop, in this process: what it builds is what somebody builds who comes new, whatever was
there before it and wherever the one before it was killed."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.building import blockfiles, child
from adserver.building.child import Building
from adserver.building.images import FOLDER, Images
from adserver.catalog import source
from adserver.catalog.opening import FILE
from adserver.catalog.store import Store
from adserver.domain import limits
from adserver.domain.campaign import LineItem
from adserver.domain.changes import Invalid
from adserver.engine.image import Sections
from adserver.engine.snapshot import Snapshot
from adserver.services.terms import InForce

OWNERS = ("acme", "bolt", "corn", "dune")
PLACED = ("places", "blocks", "heading")
"""Sections that say where blocks lie, which is another place for another process."""


class Killed(BaseException):
    """As by a signal: nobody handles it."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    opened = Store(data / FILE, lambda space, user: b"\0" * 16)
    opened.put("publisher", "gazette", filled_publisher(publisher()))
    yield opened
    opened.close()


def put(store: Store, name: str, *bids: int, **fields: Any) -> None:
    items = [
        {"id": f"i{n}", "pricing": {"model": "cpm", "amount": f"{bid}.00"}} for n, bid in enumerate(bids)
    ]
    store.put("campaign", name, filled_campaign(campaign(name, *items, **fields)))


def changed(store: Store, chance: random.Random) -> None:
    """By one random change."""
    owner = chance.choice(OWNERS)
    name = f"{owner}/c{chance.randrange(3)}"
    kind = chance.randrange(6)
    if kind == 0 and store.get("advertiser", owner) is not None:
        store.archive("advertiser", owner)
    elif kind == 1 and store.get("campaign", name) is not None:
        store.archive("campaign", name)
    elif kind == 2:
        budget = {"daily": f"{chance.randrange(1, 4)}.00"}
        store.put("advertiser", owner, {"legal_name": chance.choice("abc"), "budget": budget})
    else:
        caps = [{"limit": 2, "per": "1h", "scope": "advertiser"}]
        bids = [chance.randrange(1, 5) for _ in range(chance.randrange(1, 4))]
        put(store, name, *bids, labels=[chance.choice("xyz")])
        body = store.get("campaign", name)
        assert body is not None
        body.body["line_items"][0]["frequency_caps"] = caps[: chance.randrange(2)]  # type: ignore[index]
        store.put("campaign", name, body.body)


def served(data: Path, name: str) -> Snapshot:
    return Images(data).open(name, checked=False)


def whole(data: Path, name: str) -> dict[str, bytes]:
    """All an image says, with its blocks, but for where these lie."""
    given = Sections((data / FOLDER / name).read_bytes())
    told = {section: bytes(given.bytes(section)) for section in given.names if section not in PLACED}
    files = [(data / FOLDER / store).read_bytes() for store in served(data, name).stores]
    places = given.numbers("places", "Q").tolist()
    for block in range(0, len(places), 4):
        of, at, size, _ = places[block : block + 4]
        told[f"block {block // 4}"] = files[of - 1][at : at + size]
    return told


def afresh(data: Path) -> dict[str, bytes]:
    """What is built by who has nothing."""
    copy = data.with_name("afresh")
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    with closing(sqlite3.connect(data / FILE)) as file, closing(sqlite3.connect(copy / FILE)) as other:
        file.backup(other)
    told = Building(copy, "").look()
    assert told is not None and not told.error
    return whole(copy, told.image)


def build(building: Building) -> str:
    told = building.look()
    assert told is not None and not told.error
    return told.image


def test_change_by_change_and_process_by_process_it_is_the_same(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where files are gathered all the time, and where several changes come at once."""
    monkeypatch.setattr(blockfiles, "_WASTED_BYTES", 0)
    monkeypatch.setattr(child, "_BATCH_BYTES", 1)
    for seed in range(3):
        chance, building = random.Random(seed), Building(data, "")
        for _ in range(14):
            for _ in range(chance.choice((1, 1, 3))):
                with suppress(Invalid):  # what is archived is put again another time
                    changed(store, chance)
            if (told := building.look()) is None:
                continue
            assert whole(data, told.image) == afresh(data)
            listed = {f"{c.advertiser}/{c.id}": c for c in store.load().campaigns}
            assert dict(served(data, told.image).campaigns) == listed
            if chance.random() < 0.4:
                building.tidy()
            Images(data).sweep(served(data, told.image).stores)
            if chance.random() < 0.4:
                building = Building(data, told.image)


def asking(store: Store, name: str, *asked: str) -> None:
    """Line items that require a text of these names."""
    bids = [{"id": f"i{n}", "targeting": {"custom": f'{one} = "sport"'}} for n, one in enumerate(asked)]
    store.put("campaign", name, filled_campaign(campaign(name, *bids)))


def taken_over(snapshot: Snapshot, fresh: Snapshot, before: list[LineItem]) -> int:
    """How many line items are those of ``before``; all are what is decoded anew, whatever they are."""
    taken = 0
    for position in range(len(fresh.entries)):
        mine, anew = snapshot.entries[position], fresh.entries[position]
        terms = InForce(snapshot).line_item(anew.line_item.serial)
        assert terms == InForce(fresh).line_item(anew.line_item.serial)
        assert asdict(mine) == asdict(anew)
        taken += any(mine.line_item is one for one in before)
    before[:] = [snapshot.entries[position].line_item for position in range(len(fresh.entries))]
    return taken


def test_what_a_snapshot_decoded_is_taken_over_by_the_next(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where files are gathered, so that blocks move, and where the names change that the index knows."""
    monkeypatch.setattr(blockfiles, "_WASTED_BYTES", 0)
    monkeypatch.setattr(limits, "NAMES_INDEXED", 1)
    chance, images, building = random.Random(5), Images(data), Building(data, "")
    taken, before = 0, list[LineItem]()
    asking(store, "egret/one", "section")
    for turn in range(40):
        with suppress(Invalid):
            changed(store, chance)
        asking(store, "fern/one", *chance.choice((("page.kind", "page.kind"), ("page.kind", "section"))))
        if (told := building.look()) is None:
            continue
        snapshot = images.open(told.image)
        taken += taken_over(snapshot, served(data, told.image), before)
        if turn % 7 == 0:
            building.tidy()
        images.sweep(snapshot.stores)
    assert taken > 40


def test_what_lay_in_another_file_is_not_taken_over(data: Path, store: Store) -> None:
    """Each process begins a file of its own, in which a block lies where another lay in the last."""
    images, image, before = Images(data), "", list[LineItem]()
    for bid in range(1, 6):
        put(store, "acme/one", bid)
        image = build(Building(data, image))
        snapshot = images.open(image)
        assert taken_over(snapshot, served(data, image), before) == 0
        images.sweep(snapshot.stores)


def test_an_empty_catalogue(data: Path, store: Store) -> None:
    building = Building(data, "")
    assert not list(served(data, build(building)).entries)
    put(store, "acme/one", 1)
    assert len(served(data, build(building)).entries) == 1
    store.archive("advertiser", "acme")
    name = build(building)
    assert not list(served(data, name).entries) and not dict(served(data, name).advertisers)
    assert whole(data, name) == afresh(data)


def test_who_comes_next_reads_no_document_again(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, owner in enumerate(OWNERS):
        put(store, f"{owner}/one", number + 1)
        put(store, f"{owner}/two", number + 1)
    name = build(Building(data, ""))
    read: list[str] = []
    draft_of = source.draft_of
    monkeypatch.setattr(source, "draft_of", lambda row: (read.append(row.full_id), draft_of(row))[1])
    building = Building(data, name)
    assert building.look() is None, "it is in service"
    assert [one for one in read if "/" in one] == ["gazette/top"]
    del read[:]
    put(store, "bolt/two", 9)
    assert whole(data, build(building)) == afresh(data)
    assert read[:2] == ["bolt", "bolt/two"]
    # While nobody ran.
    put(store, "corn/one", 9)
    del read[:]
    name = build(Building(data, ""))
    assert "bolt/two" not in read and "corn/one" in read
    assert whole(data, name) == afresh(data)


@pytest.mark.slow
def test_killed_at_any_write_the_next_one_goes_on(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "_BATCH_BYTES", 1)
    for number, owner in enumerate(OWNERS):
        put(store, f"{owner}/one", number + 1, 2)
    first = build(Building(data, ""))
    served_on = served(data, first)
    put(store, "bolt/one", 7)
    put(store, "corn/two", 7)
    plain, left = FileIO.write, 0

    class Killing(FileIO):
        def write(self, given: Any) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                plain(self, bytes(given)[: len(given) // 2])
                raise Killed
            return plain(self, given)

    opened = Path.open

    def open_(path: Path, mode: str = "r", buffering: int = -1) -> Any:
        return opened(path, mode) if buffering else Killing(path, mode)

    for writes in range(200):
        left = writes
        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", open_)
            try:
                told = Building(data, first).look()
            except Killed:
                told = None
        if told is not None:
            break
        name = build(Building(data, first))
        assert whole(data, name) == afresh(data)
        Images(data).remove(name)
        for path in (data / FOLDER).glob("*.blocks"):
            if path.name not in served_on.stores:
                path.unlink()
    assert writes > 8 and told is not None and whole(data, told.image) == afresh(data)
    assert len(served_on.entries) == 8, "what was in service is"


def test_serials_of_another_history_are_not_believed(data: Path, store: Store) -> None:
    """A catalog brought back from a backup gave the same objects other serials, at the same revisions."""
    with sqlite3.connect(data / FILE) as backup, closing(sqlite3.connect(data / "backup")) as copy:
        backup.backup(copy)
    put(store, "acme/one", 1)
    put(store, "bolt/one", 1)
    build(Building(data, ""))
    with closing(sqlite3.connect(data / "backup")) as copy, closing(sqlite3.connect(data / FILE)) as file:
        copy.backup(file)
    put(store, "acme/one", 1, 2)
    put(store, "bolt/one", 1)
    found = served(data, build(Building(data, "")))
    assert dict(found.campaigns) == {f"{c.advertiser}/{c.id}": c for c in store.load().campaigns}


def test_a_file_that_took_the_place_of_another_is_mapped_anew(data: Path, store: Store) -> None:
    """Of the same name and size: the folder was emptied under a running server."""
    images = Images(data)
    put(store, "acme/one", 1)
    name = build(Building(data, ""))
    first = images.open(name)
    for path in (data / FOLDER).iterdir():
        path.unlink()
    put(store, "acme/one", 2)
    second = images.open(build(Building(data, "")))
    found = [[entry.line_item.pricing.amount_micros for entry in one.entries] for one in (first, second)]
    assert (found, first.stores) == ([[1_000_000], [2_000_000]], second.stores)


def test_only_files_older_than_those_in_use_are_swept(data: Path, store: Store) -> None:
    """A newer one is perhaps of the image that is being written."""
    images = Images(data)
    images.clear("")
    for name in ("1.blocks", "2.blocks", "3.blocks", "10.blocks", "x.image"):
        (data / FOLDER / name).touch()
    images.sweep(("2.blocks", "3.blocks"))
    assert {path.name for path in (data / FOLDER).iterdir()} == {
        "2.blocks", "3.blocks", "10.blocks", "x.image",
    }  # fmt: skip
    images.sweep(())
    images.clear("y.image")
    assert len(list((data / FOLDER).iterdir())) == 3
