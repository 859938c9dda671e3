"""The ledger's schema: made at once or step by step, it is the same."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect
from verified_samples import keep, sound

from adserver import migrating
from adserver.databases import Database, Place, Unusable, connect
from adserver.ledger.dialects import lock_for_writing, open_database, read_database
from adserver.ledger.ledger import Ledger
from adserver.ledger.migrations import HEAD, MIGRATIONS
from adserver.ledger.verify import verify
from adserver.ledger.writer import LedgerWriter

_OF_POSTGRESQL = """
SELECT relname, relkind::text, coalesce(pg_get_partkeydef(oid), ''),
    coalesce(pg_get_expr(relpartbound, oid), '')
FROM pg_class WHERE relnamespace = current_schema()::regnamespace
UNION ALL
SELECT tgrelid::regclass::text, tgname, regexp_replace(pg_get_triggerdef(oid), ' ON [^ ]+ ', ' '), ''
FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN
    (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace)
UNION ALL
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), ''
FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
UNION ALL
SELECT proname, trim(prosrc, E'\\n '), '', ''
FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
"""
"""Tables, partitions, indexes; what refuses; what is checked."""


def shape(place: Place) -> list[object]:
    """Everything the database tells of it."""
    engine = read_database(place)
    with engine.connect() as connection:
        seen = inspect(connection)
        columns = [
            (table, column["name"], repr(column["type"]), column["nullable"], column.get("default"))
            for table in sorted(seen.get_table_names())
            for column in seen.get_columns(table)
        ]
        found = sorted(row for row in _told(connection) if not row[0].startswith("alembic_version"))
    engine.dispose()
    return [columns, found]


def _told(connection: Connection) -> list[tuple[str, ...]]:
    if connection.dialect.name == "postgresql":
        return [
            tuple(" ".join(part.split()) for part in row)
            for row in connection.exec_driver_sql(_OF_POSTGRESQL)
        ]
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return [(name, " ".join(sql.replace("IF NOT EXISTS ", "").split())) for name, sql in rows]


def _engine(place: Place) -> Engine:
    return connect(place) if isinstance(place, Database) else create_engine(f"sqlite:///{place}")


def migrate(place: Place) -> None:
    """From nothing, step by step."""
    engine = _engine(place)
    with engine.begin() as connection:
        if isinstance(place, Database):
            connection.exec_driver_sql(f"CREATE SCHEMA {place.schema}")
        else:
            lock_for_writing(connection)
        migrating.bring_up(connection, MIGRATIONS)
    engine.dispose()


def another(place: Place) -> Place:
    """Beside it."""
    if isinstance(place, Database):
        return Database(place.url, f"{place.schema}_migrated")
    return place.with_name("migrated.sqlite")


def test_made_at_once_and_step_by_step_it_is_the_same(tmp_path: Path, place: Place) -> None:
    migrated = another(place)
    LedgerWriter(place).close()
    migrate(migrated)
    assert shape(migrated) == shape(place)
    keep(tmp_path, sound(), place=migrated)
    assert verify(tmp_path, lambda line: None, migrated) == []


def test_the_newest_step_is_the_one_this_program_reads() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS.folder))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == HEAD
    assert scripts.get_base() == MIGRATIONS.baseline


def test_what_a_newer_program_made_is_left_alone(tmp_path: Path, place: Place) -> None:
    keep(tmp_path, sound(), place=place)
    engine = open_database(place)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(Unusable, match=r"cannot be used: .*revision 9999, which a newer program made"):
        LedgerWriter(place)
    for read in (Ledger, lambda where: verify(tmp_path, lambda line: None, where)):
        with pytest.raises(Unusable, match=f"revision 9999; this program reads {HEAD}"):
            read(place)  # type: ignore[operator]


def test_a_file_from_before_there_were_notes_gets_one_and_keeps_its_books(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    keep(tmp_path, sound())
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE alembic_version")
        database.commit()
    assert verify(tmp_path, lambda line: None) == []
    LedgerWriter(path).close()
    assert noted(path) == [HEAD]
    assert verify(tmp_path, lambda line: None) == []


def noted(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("SELECT version_num FROM alembic_version")]
