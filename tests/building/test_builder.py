"""The builder's child and the server's end of it, with real processes over a real catalog."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvloop
from processes import alive
from world import campaign, filled_campaign, filled_publisher, publisher

from adserver.building import child
from adserver.building.builder import Builder, NotBuilt
from adserver.building.child import Building
from adserver.building.images import FOLDER, Images
from adserver.catalog.opening import FILE
from adserver.catalog.store import Store
from adserver.engine.snapshot import Snapshot

pytestmark = pytest.mark.slow

WITHIN_S = 120.0
"""For what a child does; a busy machine takes its time to start one."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def store(data: Path) -> Iterator[Store]:
    opened = Store(data / FILE, lambda space, user: b"\0" * 16)
    opened.put("publisher", "gazette", filled_publisher(publisher()))
    put(opened, "1.00")
    yield opened
    opened.close()


def put(store: Store, amount: str, name: str = "acme/spring") -> int:
    """Put a campaign with this bid; the revision that makes."""
    item = {"id": "a", "pricing": {"model": "cpm", "amount": amount}}
    return store.put("campaign", name, filled_campaign(campaign(name, item))).revision


def bids(snapshot: Snapshot) -> list[int]:
    return sorted(entry.line_item.pricing.amount_micros for entry in snapshot.entries)


def images(data: Path) -> list[str]:
    """All that is in the folder beside blocks."""
    return sorted(path.name for path in (data / FOLDER).iterdir() if path.suffix != ".blocks")


def with_builder(data: Path, store: Store, play: Callable[[Builder], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        builder = Builder(data, store)
        try:
            return await asyncio.wait_for(play(builder), WITHIN_S)
        finally:
            await builder.end()

    return uvloop.run(whole())


async def following(builder: Builder) -> Snapshot:
    snapshot = await builder.newer()
    assert snapshot is not None
    return snapshot


def pid_of(builder: Builder) -> int:
    pid = builder._child.pid
    assert pid is not None
    return pid


# -- following ---------------------------------------------------------------------------------------


def test_the_first_snapshot_and_every_change(data: Path, store: Store) -> None:
    async def play(builder: Builder) -> None:
        assert bids(await following(builder)) == [1_000_000]
        put(store, "2.00")
        builder.look()
        assert bids(await following(builder)) == [2_000_000]
        # By another process, which tells nobody.
        revision = put(store, "3.00")
        found = await following(builder)
        assert (bids(found), found.revision) == ([3_000_000], revision)
        assert len(images(data)) == 1, "what is no longer in service is removed"

    with_builder(data, store, play)


def test_of_many_changes_the_last_is_what_is_built(data: Path, store: Store) -> None:
    async def play(builder: Builder) -> None:
        await following(builder)
        revision = 0
        for number in range(20):
            revision = put(store, f"{number + 2}.00")
            builder.look()
        seen = [0]
        while seen[-1] != revision:
            seen.append((snapshot := await following(builder)).revision)
        assert bids(snapshot) == [21_000_000]
        assert seen == sorted(set(seen)), "never back"

    with_builder(data, store, play)


def test_an_old_snapshot_serves_on_when_its_file_is_gone(data: Path, store: Store) -> None:
    async def play(builder: Builder) -> None:
        first = await following(builder)
        put(store, "2.00")
        await following(builder)
        assert bids(first) == [1_000_000]

    with_builder(data, store, play)


# -- what an earlier process left --------------------------------------------------------------------


def leave(data: Path, store: Store) -> Path:
    """An image of the catalogue as it is, as a server that ended left it."""

    async def play(builder: Builder) -> None:
        await following(builder)

    with_builder(data, store, play)
    (name,) = images(data)
    return data / FOLDER / name


def test_what_was_built_before_is_mapped_without_a_child(data: Path, store: Store) -> None:
    leave(data, store)

    async def play(builder: Builder) -> None:
        assert bids(await following(builder)) == [1_000_000]
        assert builder._child.pid is None
        put(store, "2.00")
        assert bids(await following(builder)) == [2_000_000]

    with_builder(data, store, play)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["image", "blocks"])
@pytest.mark.parametrize("damage", ["short", "empty", "other", "holes", "a bit", "none"])
def test_what_is_no_good_is_built_again(data: Path, store: Store, damage: str, file: str) -> None:
    image = leave(data, store)
    left = image if file == "image" else image.with_name("1.blocks")
    told = Images(data).open(image.name).revision
    whole = left.read_bytes()
    half = len(whole) // 2
    left.write_bytes(
        {
            "short": whole[:-100],
            "empty": b"",
            "other": b"x" * len(whole),
            "holes": whole[:half] + bytes(len(whole) - half),
            "a bit": whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :],
            "none": whole,
        }[damage]
    )
    if damage == "none":
        left.unlink()

    async def play(builder: Builder) -> None:
        found = await following(builder)
        assert (bids(found), found.revision) == ([1_000_000], told)
        assert builder._child.pid is not None, "it was built"
        assert image.exists()

    with_builder(data, store, play)


def test_an_image_of_another_catalogue_of_the_same_revision(data: Path, store: Store) -> None:
    """A catalog brought back from a backup and changed again has the numbers of what it forgot."""
    with sqlite3.connect(data / FILE) as backup, closing(sqlite3.connect(data / "backup")) as copy:
        backup.backup(copy)
    put(store, "2.00")
    leave(data, store)
    with closing(sqlite3.connect(data / "backup")) as copy, closing(sqlite3.connect(data / FILE)) as file:
        copy.backup(file)
    put(store, "3.00")

    async def play(builder: Builder) -> None:
        assert bids(await following(builder)) == [3_000_000]

    with_builder(data, store, play)


def test_what_a_killed_child_left_half_written_is_removed(data: Path, store: Store) -> None:
    left = leave(data, store)
    half = left.with_name(f"{left.name}.partial")
    half.write_bytes(b"half")

    async def play(builder: Builder) -> None:
        await following(builder)
        assert images(data) == [left.name]

    with_builder(data, store, play)


# -- trouble -----------------------------------------------------------------------------------------


def test_a_killed_child_is_started_again(data: Path, store: Store) -> None:
    async def play(builder: Builder) -> None:
        await following(builder)
        before = pid_of(builder)
        os.kill(before, signal.SIGKILL)
        with pytest.raises(NotBuilt, match="-9"):
            await builder.newer()
        put(store, "2.00")
        builder.look()
        assert bids(await following(builder)) == [2_000_000]
        assert pid_of(builder) != before

    with_builder(data, store, play)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_child_that_is_told_to_end_leaves_that_to_the_server(data: Path, store: Store, number: int) -> None:
    """As all processes of a terminal, or of a group, are told at once."""

    async def play(builder: Builder) -> None:
        await following(builder)
        before = pid_of(builder)
        os.kill(before, number)
        put(store, "2.00")
        assert bids(await following(builder)) == [2_000_000]
        assert pid_of(builder) == before

    with_builder(data, store, play)


def test_a_child_killed_while_it_builds_loses_nothing(data: Path, store: Store) -> None:
    async def play(builder: Builder) -> None:
        await following(builder)
        os.kill(pid_of(builder), signal.SIGSTOP)
        put(store, "2.00")
        builder.look()
        os.kill(pid_of(builder), signal.SIGKILL)
        with pytest.raises(NotBuilt):
            await builder.newer()
        assert bids(await following(builder)) == [2_000_000]

    with_builder(data, store, play)


def test_a_document_of_another_version_is_passed_by(data: Path, store: Store) -> None:
    async def play(builder: Builder) -> None:
        await following(builder)
        with closing(sqlite3.connect(data / FILE)) as file, file:
            file.execute("UPDATE catalogue SET revision = revision + 1")
            file.execute(
                "UPDATE objects SET body = ?, etag = 'new', revision = (SELECT revision FROM catalogue) "
                "WHERE kind = 'campaign'",
                (b'{"campaign":"spring","advertiser":"acme","hologram":true}',),
            )
        with pytest.raises(NotBuilt, match="campaign acme/spring "):
            await builder.newer()
        put(store, "2.00")
        assert bids(await following(builder)) == [2_000_000]

    with_builder(data, store, play)


def test_a_disk_without_room_is_tried_again(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child's own loop, in this process: the revision is the same, so only time brings it back."""
    monkeypatch.setattr(child, "RETRY_S", 0.0)
    folder = Images(data)
    folder.clear("")
    building = Building(data, "")
    full = True

    def write(self: Images, name: str, pieces: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        written(self, name, pieces)

    written = Images.write
    monkeypatch.setattr(Images, "write", write)
    for _ in range(2):
        told = building.look()
        assert told is not None and "No space left" in told.error
    full = False
    told = building.look()
    assert told is not None and (told.error, images(data)) == ("", [told.image])
    assert building.look() is None


def test_a_folder_that_was_removed_is_made_again(data: Path, store: Store) -> None:
    async def play(builder: Builder) -> None:
        await following(builder)
        shutil.rmtree(data / FOLDER)
        put(store, "2.00")
        assert bids(await following(builder)) == [2_000_000]

    with_builder(data, store, play)


def test_an_image_that_was_removed_before_it_was_mapped(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(builder: Builder) -> None:
        await following(builder)
        monkeypatch.setattr(Images, "open", lambda self, name, checked: missing(self.remove(name), name))
        put(store, "2.00")
        with pytest.raises(NotBuilt, match="cannot be mapped"):
            await builder.newer()
        monkeypatch.undo()
        with pytest.raises(NotBuilt, match="-9"):
            await builder.newer()
        assert bids(await following(builder)) == [2_000_000], "nobody changed anything since"

    def missing(_: None, name: str) -> memoryview:
        raise FileNotFoundError(2, "No such file or directory", name)

    with_builder(data, store, play)


def test_nothing_half_written_is_left(data: Path) -> None:
    folder = Images(data)
    folder.clear("")

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        folder.write("1-x.image", pieces())
    assert images(data) == []


# -- the end -----------------------------------------------------------------------------------------


def test_ending_while_it_builds_leaves_no_child(data: Path, store: Store) -> None:
    async def whole() -> None:
        builder = Builder(data, store)
        await following(builder)
        pid = pid_of(builder)
        os.kill(pid, signal.SIGSTOP)
        waiting = asyncio.create_task(builder.newer())
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await builder.end()
        assert await waiting is None
        assert time.monotonic() - began < WITHIN_S
        assert not alive(pid)

    asyncio.run(whole())


def test_a_killed_server_leaves_no_child(data: Path, store: Store) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from adserver.building.builder import Builder\n"
        "from adserver.catalog.store import Store\n"
        "async def main():\n"
        "    data = Path(sys.argv[1])\n"
        "    builder = Builder(data, Store(data / 'catalog.sqlite', lambda a, b: b''))\n"
        "    await builder.newer()\n"
        "    print(builder._child.pid, flush=True)\n"
        "    await builder.newer()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(data)], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert alive(pid)
        server.kill()
    deadline = time.monotonic() + WITHIN_S
    while alive(pid):
        assert time.monotonic() < deadline, "the child outlived its server"
        time.sleep(0.02)
