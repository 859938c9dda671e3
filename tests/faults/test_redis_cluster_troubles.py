"""A server whose state is in a Redis Cluster, under load, while masters are lost and a slot moves. Nothing
fails; caps and feeds hold, nobody is held for more than was shown; what was acknowledged counts once."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from kills import world
from live import Live
from passers import DOCUMENTS, Passers, pass_through
from servers.redis_cluster import RedisCluster
from servers.server import ground

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
