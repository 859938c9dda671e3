"""A parent is killed while PostgreSQL and Redis are away: nobody of its is left, and what was acknowledged is
billed when somebody serves again."""

from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from kills import campaign, publisher, request, world
from live import Live
from processes import children_of, ended, workers_of
from servers.postgresql import Postgres
from servers.redis_server import Redis
from test_shared_state import known, soon
from unread import with_a_question_unread

from adserver.databases import Database
from adserver.domain import limits
from adserver.ledger.ledger import Ledger
from adserver.ledger.place import SCHEMA
from adserver.ledger.verify import verify

pytestmark = pytest.mark.slow
SOME = 10
START_S = 60.0


def test_nobody_is_left_where_both_stores_are_away(server_ground: Path) -> None:
    readers = count()
    folder = world(server_ground / "campaigns", publisher(), campaign("sold", [{"id": "sold"}]))
    with Redis(server_ground / "redis") as redis, Postgres(server_ground / "postgres") as postgres:
        url = postgres.create()
        shared = ("--redis", redis.url, "--database", url, "--workers", "2")
        with Live(server_ground / "data", folder, None, *shared) as server:
            soon(lambda: known(server), START_S)
            soon(lambda: both_serve(server), START_S)
            shown = some_shown(server, readers)
            redis.kill9()
            postgres.kill9()
            shown += some_shown(server, readers)
            everybody = children_of(server.pid)
            assert len(everybody) > 2, "workers, and whoever posts and builds"
            with with_a_question_unread(server.port, max(workers_of(server.pid))):
                server.kill9()
            assert ended(everybody, limits.END_S + 20)
            assert "Timeout" not in server.log.read_text(), "in order, and not at the last moment"
            redis.start()
            postgres.start()
            server.start()
            soon(lambda: both_serve(server), START_S)
            assert server.stop() == 0
        place = Database(url, SCHEMA)
        assert verify(server.data, lambda _: None, place) == []
        with closing(Ledger(place)) as ledger:
            assert sum(totals.impressions for totals in ledger.totals()) >= shown


def both_serve(server: Live) -> bool:
    told = server.get("/metrics").body
    return all(b'adserver_worker_up{worker="%d"} 1.0' % number in told for number in range(2))


def some_shown(server: Live, readers: Iterator[int]) -> int:
    """How many were acknowledged: ``SOME``, or one or two more."""
    shown = 0

    def enough() -> bool:
        nonlocal shown
        shown += show(server, next(readers))
        return shown >= SOME

    soon(enough, START_S)
    return shown


def show(server: Live, number: int) -> int:
    """To somebody new: how many of the ads were acknowledged."""
    ads = [ad for slot in server.decide(request(f"u-{number}"))["decisions"] for ad in slot["ads"]]
    answers = [server.get(ad["impression_url"]) for ad in ads]
    return sum(answer.headers.get("x-adserver-event") == "accepted" for answer in answers)
