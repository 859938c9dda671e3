"""A server that is stopped in the midst of a statement holds nobody for longer than was said."""

import time
from pathlib import Path

import pytest
from servers.postgresql import Postgres
from sqlalchemy.exc import DBAPIError

from adserver.databases import Database, connect
from adserver.domain import limits
from adserver.ledger.dialects import open_database, read_database
from adserver.ledger.postgres import bounded, stream

pytestmark = pytest.mark.slow

SAID = r"said nothing for \d+ s"


@pytest.mark.slow
def test_a_hung_server_is_left(server_ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DATABASE_GRACE_S", 1)
    with Postgres(server_ground / "hung") as server:
        engine = connect(Database(server.create(), "catalog"), patience_s=1)
        with engine.connect() as connection:
            server.pause()
            began = time.monotonic()
            with pytest.raises(DBAPIError, match=SAID) as left:
                connection.exec_driver_sql("SELECT 1")
            assert 1.5 < time.monotonic() - began < 30
            assert left.value.connection_invalidated
        with pytest.raises(DBAPIError, match="timeout expired"):
            engine.connect()
        server.resume()
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
        engine.dispose()


def test_what_may_take_long_may(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DATABASE_GRACE_S", 0.2)
    place = Database(database, "ledger")
    open_database(place).dispose()
    engine = read_database(place, 1)
    with engine.connect() as connection, bounded(connection, 5):
        connection.exec_driver_sql("SELECT pg_sleep(2)")
    with engine.connect() as connection:
        assert list(stream(connection, "SELECT 1 FROM (SELECT pg_sleep(2)) AS slept")) == [(1,)]
    # It says so itself, however long it takes to say it.
    monkeypatch.setattr(limits, "DATABASE_GRACE_S", 30)
    engine.dispose()
    with engine.connect() as connection, pytest.raises(DBAPIError, match="statement timeout"):
        connection.exec_driver_sql("SELECT pg_sleep(5)")
    engine.dispose()
