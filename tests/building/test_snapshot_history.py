"""Snapshots of former revisions from a data folder: beside a server, after a restart, out of a backup."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from live import Live
from world import World, campaign, filled_campaign, filled_publisher, publisher

from adserver.building.history import snapshot_at
from adserver.building.images import FOLDER, Images
from adserver.catalog.opening import FILE
from adserver.catalog.store import Store
from adserver.domain import limits
from adserver.domain.catalogue import Gone
from adserver.duties import Duties
from adserver.engine.compile import Compiler
from adserver.engine.snapshot import Snapshot

pytestmark = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    """With revisions 1 to 4: a publisher, then bids of 1, 2 and 3."""
    opened = Store(data / FILE, lambda space, user: user.encode().ljust(16)[:16])
    opened.put("publisher", "gazette", filled_publisher(publisher()))
    for bid in (1, 2, 3):
        put(opened, bid)
    yield opened
    opened.close()


def put(store: Store, bid: int) -> int:
    item = {"id": "a", "pricing": {"model": "cpm", "amount": f"{bid}.00"}}
    return store.put("campaign", "acme/spring", filled_campaign(campaign("acme/spring", item))).revision


def bids(snapshot: Snapshot) -> list[int]:
    return [entry.line_item.pricing.amount_micros // 1_000_000 for entry in snapshot.entries]


def leave_image(data: Path, store: Store) -> Path:
    """As the builder does."""
    catalogue = store.load()
    name = Images(data).name(catalogue.revision, catalogue.digest)
    (data / FOLDER).mkdir(exist_ok=True)
    Images(data).write(name, Compiler().compile(catalogue).pieces)
    return data / FOLDER / name


def test_every_revision_of_a_folder(data: Path, store: Store) -> None:
    for revision, expected in enumerate(([], [], [1], [2], [3])):
        snapshot = snapshot_at(data, revision)
        assert (snapshot.revision, bids(snapshot)) == (revision, expected)
    with pytest.raises(Gone, match="revision 5 was never made: the newest is 4"):
        snapshot_at(data, 5)


def test_the_image_in_service_is_taken(data: Path, store: Store) -> None:
    store.put("audience", "gazette/staff", {"publisher": "gazette", "user_space": "login", "users": ["u"]})
    assert len(snapshot_at(data, 5).members) == 0
    path = leave_image(data, store)
    assert len(snapshot_at(data, 5).members) == 1, "compiled anew it has none"
    former = snapshot_at(data, 4)
    assert (former.revision, len(former.members)) == (4, 0)
    put(store, 4)
    assert len(snapshot_at(data, 5).members) == 0, "it is not the newest any more"
    assert bids(snapshot_at(data, 6)) == [4]
    assert path.exists()


@pytest.mark.parametrize("damage", ["torn", "a bid", "empty"])
def test_a_damaged_image_is_not(data: Path, store: Store, damage: str) -> None:
    path = leave_image(data, store)
    whole = path.read_bytes()
    other = whole.replace(msgspec.msgpack.encode(3_000_000), msgspec.msgpack.encode(4_000_000))
    assert other != whole
    path.write_bytes({"torn": whole[:-100], "a bid": other, "empty": b""}[damage])
    assert bids(snapshot_at(data, 4)) == [3]


def test_an_image_of_another_history_is_not(data: Path, store: Store) -> None:
    """A catalog brought back from a backup and changed again has the numbers of what it forgot."""
    backup = copied(data / FILE, data / "backup")
    put(store, 4)
    leave_image(data, store)
    copied(backup, data / FILE)
    put(store, 5)
    assert bids(snapshot_at(data, 5)) == [5]
    assert bids(snapshot_at(data, 4)) == [3]


def test_a_backup_has_the_history_up_to_then(data: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "restored").mkdir()
    copied(data / FILE, tmp_path / "restored" / FILE)
    put(store, 4)
    assert [bids(snapshot_at(tmp_path / "restored", revision)) for revision in (2, 3, 4)] == [[1], [2], [3]]
    with pytest.raises(Gone, match="never made"):
        snapshot_at(tmp_path / "restored", 5)


def copied(path: Path, to: Path) -> Path:
    with closing(sqlite3.connect(path)) as file, closing(sqlite3.connect(to)) as copy:
        file.backup(copy)
    return to


def test_no_catalog_or_another(data: Path, store: Store) -> None:
    with pytest.raises(Gone, match=r"absent/catalog\.sqlite cannot be read"):
        snapshot_at(data / "absent", 0)
    assert not (data / "absent").exists()
    store.close()
    with closing(sqlite3.connect(data / FILE)) as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(Gone, match="has version 99; this program reads version"):
        snapshot_at(data, 1)
    for path in data.glob(f"{FILE}*"):
        path.unlink()
    (data / FILE).write_bytes(b"this is not a database, " * 100)
    with pytest.raises(Gone, match="cannot be read: file is not a database"):
        snapshot_at(data, 1)


def test_beside_a_server_and_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "campaigns"
    write(folder, "publishers/gazette.json", filled_publisher(publisher()))
    spring = filled_campaign(campaign("acme/spring", {"id": "a"}))
    write(folder, "acme/spring.json", spring)
    server = Live(tmp_path / "data", folder, None)
    with server:
        bearer = f"Bearer {server.key()}"
        for bid in (7, 8):
            spring["line_items"][0]["pricing"] = {"model": "cpm", "amount": f"{bid}.00"}
            path = "/v1/advertisers/acme/campaigns/spring"
            assert server.call("PUT", path, spring, authorization=bearer).status == 200
        assert [bids(snapshot_at(server.data, revision)) for revision in (2, 3)] == [[7], [8]]
        server.kill9()
        assert [bids(snapshot_at(server.data, revision)) for revision in (2, 3)] == [[7], [8]]
        server.start()
        assert [bids(snapshot_at(server.data, revision)) for revision in (2, 3)] == [[7], [8]]
        server.stop()
    held = {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file()}
    assert [bids(snapshot_at(server.data, revision)) for revision in (2, 3)] == [[7], [8]]
    assert {path: path.read_bytes() for path in held} == held


def write(folder: Path, name: str, body: dict[str, Any]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))


def test_a_duty_forgets(tmp_path: Path) -> None:
    with World(tmp_path, publishers=[publisher("gazette")], campaigns=[campaign("acme/spring")]) as world:
        data = world.app.settings.data
        turn(world)
        world.put(campaigns=[campaign("acme/spring", {"id": "b"})])
        world.clock.ms += limits.NOTED_MS
        turn(world)
        assert [entry.line_item.id for entry in snapshot_at(data, 1).entries] != ["b"]
        world.clock.ms += limits.HISTORY_MS
        turn(world)
        with pytest.raises(Gone, match="revision 1 is no longer kept: the oldest that is, is 2"):
            snapshot_at(data, 1)


def turn(world: World) -> None:
    asyncio.run(Duties(world.app)._forget())
