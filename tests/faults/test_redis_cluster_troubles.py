"""A server, or two workers, whose state is in a Redis Cluster, under load, while masters are lost and a slot
moves. Nothing fails; caps and feeds hold, nobody is held for more than was shown; what was acknowledged is
counted once."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from kills import request, world
from live import Live
from passers import CAPS, DOCUMENTS, Passers, finished, pass_through
from servers.redis_cluster import RedisCluster
from servers.redis_server import Redis
from servers.server import ground
from test_shared_state import decide, known, line_items, soon

from adserver.catalog import secrets
from adserver.domain import ids
from adserver.services.pseudonyms import Pseudonyms
from adserver.state.shared.chart import slot_of

pytestmark = pytest.mark.slow
KEY = "somebody"


@pytest.fixture
def cluster() -> Iterator[RedisCluster]:
    with ground() as path, RedisCluster(path / "cluster") as running:
        yield running


def lost(cluster: RedisCluster, passers: Passers) -> None:
    master = cluster.masters()[0]
    heir = cluster.replica_of(master)
    master.kill9()
    heir.until(lambda: heir in cluster.masters(), "is a master")
    master.start()
    cluster.until_whole()


def lagging(cluster: RedisCluster, passers: Passers) -> None:
    """Promoted where it had not heard the last."""
    master = cluster.masters()[1]
    heir = cluster.replica_of(master)
    cluster.sever(heir)
    passers.wait(150)
    master.kill9()
    cluster.promote(heir)


def moved(cluster: RedisCluster, passers: Passers) -> None:
    master = cluster.master_of(KEY)
    to = next(node for node in cluster.masters() if node is not master)
    cluster.leave(KEY, to)
    passers.wait(50)
    cluster.arrive(KEY, to)


def test_everybody_is_shown_what_their_caps_say(tmp_path: Path, cluster: RedisCluster) -> None:
    folder = world(tmp_path / "world", *DOCUMENTS)
    with Live(tmp_path / "data", folder, None, "--redis", cluster.url) as server:
        pass_through(server, [partial(befall, cluster) for befall in (lost, moved, lagging)])


# -- two workers -----------------------------------------------------------------------------------


class People:
    """Some of whom one master has a slot, their own or their session's, and some of whom it has none."""

    def __init__(self, server: Live, cluster: RedisCluster, master: Redis) -> None:
        self._names = Pseudonyms(secrets.load(server.data).pseudonym)
        self._slots = cluster.slots_of(master)
        self._numbers = count()

    def some(self, theirs: bool, many: int = 6) -> list[str]:
        """New ones each time."""
        fresh = (f"new-{number}" for number in self._numbers)
        asked = (who for who in fresh if self._is_theirs(who) is theirs)
        return [next(asked) for _ in range(many)]

    def _is_theirs(self, who: str) -> bool:
        asked = request(who)
        names = self._names.person("meadow", who), self._names.session("meadow", asked["session"])
        return any(slot_of(one) in self._slots for one in names)


def shown(server: Live, people: list[str]) -> set[str]:
    return {name for who in people for name in line_items(decide(server, request(who)))}


def answering(server: Live) -> int:
    """The number of the worker that answers."""
    return ids.owner_of(ids.decode(decide(server, request("anybody"))["request_id"]))


def test_two_workers_wait_for_the_people_of_a_master_that_is_gone(
    tmp_path: Path, cluster: RedisCluster
) -> None:
    """And for nobody else, until another is in its place and both have told it what they know."""
    folder = world(tmp_path / "world", *DOCUMENTS)
    flags = ("--redis", cluster.url, "--redis-deadline-ms", "500", "--workers", "2")
    with Live(tmp_path / "data", folder, None, *flags) as server:
        soon(lambda: known(server), 60)
        for number in (0, 1):
            soon(lambda number=number: answering(server) == number)
        gone = cluster.masters()[0]
        heir = cluster.replica_of(gone)
        people = People(server, cluster, gone)
        with Passers(server) as passers:
            heir.pause()
            gone.kill9()
            soon(lambda: not known(server))
            assert shown(server, people.some(True)) == {"rest"}
            # A busy machine misses deadlines of its own: sooner or later, while nothing is in its place.
            soon(lambda: shown(server, people.some(False)) <= set(CAPS))
            passers.wait(100)
            heir.resume()
            heir.until(lambda: heir in cluster.masters(), "is a master")
            soon(lambda: shown(server, people.some(True)) <= set(CAPS))
            passers.wait(50)
        finished(server, passers)
