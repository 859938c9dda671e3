"""A Redis Cluster that loses masters, writes and slots, while two workers ask for the same people. Each of
them is shown what their cap says, no more and, in the end, no less; those of other masters do not notice."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import count
from zlib import crc32

import pytest
from remote import Remote
from servers.redis_cluster import RedisCluster
from servers.redis_server import Redis
from servers.server import ground

from adserver.domain.admission import Away
from adserver.domain.caps import BoundCap, counted
from adserver.state.exposure import Exposure
from adserver.state.shared.chart import slot_of
from adserver.state.shared.keys import tag

pytestmark = pytest.mark.slow
CAPS = [BoundCap("line_item:1", limit, 86_400_000) for limit in (6, 60, 60)]
COUNTS = counted(CAPS, "impression")
NOW_MS, ENDS_MS = 10_000, 10_000_000
BACK_S = 5.0 * 10
"""From the promotion on: five seconds, twice that on a machine with other things to do."""


def cap(who: bytes) -> BoundCap:
    """Of one in three it is soon full, of the others not."""
    return CAPS[who[-1] % 3]


class Crowd:
    """The same people, asked about by both workers again and again. Of three exposures one is shown, one is
    outstanding and one was never seen."""

    def __init__(self, workers: list[Remote], people: list[bytes]) -> None:
        self.people = people
        self.counting = Counter[bytes]()
        self.away = Counter[bytes]()
        self.full = set[bytes]()
        self._numbers = count(1)
        self._workers = workers
        self._over = False
        self._asked = 0
        self._pause_s = 0.05
        self._asking: list[Future[None]] = []

    def __enter__(self) -> "Crowd":
        self._over = False
        self._asking = [worker.begin_to(self._ask(worker)) for worker in self._workers]
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for asking in self._asking:
            asking.result(60)

    def wait(self, more: int = 3, but: bytes = b"") -> None:
        """Until everybody who is not full was granted so many more ads."""
        before, deadline = self.counting.copy(), time.monotonic() + BACK_S
        people = [who for who in self.people if who != but]
        while any(self.counting[who] < before[who] + more and who not in self.full for who in people):
            assert time.monotonic() < deadline, [worker.told for worker in self._workers]
            time.sleep(0.01)

    async def _ask(self, worker: Remote) -> None:
        while not self._over:
            for who in self.people:
                await self._one(worker, who)
            await asyncio.sleep(self._pause_s)

    async def _one(self, worker: Remote, who: bytes) -> None:
        self._asked += 1
        ident = next(self._numbers).to_bytes(16, "big")
        found = worker.unknown(ident, Exposure(who, None, COUNTS, ENDS_MS, ENDS_MS), (cap(who),))
        try:
            refused = await worker.state.propose(found, b"") is not None
        except Away:
            self.away[who] += 1
            return
        if refused:
            self.full.add(who)
            return
        worker.state.keep(found)
        fate = crc32(ident) % 3
        if fate == 1:
            worker.mirror.confirm(ident, who, (), NOW_MS)
        if fate == 2:
            worker.mirror.release(ident)
        else:
            self.counting[who] += 1

    def finish(self) -> dict[bytes, int]:
        """Everybody gets all they may have; who got another number."""
        self._pause_s = 0.0
        with self:
            deadline = time.monotonic() + 60
            while (
                any(self.counting[who] < cap(who).limit for who in self.people)
                and time.monotonic() < deadline
            ):
                time.sleep(0.01)
            asked = self._asked
            while self._asked < asked + 2 * len(self.people):
                time.sleep(0.01)
        return {who: self.counting[who] for who in self.people if self.counting[who] != cap(who).limit}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """One that may be hurt."""
    with ground() as path, RedisCluster(path / "cluster") as running:
        yield running


@pytest.fixture
def workers(cluster: RedisCluster) -> Iterator[list[Remote]]:
    cluster.until_whole()
    cluster.empty()
    found = [Remote(cluster.url, number, lambda: NOW_MS, workers=2, deadline_s=0.5) for number in range(2)]
    try:
        for worker in found:
            worker.wait()
        yield found
    finally:
        for worker in found:
            worker.close()


@pytest.fixture
def crowd(workers: list[Remote]) -> Crowd:
    return Crowd(workers, [b"person %09d" % number for number in range(9)])


def of(cluster: RedisCluster, master: Redis, crowd: Crowd) -> set[bytes]:
    """Whose master it is."""
    return {who for who in crowd.people if cluster.master_of(name(who)) is master}


def name(who: bytes) -> str:
    return f"{{{tag(who).decode()}}}"


def knows_another(worker: Remote, who: bytes, generation: str) -> bool:
    return worker.state.there and worker.state._nodes.of(who).generation != generation


def test_a_master_is_lost(cluster: RedisCluster, workers: list[Remote], crowd: Crowd) -> None:
    lost = cluster.master_of(name(crowd.people[0]))
    theirs, heir = of(cluster, lost, crowd), cluster.replica_of(lost)
    before = {who: workers[0].state._nodes.of(who).generation for who in crowd.people}
    with crowd:
        crowd.wait(10)
        lost.kill9()
        heir.until(lambda: heir in cluster.masters(), "is a master")
        crowd.wait()
        after = {who: workers[0].state._nodes.of(who).generation for who in crowd.people}
        lost.start()
        lost.until(lambda: cluster.replica_of(heir) is lost, "follows")
        crowd.wait()
    assert {who for who in crowd.people if crowd.away[who]} == theirs
    assert {who for who in crowd.people if before[who] != after[who]} == theirs
    assert crowd.finish() == {}


def test_a_master_hangs_and_comes_back(cluster: RedisCluster, workers: list[Remote], crowd: Crowd) -> None:
    """It does not know at once that it is none any more."""
    lost = cluster.master_of(name(crowd.people[0]))
    theirs, heir = of(cluster, lost, crowd), cluster.replica_of(lost)
    with crowd:
        crowd.wait(10)
        lost.pause()
        heir.until(lambda: heir in cluster.masters(), "is a master")
        crowd.wait()
        lost.resume()
        lost.until(lambda: cluster.replica_of(heir) is lost, "follows")
        crowd.wait()
    assert {who for who in crowd.people if crowd.away[who]} == theirs
    assert crowd.finish() == {}


def test_a_replica_that_had_not_heard_the_last_is_promoted(
    cluster: RedisCluster, workers: list[Remote], crowd: Crowd
) -> None:
    lost = cluster.master_of(name(crowd.people[0]))
    theirs, heir = of(cluster, lost, crowd), cluster.replica_of(lost)
    with crowd:
        crowd.wait(10)
        cluster.sever(heir)
        crowd.wait(10)
        lost.kill9()
        cluster.promote(heir)
        crowd.wait()
        lost.start()
        lost.until(lambda: cluster.replica_of(heir) is lost, "follows")
    assert {who for who in crowd.people if crowd.away[who]} == theirs
    assert crowd.finish() == {}


def test_a_slot_is_moved(cluster: RedisCluster, workers: list[Remote], crowd: Crowd) -> None:
    """There and back: on its way nobody is asked about its people. Its second master has the greatest epoch,
    which makes it keep that; so in the end its ground is again what it was at first."""
    fewest, *_, moved = sorted(crowd.people, key=slot_of)
    master, other = cluster.master_of(name(moved)), cluster.master_of(name(fewest))
    before = [worker.state._nodes.of(fewest).generation for worker in workers]
    if b"BUMPED" in other.ask("CLUSTER", "BUMPEPOCH"):
        for worker, generation in zip(workers, before, strict=True):
            other.until(lambda w=worker, g=generation: knows_another(w, fewest, g), "has begun anew")
    involved = of(cluster, master, crowd) | of(cluster, other, crowd)
    with crowd:
        for here, there in ((master, other), (other, master)):
            crowd.wait()
            cluster.leave(name(moved), there)
            away = crowd.away[moved]
            here.until(lambda away=away: crowd.away[moved] > away, "does not know them any more")
            if here is master:  # The other's record lies in that very slot.
                crowd.wait(but=moved)
            cluster.arrive(name(moved), there)
            crowd.wait()
            assert cluster.master_of(name(moved)) is there
    assert {who for who in crowd.people if crowd.away[who]} <= involved < set(crowd.people)
    assert crowd.finish() == {}


def test_a_master_forgets_everything(cluster: RedisCluster, workers: list[Remote], crowd: Crowd) -> None:
    master = cluster.master_of(name(crowd.people[0]))
    with crowd:
        crowd.wait(10)
        master.ask("FLUSHALL")
        crowd.wait()
    assert {who for who in crowd.people if crowd.away[who]} <= of(cluster, master, crowd)
    assert crowd.finish() == {}


def test_they_wait_for_every_worker(cluster: RedisCluster, workers: list[Remote], crowd: Crowd) -> None:
    first, second = workers
    theirs = of(cluster, cluster.master_of(name(crowd.people[0])), crowd)
    second.stop()
    cluster.master_of(name(crowd.people[0])).ask("FLUSHALL")
    first.wait(there=False)
    with pytest.raises(TimeoutError):
        first.wait(patience_s=0.5)
    away = set[bytes]()
    for who in crowd.people:
        try:
            first.grant(who, Exposure(who, None, COUNTS, ENDS_MS, ENDS_MS), (cap(who),))
        except Away:
            away.add(who)
    assert away == theirs
    second.begin()
    first.wait()
    crowd.counting.update(set(crowd.people) - away)
    assert crowd.finish() == {}
