"""Secrets of servers that share a database: one set, whoever comes first."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from adserver.catalog import secrets
from adserver.catalog.keys import Keys, KnownKeys
from adserver.catalog.opening import open_place, reading, writing
from adserver.catalog.tables import SECRETS
from adserver.databases import Database


@pytest.fixture
def shared(database: str) -> Database:
    return Database(database, "catalog")


def rows(place: Database) -> list[str]:
    engine = open_place(place)
    with reading(engine) as connection:
        found = [row.document for row in connection.execute(SECRETS.select())]
    engine.dispose()
    return found


def test_whoever_comes_first_makes_them_for_all(tmp_path: Path, shared: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: secrets.load(tmp_path / str(number), shared), range(4)))
    assert found == [found[0]] * 4
    assert len(rows(shared)) == 1
    for number in range(4):
        path = tmp_path / str(number) / secrets.FILE
        assert path.stat().st_mode & 0o777 == 0o600
        assert secrets.load(tmp_path / str(number)) == found[0]


def test_a_server_that_is_there_brings_its_own(tmp_path: Path, shared: Database) -> None:
    own = secrets.load(tmp_path / "one")
    written = (tmp_path / "one" / secrets.FILE).read_bytes()
    assert secrets.load(tmp_path / "one", shared) == own
    assert secrets.load(tmp_path / "two", shared) == own
    assert (tmp_path / "one" / secrets.FILE).read_bytes() == written == rows(shared)[0].encode()


def test_a_folder_of_another_server_is_refused_and_nothing_replaced(tmp_path: Path, shared: Database) -> None:
    own, other = secrets.load(tmp_path / "one", shared), secrets.load(tmp_path / "other")
    before = rows(shared)
    with pytest.raises(secrets.BadSecrets, match="folder and database are of different servers"):
        secrets.load(tmp_path / "other", shared)
    assert rows(shared) == before
    assert secrets.load(tmp_path / "other") == other
    assert secrets.load(tmp_path / "one", shared) == own


def test_a_damaged_row_is_an_error(tmp_path: Path, shared: Database) -> None:
    secrets.load(tmp_path, shared)
    engine = open_place(shared)
    with writing(engine) as connection:
        connection.execute(update(SECRETS).values(document="{"))
    engine.dispose()
    with pytest.raises(secrets.BadSecrets, match=r"\(catalog\) is damaged"):
        secrets.load(tmp_path, shared)


def test_keys_in_memory_are_those_there_were_when_it_was_looked(shared: Database) -> None:
    keys = Keys(shared)
    _, old = keys.create("publisher", "lumen", 0)
    known = KnownKeys(keys)
    new_id, new = keys.create("operator", "", 0)
    wrong = new[:-1] + ("A" if new[-1] != "A" else "B")
    assert [known.find(text) is not None for text in (old, new, wrong, "", "adk_")] == [True] + [False] * 4
    known.follow()
    found = known.find(new)
    assert found == keys.find(new, 0)
    assert known.find(wrong) is None
    keys.revoke(new_id)
    known.follow()
    assert known.find(new) is None
    keys.close()
