"""A Redis Cluster as tests have it."""

from collections.abc import Iterator

import pytest

from servers.redis_cluster import RedisCluster
from servers.server import ground

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """One that may be hurt."""
    with ground() as path, RedisCluster(path / "cluster") as running:
        yield running


def test_a_key_has_one_master(redis_cluster: RedisCluster) -> None:
    masters = redis_cluster.masters()
    assert len(masters) == 3
    owners = [redis_cluster.master_of(f"user-{number}") for number in range(30)]
    assert set(owners) == set(masters)
    for number, owner in enumerate(owners):
        assert owner.ask("SET", f"user-{number}", "1") in (True, b"OK")
    assert sum(master.ask("DBSIZE") for master in masters) == 30


def test_a_replica_is_promoted(cluster: RedisCluster) -> None:
    master = cluster.master_of("user")
    replica = cluster.replica_of(master)
    cluster.promote(replica)
    cluster.until_whole()
    assert cluster.master_of("user") is replica
    master.until(lambda: cluster.replica_of(replica) is master, "follows")


@pytest.mark.parametrize("death", ["kill9", "pause"])
def test_a_master_that_is_lost_is_replaced_and_comes_back(cluster: RedisCluster, death: str) -> None:
    lost = cluster.master_of("user")
    heir = cluster.replica_of(lost)
    getattr(lost, death)()
    heir.until(lambda: heir in cluster.masters(), "is a master")
    cluster.until_whole()
    assert cluster.master_of("user") is heir
    lost.resume() if lost.running else lost.start()
    lost.until(lambda: lost not in cluster.masters(), "follows")
    cluster.until_whole()
    assert cluster.replica_of(heir) is lost
