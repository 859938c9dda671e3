"""Numbers of processes, in a real PostgreSQL: each is one data folder's for good."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from adserver.databases import Database, Unusable
from adserver.domain.workers import Peer
from adserver.ledger.ledger import CONSUMER
from adserver.ledger.machines import NUMBERS, OVER_MS, GivenUp, Machines, Taken, shares


@pytest.fixture
def one(server: Database) -> Iterator[Machines]:
    with closing(Machines(server, "one")) as machines:
        yield machines


@pytest.fixture
def two(server: Database) -> Iterator[Machines]:
    with closing(Machines(server, "two")) as machines:
        yield machines


def numbers(peers: list[Peer], machine: str) -> list[int]:
    return [peer.number for peer in peers if peer.machine == machine]


def change(server: Database, statement: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(statement.encode())


def until_gone(server: Database) -> None:
    """A server hears in its own time that a session is over, and lets go of its locks then."""
    deadline = time.monotonic() + 30
    with psycopg.connect(server.url, autocommit=True) as connection:
        while connection.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchone():
            assert time.monotonic() < deadline


def test_a_folder_has_its_numbers_again_and_no_other_gets_them(one: Machines, two: Machines) -> None:
    assert numbers(one.claim((), ["a:1", "a:2"], alone=False), "one") == [0, 1]
    assert numbers(two.claim((), ["b:1"], alone=False), "two") == [2]
    more = one.claim((), ["a:1", "a:2", "a:3"], alone=False)
    assert numbers(more, "one") == [0, 1, 3]
    fewer = one.claim((), ["a:9"], alone=False)
    assert [(peer.number, peer.serves, peer.door) for peer in fewer if peer.machine == "one"] == [
        (0, True, "a:9"), (1, False, ""), (3, False, ""),
    ]  # fmt: skip
    assert two.beat() == fewer


def test_whether_several_folders_ever_served(server: Database, one: Machines, two: Machines) -> None:
    one.claim((), ["a:1", "a:2"], alone=False)
    assert not shares(server)
    assert not shares(Path("ledger.sqlite"))
    two.claim((), ["b:1"], alone=False)
    two.close()
    two.give_up("two")
    assert shares(server)


def test_of_many_that_begin_at_once_each_has_its_own(server: Database) -> None:
    def claim(name: str) -> list[int]:
        with closing(Machines(server, name)) as machines:
            return numbers(machines.claim((), [f"{name}:1", f"{name}:2"], alone=False), name)

    Machines(server).close()
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(claim, [f"m{number}" for number in range(8)]))
    assert sorted(number for one in found for number in one) == list(range(16))


def test_two_of_one_name_are_refused_until_the_first_is_gone(server: Database, one: Machines) -> None:
    one.claim((), ["a:1"], alone=False)
    with closing(Machines(server, "one")) as copy:
        with pytest.raises(Taken, match="another process serves as this data folder"):
            copy.claim((), ["a:1"], alone=False)
        one.close()
        until_gone(server)
        assert numbers(copy.claim((), ["a:1"], alone=False), "one") == [0]


def test_a_session_that_was_cut_is_had_again(server: Database, one: Machines) -> None:
    one.claim((), ["a:1"], alone=False)
    change(
        server,
        "SELECT pg_terminate_backend(pid) FROM pg_locks "
        "WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()",
    )
    with pytest.raises(DBAPIError):
        one.beat()
    assert numbers(one.beat(), "one") == [0]
    with closing(Machines(server, "one")) as copy, pytest.raises(Taken):
        copy.claim((), ["a:1"], alone=False)


def test_who_says_nothing_of_others_serves_alone(one: Machines, two: Machines) -> None:
    one.claim((), [""], alone=True)
    with pytest.raises(Unusable, match="another data folder serves from this database"):
        two.claim((), [""], alone=True)
    one.close()
    two.give_up("one")
    assert numbers(two.claim((), [""], alone=True), "two") == [1]
    with pytest.raises(GivenUp):
        one.claim((), [""], alone=True)
    with pytest.raises(GivenUp):
        one.beat()


def test_who_serves_is_not_given_up(one: Machines, two: Machines) -> None:
    one.claim((), ["a:1"], alone=False)
    with pytest.raises(Unusable, match="machine one serves"):
        two.give_up("one")
    with pytest.raises(Unusable, match="no machine three"):
        two.give_up("three")


def test_a_folder_of_before_has_the_numbers_of_its_journals(
    server: Database, one: Machines, two: Machines
) -> None:
    names = ", ".join(f"('{name}', 1, 0)" for name in (CONSUMER, f"{CONSUMER}:1"))
    change(server, f"INSERT INTO {server.schema}.offsets (consumer, segment, byte) VALUES {names}")
    with pytest.raises(Unusable, match="posted from journals that are not here: 0, 1"):
        two.claim((), ["b:1"], alone=False)
    assert numbers(one.claim((0, 1), ["a:1"], alone=False), "one") == [0, 1]
    assert numbers(two.claim((), ["b:1"], alone=False), "two") == [2]
    with pytest.raises(Unusable, match="has journals of another: 1"):
        two.claim((1, 2), ["b:1"], alone=False)


def test_there_are_as_many_numbers_as_ids_can_tell(one: Machines, two: Machines) -> None:
    assert numbers(one.claim((), ["a"] * NUMBERS, alone=False), "one")[-1] == NUMBERS - 1
    with pytest.raises(Unusable, match=f"all {NUMBERS} numbers"):
        two.claim((), ["b:1"], alone=False)


def test_who_is_silent_for_longer_than_any_cap_is_over(
    server: Database, one: Machines, two: Machines
) -> None:
    one.claim((), ["a:1"], alone=False)
    two.claim((), ["b:1"], alone=False)
    rows = f"{server.schema}.workers SET seen_ms = seen_ms -"
    change(server, f"UPDATE {rows} {OVER_MS - 60_000} WHERE machine = 'one'")
    assert [peer.over for peer in two.beat()] == [False, False]
    change(server, f"UPDATE {rows} 120000 WHERE machine = 'one'")
    assert [peer.over for peer in two.beat()] == [True, False]
    assert two.told()[0][1] > OVER_MS
    assert [peer.over for peer in one.beat()] == [False, False]
