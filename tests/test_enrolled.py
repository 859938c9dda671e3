"""A server's place among those that share a database: its folder's identity, and who is refused one."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adserver.catalog import secrets
from adserver.catalog.secrets import BadSecrets
from adserver.commands.machines import machines
from adserver.databases import Unusable
from adserver.domain import limits
from adserver.domain.workers import ALONE, Peer
from adserver.machines import enrolled, identity
from adserver.options import Wrong
from adserver.settings import Settings


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MACHINE_SETTLE_S", "MACHINE_CLAIM_S", "MACHINE_BEAT_S"):
        monkeypatch.setattr(limits, name, 0.0)


def of(data: Path, url: str = "", errands: str = "") -> Settings:
    return Settings(data=data, database=url, errands=errands, redis="redis://r" if errands else "")


def test_an_identity_is_made_once_and_never_guessed(tmp_path: Path) -> None:
    made = identity(tmp_path / "data")
    assert identity(tmp_path / "data") == made != identity(tmp_path / "other")
    (tmp_path / "data" / "machine").write_text("")
    with pytest.raises(Unusable, match="damaged"):
        identity(tmp_path / "data")


def test_who_serves_from_files_is_nobodys_machine(tmp_path: Path) -> None:
    with enrolled(of(tmp_path / "data"), [""]) as mine:
        assert mine.worker() is ALONE
    assert not (tmp_path / "data").exists()


def test_a_database_serves_one_folder_unless_they_say_where_they_are(tmp_path: Path, database: str) -> None:
    with enrolled(of(tmp_path / "one", database), [""]) as one:
        assert one.worker() is ALONE
        with (
            pytest.raises(Unusable, match="another data folder serves"),
            enrolled(of(tmp_path / "two", database), [""]),
        ):
            pass
        with pytest.raises(Unusable, match="another process"), enrolled(of(tmp_path / "one", database), [""]):
            pass
    doors = of(tmp_path / "one", database, "a:1"), of(tmp_path / "two", database, "b:1")
    with enrolled(doors[0], ["a:1"]) as one, enrolled(doors[1], ["b:1", "b:2"]) as two:
        assert one.worker().number == 0
        assert [(peer.number, peer.door) for peer in two.peers] == [(0, "a:1"), (1, "b:1"), (2, "b:2")]
        assert asyncio.run(heard(one)) == two.peers


async def heard(mine: Any) -> tuple[Peer, ...]:
    told = asyncio.get_running_loop().create_future()
    following = asyncio.create_task(mine.follow(told.set_result, print))
    found: tuple[Peer, ...] = await asyncio.wait_for(told, 20)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    return found


def test_a_folder_of_other_servers_gets_no_number(tmp_path: Path, database: str) -> None:
    with enrolled(of(tmp_path / "one", database, "a:1"), ["a:1"]):
        pass
    secrets.load(tmp_path / "other")
    with pytest.raises(BadSecrets), enrolled(of(tmp_path / "other", database, "b:1"), ["b:1"]):
        pass
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT number FROM ledger.workers").fetchall() == [(0,)]


def test_an_operator_sees_them_and_gives_one_up(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = of(tmp_path / "one", database, "a:1")
    machines(settings, "")
    assert capsys.readouterr().out == "nobody has served from it yet\n"
    with enrolled(settings, ["a:1", "a:2"]) as mine:
        machines(settings, "")
        lines = rf"{mine.machine}: workers 0 a:1, 1 a:2; heard of \d+ s ago\n"
        assert re.fullmatch(lines, capsys.readouterr().out)
        with pytest.raises(Wrong, match="serves"):
            machines(settings, mine.machine)
    machines(settings, mine.machine)
    assert capsys.readouterr().out == f"{mine.machine}: workers 0 a:1, 1 a:2; given up\n"
    with pytest.raises(Unusable, match="was given up"), enrolled(settings, ["a:1"]):
        pass
    with pytest.raises(Wrong, match="share a database"):
        machines(of(tmp_path), "")
