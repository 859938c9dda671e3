"""Redis loses its memory while a machine is away: what is capped waits for whoever knows of it. And a machine
that never comes back: nobody waits for it any more, and the books go on without it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from leading import until
from live import REPOSITORY
from machine import Machine, owner, put, serving
from servers.redis_server import Redis
from world import campaign

from adserver.commands.machines import machines as told_of
from adserver.commands.replay import replay
from adserver.domain import limits
from adserver.ledger.leases import Leases
from adserver.ledger.ledger import Ledger
from adserver.ledger.place import place_of as books_of
from adserver.ledger.verify import verify
from adserver.options import Wrong
from adserver.settings import Settings

CAPPED = {
    "id": "capped",
    "pricing": {"model": "cpm", "amount": "20.00"},
    "frequency_caps": [{"limit": 1, "per": "1d"}],
}
SOLD = {"id": "sold", "pricing": {"model": "cpm", "amount": "10.00"}, "budget": {"lifetime": "100.00"}}
FEED = {"id": "river", "surface": "feed", "feed": {"max_share": "0.5"}}
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


@pytest.fixture
def machines(tmp_path: Path, redis_server: Redis, database: str) -> Iterator[tuple[Machine, Machine]]:
    campaigns = campaign("acme/often", CAPPED), campaign("brook/spring", SOLD)
    put(database, *campaigns, placements=[{"id": "top"}, FEED])
    one, two = (Machine(tmp_path / name, 1, redis_server.url, database) for name in ("one", "two"))
    two.with_clock()
    with serving(one, two):
        yield one, two


def shown(machine: Machine, user: str, wanted: str = "") -> Any:
    """The ad that a person gets here, once there is a lease for it: of this line item, if one is wanted."""
    found = list[Any]()

    def so() -> bool:
        found[:] = machine.ads(user)
        return bool(found) and name(found[0]) in (wanted or name(found[0]),)

    until(so)
    return found[0]


def name(ad: Any) -> str:
    return str(ad["line_item"])


def is_known(machine: Machine) -> bool:
    """Whether all of Redis is there, with all that anybody knows."""
    return machine.metrics()["adserver_state_known"] == 1.0


def page(machine: Machine, reader: str) -> Any:
    feed = {"id": "main", "page": 0, "organic_count": 20}
    return machine.asked(reader, placements=[{"id": "river", "feed": feed}])["decisions"][0]


def laid_out(slot: Any) -> tuple[Any, list[str]]:
    """What a page is, whoever answers it: its URLs lead to whoever does."""
    return slot["feed"], [ad["event_id"] for ad in slot["ads"]]


def refused(machine: Machine) -> str:
    """Why it does not start."""
    started = subprocess.run(
        machine.command(), env=machine.surroundings(), capture_output=True, text=True, timeout=60
    )
    assert started.returncode == 2, started.stderr
    return started.stderr


def waits(machine: Machine, *people: str) -> None:
    """What is capped does, and new pages do; the rest goes on."""
    until(lambda: not is_known(machine))
    for user in people:
        assert name(shown(machine, user)) == "sold"
    unknown = page(machine, "a reader")
    assert (unknown["ads"], unknown["no_fill"]) == ([], "state_unavailable")


def test_what_is_capped_waits_for_who_is_away_until_that_is_given_up(
    machines: tuple[Machine, Machine], redis_server: Redis, database: str
) -> None:
    one, two = machines
    until(lambda: is_known(one) and is_known(two))
    seen, mine = shown(two, "anna", "capped"), shown(one, "cleo", "capped")
    shown(two, "ben", "capped")
    assert one.told(seen["impression_url"])[1] == two.told(mine["impression_url"])[1] == "accepted"
    before = page(two, "dora")
    everybody = "anna", "ben", "cleo", "emil"

    # Whoever is away may know of somebody's full counters. It comes back with them.
    two.kill()
    redis_server.ask("FLUSHALL")
    waits(one, *everybody)
    two.set_clock(HOUR_MS)
    assert "s ahead of the database's" in refused(two)
    two.set_clock(0)
    two.start()
    until(lambda: is_known(one) and two.up() == [0] and is_known(two))
    for machine in machines:
        assert [name(shown(machine, user)) for user in ("anna", "ben", "cleo")] == ["sold"] * 3
        assert laid_out(page(machine, "dora")) == laid_out(before)
    shown(two, "emil", "capped")

    # A clock that is set while it serves: nobody else takes its word for what time it is.
    sold = shown(two, "anna")
    two.set_clock(HOUR_MS)
    waits(two, *everybody, "fay")
    assert "this machine's clock is ahead of its own by more than 15 s" in two.log.read_text()
    assert is_known(one)
    assert [name(shown(one, user)) for user in everybody] == ["sold"] * 4
    shown(one, "fay", "capped")
    ahead = shown(two, "gil")
    assert [one.told(ahead["impression_url"])[1] for _ in range(2)] == ["accepted", "duplicate"]

    # It never comes back.
    given_up, number = two.data.joinpath("machine").read_text().strip(), owner(seen)
    books = books_of(one.data, database)
    with closing(Ledger(books)) as ledger:
        until(lambda: sum(total.impressions for total in ledger.totals()) == 3)
    two.kill()
    redis_server.ask("FLUSHALL")
    waits(one, *everybody)
    told_of(Settings(data=one.data, database=database), given_up)
    until(lambda: is_known(one))
    # What it alone knew is lost, what others know is not; and its ads are the other's, each once.
    again = [shown(one, user, "capped") for user in ("anna", "ben", "emil")]
    assert name(shown(one, "cleo")) == "sold"
    assert page(one, "a reader")["feed"]["page"] == 0
    for ad, verdicts in ((seen, ["duplicate"] * 2), (sold, ["accepted", "duplicate"])):
        assert [one.told(ad["impression_url"])[1] for _ in range(2)] == verdicts
    two.set_clock(0)
    assert "this data folder was given up" in refused(two)

    assert one.end() == 0
    now_ms = int(time.time() * 1000)
    with closing(Leases(books, owner(mine))) as leases:
        over_ms = limits.RENDER_WITHIN_MS_MAX + limits.GRACE_MS
        assert [leases.bury(number, now_ms + ms) for ms in (0, over_ms - DAY_MS, over_ms + DAY_MS)] == [
            False, False, True,
        ]  # fmt: skip
    with closing(Ledger(books)) as ledger:
        billed = {total.line_item: total.billed_nanos for total in ledger.totals()}
        assert ledger.holders() == {owner(mine)}
    assert sorted(billed.values()) == [2 * 10_000_000, 2 * 20_000_000]
    # The books are whole; and the audit tells who was shown too much.
    copy = two.data.with_name("copy")
    subprocess.run([sys.executable, REPOSITORY / "deploy" / "backup", two.data, copy], check=True)
    wrong = verify(one.data, lambda _: None, books, [copy])
    over = [f"event {ad['event_id']}: the cap line_item:1 allows 1" for ad in again]
    assert [told.partition(" (")[0] for told in wrong] == over
    # Whoever decided an ad can do so again, and nobody else.
    assert replay(copy, seen["event_id"], as_json=False, database=database) == 0
    with pytest.raises(Wrong, match=rf"process {number} made it, of another data folder"):
        replay(one.data, seen["event_id"], as_json=False, database=database)
