"""Keys and secrets: shown once, kept as hashes, private, never replaced."""

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import held

from adserver.catalog import secrets
from adserver.catalog.keys import CACHED_MS, Keys
from adserver.databases import Place, Unusable


@pytest.fixture
def keys(place: Place) -> Iterator[Keys]:
    opened = Keys(place)
    yield opened
    opened.close()


def test_a_key_is_found_by_its_text_alone(keys: Keys) -> None:
    key_id, text = keys.create("advertiser", "solace", 1_000, read_prices=True)
    key = keys.find(text, 2_000)
    assert key is not None
    assert (key.id, key.role, key.owner, key.read_prices) == (key_id, "advertiser", "solace", True)
    assert text.startswith(f"adk_{key_id}_")
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    for other in (
        wrong,
        text + "x",
        text.upper(),
        "",
        f"adk_{key_id}_",
        f"adk_{key_id}",
        "adk__",
        "x" * 100_000,
    ):
        assert keys.find(other, 2_000) is None


def test_only_a_hash_is_kept(keys: Keys, place: Place) -> None:
    key_id, text = keys.create("operator", "", 1_000)
    secret = text.split("_", 2)[2].encode()
    assert secret not in held(place)
    assert key_id.encode() in held(place)


def test_a_revoked_key_works_at_most_a_second_longer(keys: Keys, place: Place) -> None:
    elsewhere = Keys(place)
    key_id, text = keys.create("operator", "", 0)
    assert elsewhere.find(text, 10_000) is not None
    assert keys.revoke(key_id)
    assert not keys.revoke(key_id)
    assert keys.find(text, 10_000) is None
    assert elsewhere.find(text, 10_000 + CACHED_MS - 1) is not None
    assert elsewhere.find(text, 10_000 + CACHED_MS) is None
    assert [key.revoked for key in elsewhere.list()] == [True]
    elsewhere.close()


def test_a_new_key_is_valid_at_once_elsewhere(keys: Keys, place: Place) -> None:
    elsewhere = Keys(place)
    assert elsewhere.find("adk_0000000000000000_" + "A" * 43, 0) is None
    _, text = keys.create("publisher", "lumen", 0)
    assert elsewhere.find(text, 0) is not None
    elsewhere.close()


def test_keys_differ(keys: Keys) -> None:
    texts = {keys.create("operator", "", 0)[1] for _ in range(50)}
    assert len(texts) == len(keys.list()) == 50


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    opened = Keys(path)
    with opened._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 99")
    opened.close()
    with pytest.raises(Unusable, match="has version 99"):
        Keys(path)
    path.write_bytes(b"this is not a database, " * 10)
    with pytest.raises(Unusable, match="cannot be used"):
        Keys(path)


def test_secrets_are_made_once_and_are_private(tmp_path: Path) -> None:
    first = secrets.load(tmp_path / "data")
    path = tmp_path / "data" / secrets.FILE
    assert secrets.load(tmp_path / "data") == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == [secrets.FILE]
    assert set(first.signing) == {first.current} == {1}
    values = [first.signing[1], first.mask, first.pseudonym, first.receipt]
    assert [len(value) for value in values] == [32] * 4
    assert len(set(values)) == 4


def test_many_make_the_secrets_at_once_and_all_read_the_same(tmp_path: Path) -> None:
    found: list[secrets.Secrets] = []
    threads = [threading.Thread(target=lambda: found.append(secrets.load(tmp_path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize(
    "damage",
    [
        lambda written: written.pop("mask"),
        lambda written: written.update(mask="00"),
        lambda written: written.update(extra=1),
        lambda written: written.update(current=2),
        lambda written: written.update(signing={}),
        lambda written: written.update(signing={"x": "0" * 64}, current=1),
        lambda written: written.update(signing={"1": "0" * 64, "16": "0" * 64}),
        lambda written: written.update(receipt="Z" * 64),
    ],
)
def test_damaged_secrets_are_an_error_and_stay(tmp_path: Path, damage: object) -> None:
    secrets.load(tmp_path)
    path = tmp_path / secrets.FILE
    written = json.loads(path.read_text(encoding="utf-8"))
    damage(written)  # type: ignore[operator]
    path.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(secrets.BadSecrets, match=r"is damaged .*; restore it from a backup"):
        secrets.load(tmp_path)
    assert json.loads(path.read_text(encoding="utf-8")) == written


def test_a_torn_file_of_secrets_is_an_error(tmp_path: Path) -> None:
    (tmp_path / secrets.FILE).write_bytes(b'{"signing"')
    with pytest.raises(secrets.BadSecrets, match="is damaged"):
        secrets.load(tmp_path)


def test_two_live_signing_keys(tmp_path: Path) -> None:
    secrets.load(tmp_path)
    path = tmp_path / secrets.FILE
    written = json.loads(path.read_text(encoding="utf-8"))
    written["signing"]["2"] = "ab" * 32
    written["current"] = 2
    path.write_text(json.dumps(written), encoding="utf-8")
    found = secrets.load(tmp_path)
    assert found.current == 2
    assert found.signing[2] == b"\xab" * 32
