"""Posting into a database that is away for a while: events wait in the journal, and each is posted once."""

import re
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from servers.postgresql import Postgres
from test_clerk import Office, pid_of, posted_to, with_clerk

from adserver.ledger.verify import verify
from adserver.posting.clerk import Clerk, NotPosted


async def told(clerk: Clerk, why: str) -> None:
    """Listen until this is told of why posting waits. A database that falls may be told of in two ways."""
    while True:
        try:
            await clerk.hear()
        except NotPosted as error:
            if re.search(why, str(error)):
                return


@pytest.mark.slow
def test_a_database_that_falls_and_comes_back(server_ground: Path, tmp_path: Path) -> None:
    with (
        Postgres(server_ground / "postgres") as postgres,
        closing(Office(tmp_path, postgres.create())) as office,
    ):

        async def play(clerk: Clerk) -> None:
            await posted_to(clerk, office, office.sell(50))
            for _ in range(3):
                postgres.shut("immediate")
                clerk.ask(office.sell(50))
                await told(clerk, r"connect|terminat|server")
                assert clerk.failing
                postgres.start()
                await posted_to(clerk, office, office.sell(1))
                assert not clerk.failing
            postgres.shut("immediate")
            clerk.ask(office.sell(10))
            for _ in range(2):
                pid = pid_of(clerk)
                clerk._child.kill()
                await told(clerk, "ended with -9")
                await told(clerk, "connect")
                assert pid_of(clerk) != pid, "one that began while the database was away"
            postgres.start()
            await posted_to(clerk, office, office.sell(1))

        with_clerk(office, play)
        assert office.posted() == 50 + 3 * 51 + 11
        assert verify(office.data, lambda line: None, office.place) == []


def test_what_the_database_refuses_of_many_rows_is_told(tmp_path: Path, database: str) -> None:
    """Rows that are copied, not inserted one by one; by the child that goes on."""
    with closing(Office(tmp_path, database)) as office, psycopg.connect(database, autocommit=True) as other:
        other.execute("SET search_path = ledger")

        async def play(clerk: Clerk) -> None:
            await posted_to(clerk, office, office.sell(1))
            pid = pid_of(clerk)
            other.execute("ALTER TABLE events ADD CONSTRAINT no_room CHECK (false) NOT VALID")
            until = office.sell(50)
            clerk.ask(until)
            await told(clerk, "no_room")
            other.execute("ALTER TABLE events DROP CONSTRAINT no_room")
            await posted_to(clerk, office, until)
            assert pid_of(clerk) == pid

        with_clerk(office, play)
        assert office.posted() == 51
