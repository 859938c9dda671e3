"""The catalog's schema: made at once or step by step, it is the same."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect
from test_catalog_store import LUMEN, pseudonymise

from adserver import migrating
from adserver.catalog.migrations import HEAD, MIGRATIONS
from adserver.catalog.opening import open_place, open_to_read, reading, writing
from adserver.catalog.store import Store
from adserver.catalog.tables import METADATA
from adserver.databases import Database, Place, Unusable, connect


def shape(place: Place) -> dict[str, Any]:
    """Every table as the database tells of it, and where the rows of ``catalogue`` stand."""
    engine = open_place(place)
    with reading(engine) as connection:
        seen = inspect(connection)
        tables = {
            name: (
                [(one["name"], repr(one["type"]), one["nullable"]) for one in seen.get_columns(name)],
                seen.get_pk_constraint(name)["constrained_columns"],
                sorted(str(one["column_names"]) for one in seen.get_unique_constraints(name)),
                sorted((str(one["name"]), str(one["column_names"])) for one in seen.get_indexes(name)),
            )
            for name in seen.get_table_names()
        }
        found = {"tables": tables, "rows": connection.exec_driver_sql("SELECT * FROM catalogue").all()}
        if isinstance(place, Path):
            found["said"] = sorted(
                connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'serials'").scalars()
            )
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()
    return found


def migrate(place: Place) -> None:
    """From nothing, step by step."""
    if isinstance(place, Database):
        engine = connect(place)
    else:
        engine = create_engine(f"sqlite:///{place}", isolation_level="AUTOCOMMIT")
    with writing(engine) as connection:
        if isinstance(place, Database):
            connection.exec_driver_sql(f"CREATE SCHEMA {place.schema}")
        else:
            connection.exec_driver_sql("PRAGMA user_version = 2")
        migrating.bring_up(connection, MIGRATIONS)
    engine.dispose()


def test_made_at_once_and_step_by_step_it_is_the_same(fresh: Any) -> None:
    made, migrated = fresh(), fresh()
    Store(made, pseudonymise).close()
    migrate(migrated)
    assert shape(made) == shape(migrated)
    with closing(Store(migrated, pseudonymise)) as store:
        assert store.put("publisher", "lumen", LUMEN).revision == 1
        assert store.load().publishers[0].serial == 1


def test_the_newest_step_is_the_one_this_program_reads() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS.folder))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == HEAD
    assert scripts.get_base() == MIGRATIONS.baseline


def test_what_a_newer_program_made_is_left_alone(place: Place) -> None:
    with closing(Store(place, pseudonymise)) as store, writing(store._engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unusable, match=r"cannot be used: .*revision 9999, which a newer program made"):
        Store(place, pseudonymise)
    with pytest.raises(Unusable, match=f"cannot be read: .*revision 9999; this program reads {HEAD}"):
        open_to_read(place)


def test_a_file_from_before_there_were_notes_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    with closing(Store(path, pseudonymise)) as store, writing(store._engine) as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.exec_driver_sql("DROP TABLE secrets")
    with pytest.raises(Unusable, match="of revision 0001"):
        open_to_read(path)
    with closing(Store(path, pseudonymise)) as store, reading(store._engine) as connection:
        assert migrating.noted(connection) == HEAD
    open_to_read(path).dispose()


def test_a_step_that_fails_leaves_all_as_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both, changes of tables are of the transaction."""
    with closing(Store(place, pseudonymise)) as store:
        store.put("publisher", "lumen", LUMEN)
        with pytest.raises(ZeroDivisionError), writing(store._engine) as connection:
            connection.exec_driver_sql("DROP TABLE alembic_version")
            for table in reversed(METADATA.sorted_tables):
                table.drop(connection)
            migrating.bring_up(connection, MIGRATIONS)
            1 / 0  # noqa: B018
    with closing(Store(place, pseudonymise)) as store:
        assert (store.revision(), len(store.load().publishers)) == (1, 1)
