"""Schemas that have changed: a note in the database says which it is of, Alembic takes it from there.

What is new is made as the tables are declared and noted as the newest; what is older goes step by step, in
the transaction of who opens it, under the lock of who writes. The tests hold both ways to the same result.
Alembic is loaded where there are steps to take: not at a usual start.
"""

from pathlib import Path
from typing import Final

from msgspec import Struct
from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from adserver.databases import Unusable

_NOTED: Final = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""As Alembic declares it."""


class Migrations(Struct, frozen=True):
    """``folder``: an environment of Alembic; ``baseline``: what it begins with, which earlier versions of the
    program made without a note of it; ``head``: what this version reads; ``read``: and those before, which
    differ from it in nothing that is only read."""

    folder: Path
    baseline: str
    head: str
    read: tuple[str, ...] = ()


def noted(connection: Connection) -> str | None:
    """None where nothing is."""
    if not inspect(connection).has_table(_NOTED.name):
        return None
    return connection.execute(select(_NOTED.c.version_num)).scalar()


def note(connection: Connection, revision: str) -> None:
    """Where nothing was noted yet."""
    _NOTED.create(connection, checkfirst=True)
    connection.execute(_NOTED.insert().values(version_num=revision))


def check(connection: Connection, migrations: Migrations) -> None:
    """For who only reads. What nobody has noted is as old as the baseline. Raises Unusable."""
    found = noted(connection) or migrations.baseline
    if found not in (migrations.head, *migrations.read):
        raise Unusable(f"its schema is of revision {found}; this program reads {migrations.head}")


def bring_up(connection: Connection, migrations: Migrations) -> None:
    """From what is noted to ``head``, in the caller's transaction. Raises Unusable for what only a newer
    version of the program knows."""
    found = noted(connection)
    if found == migrations.head:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations.folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise Unusable(f"its schema is of revision {found}, which a newer program made")
    command.upgrade(config, migrations.head)
