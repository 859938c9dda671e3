"""A server that cannot serve from its database says why, in a line, and never with its password."""

import shutil
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from servers.server import free_port

from adserver.catalog import secrets
from adserver.databases import url_of
from adserver.serving import CannotServe, open_app
from adserver.settings import Settings


def refused(data: Path, url: str, passes: bool = False) -> str:
    """``passes``: whether it may by itself."""
    with pytest.raises(CannotServe) as told:
        open_app(Settings(data=data, database=url))
    assert told.value.passes is passes
    said = str(told.value)
    assert "\n" not in said
    assert "hush" not in said
    return said


def change(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_nobody_is_there(tmp_path: Path) -> None:
    said = refused(tmp_path, f"postgresql://ads:hush@127.0.0.1:{free_port()}/ads", passes=True)
    assert "postgresql://ads:***@127.0.0.1" in said
    assert "cannot be used" in said
    assert "refused" in said


def test_it_would_lose_what_it_accepted(tmp_path: Path, database: str) -> None:
    name = url_of(database).database
    change(database, f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET synchronous_commit = off")
    assert "synchronous_commit is off" in refused(tmp_path, database)


@pytest.mark.parametrize("schema", ["catalog", "ledger"])
def test_a_newer_program_has_been_there(tmp_path: Path, database: str, schema: str) -> None:
    with closing(open_app(Settings(data=tmp_path, database=database))):
        pass
    change(database, f"UPDATE {schema}.alembic_version SET version_num = '9999'")
    said = refused(tmp_path, database)
    assert f"({schema}) cannot be used" in said
    assert "which a newer program made" in said


def test_the_folder_is_of_another_server(tmp_path: Path, database: str) -> None:
    secrets.load(tmp_path / "other")
    with closing(open_app(Settings(data=tmp_path / "one", database=database))):
        pass
    assert "folder and database are of different servers" in refused(tmp_path / "other", database)


def test_a_folder_that_served_from_files_is_refused(tmp_path: Path, database: str) -> None:
    """Its journal names what it sold by numbers that another catalogue gives to others."""
    with closing(open_app(Settings(data=tmp_path))):
        pass
    assert "has a catalogue of its own (catalog.sqlite)" in refused(tmp_path, database)


def test_the_folder_may_be_lost_and_the_secrets_are_not(tmp_path: Path, database: str) -> None:
    with closing(open_app(Settings(data=tmp_path, database=database))) as app:
        told = app.names.person("lumen", "u-1")
    shutil.rmtree(tmp_path)
    with closing(open_app(Settings(data=tmp_path, database=database))) as app:
        assert app.names.person("lumen", "u-1") == told
