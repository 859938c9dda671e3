"""PostgreSQL as tests have it: it comes back from what tests do to it, with what was committed."""

import select
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from processes import alive

from servers.disks import grow, mounted
from servers.postgresql import ROLE, Postgres
from servers.server import ground


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that may be hurt."""
    with ground() as path, Postgres(path / "postgres") as running:
        running.execute("CREATE TABLE kept (number int)")
        yield running


def numbers(server: Postgres) -> list[int]:
    return [row[0] for row in server.execute("SELECT number FROM kept ORDER BY number")]


def test_each_test_has_a_database(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA ledger")
        connection.execute("CREATE TABLE ledger.entries (nanos bigint)")
        assert connection.execute("SELECT current_user").fetchone() == (ROLE,)


def test_and_the_next_one_another(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'ledger'").fetchone()
        assert found is None


def test_what_is_committed_is_on_disk(database: str) -> None:
    with psycopg.connect(database) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("death", ["kill9", "shut", "shut immediate"])
def test_it_comes_back_on_its_port(server: Postgres, death: str) -> None:
    before = numbers(server)
    server.execute("INSERT INTO kept SELECT count(*) FROM kept")
    port, family = server.port, server.family()
    assert len(family) > 1
    name, *mode = death.split()
    getattr(server, name)(*mode)
    assert not any(map(alive, family))
    server.start()
    assert server.port == port
    assert numbers(server) == [*before, len(before)]


@pytest.mark.slow
def test_hung_it_says_nothing_and_then_goes_on(server: Postgres) -> None:
    with server.connect() as connection:
        server.pause()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url("postgres"), connect_timeout=1)
        connection.pgconn.send_query(b"SELECT 1")
        assert not select.select([connection.fileno()], [], [], 0.2)[0]
        server.resume()
        assert select.select([connection.fileno()], [], [], 10)[0]
        while connection.pgconn.get_result() is not None:
            pass


@pytest.mark.slow
def test_on_a_disk_that_is_full_nothing_is_committed_and_it_goes_on(server_ground: Path) -> None:
    with mounted(server_ground / "small", "100M"), Postgres(server_ground / "small") as server:
        server.execute("CREATE TABLE kept (bytes text)")
        # It says so, or gives up and recovers, as the file that found no room demands.
        with pytest.raises(psycopg.Error):
            while True:
                server.execute("INSERT INTO kept SELECT repeat('x', 2000) FROM generate_series(1, 4000)")
        assert "No space left on device" in server.told()
        grow(server_ground / "small", "300M")
        server.until(server.ready, "answers again")
        [(whole,)] = server.execute("SELECT count(*) % 4000 FROM kept")
        assert whole == 0


@pytest.mark.slow
def test_a_setting_holds_over_a_restart(server: Postgres) -> None:
    server.configure("work_mem", "7MB")
    server.restart()
    assert server.execute("SHOW work_mem") == [("7MB",)]


@pytest.mark.slow
def test_one_that_cannot_start_says_why(server_ground: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended at once(.|\n)*shared_buffers"):
        Postgres(server_ground / "postgres", {"shared_buffers": "none"}).start()
