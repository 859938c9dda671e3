"""Which database is fit, and what is said of one that is not: never its password."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from servers.postgresql import Postgres
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from adserver import databases
from adserver.catalog.opening import open_place
from adserver.databases import Database, Unusable, connect, url_of, write_ahead
from adserver.ledger.sqlite import open_database


@pytest.mark.parametrize(
    "url",
    [
        "", "postgresql", "postgresql://user:hush@host", "mysql://user:hush@host/name", "sqlite:///hush.sqlite",
        "postgresql://user:hush@host:99x/name", "postgresql+asyncpg://user:hush@host/name",
    ],
)  # fmt: skip
def test_what_is_no_url_of_postgresql_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(Unusable, match=r"postgresql://user@host/name") as refused:
        url_of(url)
    assert "hush" not in str(refused.value)


def test_a_password_is_never_shown() -> None:
    place = Database("postgres://user:hush@127.0.0.1:1/name?password=hush", "catalog")
    assert f"{place}" == f"{place!r}" == "postgresql://user:***@127.0.0.1:1/name (catalog)"
    with pytest.raises(Unusable, match=r"\*\*\*@127.0.0.1:1/name .*cannot be used: .*refused") as refused:
        connect(place)
    assert "hush" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_of_a_database_its_schema_alone_is_seen(database: str) -> None:
    engine = connect(Database(database, "one"))
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE SCHEMA one")
        connection.exec_driver_sql("CREATE TABLE things (id int)")
    engine.dispose()
    engine = connect(Database(database, "other"))
    with engine.connect() as connection, pytest.raises(DBAPIError, match="does not exist"):
        connection.exec_driver_sql("SELECT * FROM things")
    engine.dispose()


def test_who_reads_cannot_write(database: str) -> None:
    engine = connect(Database(database, "one"), read_only=True)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="read-only"):
        connection.exec_driver_sql("CREATE SCHEMA one")
    engine.dispose()


def test_a_database_that_does_not_sync_its_commits_is_refused(postgres: Postgres, database: str) -> None:
    name = url_of(database).database
    for value, fit in (("off", False), ("local", True), ("on", True)):
        with postgres.connect(str(name)) as connection:
            connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {value}".encode())
        if fit:
            connect(Database(database, "catalog")).dispose()
        else:
            with pytest.raises(Unusable, match="cannot be used: its synchronous_commit is off"):
                connect(Database(database, "catalog"))


def test_other_databases_that_are_not_fit(
    database: str, monkeypatch: pytest.MonkeyPatch, server_ground: Path
) -> None:
    monkeypatch.setattr("adserver.databases.OLDEST", 99)
    with pytest.raises(Unusable, match=r"it is PostgreSQL \d+; 99 is the oldest that is used"):
        connect(Database(database, "catalog"))
    monkeypatch.undo()
    with Postgres(server_ground / "unsynced", {"fsync": "off"}) as server:
        url = server.create()
        with pytest.raises(Unusable, match="its fsync is off"):
            connect(Database(url, "catalog"))


@pytest.mark.parametrize("opened", [open_place, open_database])
def test_a_file_that_another_process_is_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[Path], Engine]
) -> None:
    """SQLite itself refuses at once, whatever patience it is told."""
    with closing(sqlite3.connect(tmp_path / "made", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE others (number)")
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                other.execute("COMMIT")

        monkeypatch.setattr(databases, "sleep", pause)
        opened(tmp_path / "made").dispose()
    assert len(pauses) == 3


def test_a_file_that_is_held_for_good_is_not_waited_for(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "held", isolation_level=None)) as other:
        other.execute("CREATE TABLE others (number)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE more (number)")
        with (
            closing(sqlite3.connect(tmp_path / "held")) as mine,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            write_ahead(mine, 0.05)
