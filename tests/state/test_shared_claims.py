"""Which master of a cluster is asked about whom: by what each says of itself, of two by the greater epoch."""

from collections.abc import Sequence

import pytest
from redis.crc import key_slot

from adserver.domain.admission import Away
from adserver.state.shared.agreement import Ground
from adserver.state.shared.chart import SLOTS, Member, home_of, members, slot_of
from adserver.state.shared.cluster import Cluster
from adserver.state.shared.dialling import Address, Met, NotRedis, seeds
from adserver.state.shared.keys import Keys, Record, Who
from adserver.state.shared.mirror import RETOLD_MS, Mirror, Settled
from adserver.state.shared.node import Node
from adserver.state.shared.paging import Paging
from adserver.state.shared.wire import Wire
from adserver.state.shared.worker import Worker

PEOPLE = [b"%016d" % number for number in range(200)]

CHART = """\
07c3 10.0.0.4:7004@17004,redis-4.example slave e7d1 0 1426238317239 4 connected
67ed 10.0.0.2:7002@17002,,shard-id=ab12 master - 0 1426238316232 2 connected 5461-10922
6ec2 :7003@17003 myself,master - 0 0 3 connected 10923-16380 16383 [16382->-67ed] [5461-<-67ed]
e7d1 :0@0 master,noaddr - 0 0 1 disconnected 0-5460
"""


def test_a_chart_is_read() -> None:
    four, two, three, one = members(CHART, "10.0.0.3")
    assert (four.host, four.port, four.master, four.leads) == ("redis-4.example", 7004, False, False)
    assert (two.name, two.host, two.port, two.epoch) == ("67ed", "10.0.0.2", 7002, 2)
    assert (two.leads, two.myself, two.held) == (True, False, frozenset(range(5461, 10923)))
    assert (three.host, three.port, three.myself) == ("10.0.0.3", 7003, True), "it does not know its own"
    assert three.owned == {*range(10923, 16381), 16383}
    assert not one.leads, "nobody knows where it is"


@pytest.mark.parametrize(
    "chart",
    ["", "OK", "a b c d e f g h", "a h:x@1 myself,master - 0 0 1 - 0-1", "a h:1@1 master - 0 0 1 - 0"],
)
def test_what_is_no_chart_is_refused(chart: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        members(chart, "localhost")


def test_a_slot_on_its_way_is_owned_and_not_held() -> None:
    before = member(1, ("0-9",))
    leaving = member(1, ("0-9", "[3->-b]"))
    assert leaving.owned == before.owned
    assert before.owned - leaving.held == {3}
    assert len({one.digest for one in (before, leaving, member(2, ("0-9",)), member(1, ("0-8",)))}) == 4


def test_slots_are_those_of_redis() -> None:
    for root in PEOPLE:
        for key in (*Keys(Who(root, b"s" * 16), "g").exposures(), Keys(Who(root, None), "g").told()):
            assert key_slot(key) == slot_of(root)
    for slot in range(0, SLOTS, 97):
        assert (
            key_slot(Record(home_of(slot)).generation) == slot == key_slot(Record(home_of(slot)).added("g"))
        )


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://a:1/0", []),
        ("rediscluster://a:1,b", ["a:1", "b:6379"]),
        ("rediscluster://me:secret@a:1,b:2/", ["a:1", "b:2"]),
        ("redisclusters://a:1", ["a:1"]),
    ],
)
def test_a_url_names_members(url: str, found: list[str]) -> None:
    named = seeds(url)
    assert [str(one) for one in named] == found
    for one in named:
        assert (
            one.at("c", 3).greeting() == one.greeting() == ([[b"AUTH", "me", "secret"]] if "@" in url else [])
        )


def test_a_cluster_has_one_database() -> None:
    with pytest.raises(ValueError, match="one database"):
        seeds("rediscluster://a:1/3")


# -- claims ----------------------------------------------------------------------------------------


class Claims:
    """Of masters ``a`` to ``c``."""

    def __init__(self) -> None:
        def told(why: str) -> None: ...

        worker = Worker(0, (0,), Mirror(), Paging(), 1.0, lambda: 1)
        self.cluster = Cluster([Address("redis://localhost")], worker, told)
        self.nodes = {name: self.cluster._new(name, Address("redis://localhost")) for name in "abc"}

    def says(self, name: str, epoch: int, *ranges: str, run: str = "run") -> Ground:
        chart = [member(9, (f"0-{SLOTS - 1}",), "c", myself=False), member(epoch, ranges, name)]
        return self.cluster.claim(self.nodes[name], Met(run, chart))

    def of(self, root: bytes) -> Node | None:
        try:
            return self.cluster.of(root)
        except Away:
            return None

    def everybody_is(self, **who: Sequence[int]) -> None:
        for root in PEOPLE:
            (node, *_) = [self.nodes[name] for name, slots in who.items() if slot_of(root) in slots] or [None]
            assert self.of(root) is node


def member(epoch: int, ranges: tuple[str, ...], name: str = "a", myself: bool = True) -> Member:
    return Member(name, "localhost", 1, True, myself, epoch, ranges)


def test_a_master_is_believed_of_itself_alone() -> None:
    claims = Claims()
    claims.everybody_is()
    ground = claims.says("a", 1, "0-8000")
    claims.everybody_is(a=range(8001))
    assert [ground.has(root) for root in PEOPLE] == [slot_of(root) <= 8000 for root in PEOPLE]


def test_of_two_the_one_with_the_greater_epoch_is_right() -> None:
    claims = Claims()
    claims.says("a", 2, "0-8000")
    for epoch in (1, 2):
        with pytest.raises(Away, match="another master"):
            claims.says("b", epoch, "8000-9000")
    claims.everybody_is(a=range(8001))
    claims.says("b", 3, "4000-9000")
    claims.everybody_is(a=range(4000), b=range(4000, 9001))
    with pytest.raises(Away, match="another master"):
        claims.says("a", 2, "0-8000")
    claims.says("a", 2, "0-3999")
    claims.everybody_is(a=range(4000), b=range(4000, 9001))


def test_who_had_a_slot_is_given_up_at_once() -> None:
    """Also what was asked and is not answered yet: it would be known to nobody else."""
    closed = list[str]()

    class Dialled(Wire):
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self, why: str = "closed", as_: type[Away] = Away) -> None:
            closed.append(self.name)

    claims = Claims()
    for number, (name, node) in enumerate(claims.nodes.items()):
        claims.says(name, 1, f"{5000 * number}-{5000 * number + 4999}")
        node._dialled = Dialled(name)
    claims.says("c", 2, "4000-6000")
    assert sorted(closed) == ["a", "b"]


def test_nobody_is_asked_about_whoever_is_on_their_way() -> None:
    claims = Claims()
    claims.says("a", 1, f"0-{SLOTS - 1}")
    (anna, *_) = PEOPLE
    claims.says("a", 1, f"0-{SLOTS - 1}", f"[{slot_of(anna)}->-b]")
    assert claims.of(anna) is None
    claims.says("b", 2, str(slot_of(anna)))
    assert claims.of(anna) is claims.nodes["b"]


def test_another_ground_is_of_another_run() -> None:
    claims = Claims()
    said = [("0-9",), ("0-8",), ("0-9", "[3->-b]")]
    runs = [claims.says("a", epoch, *ranges).run for epoch in (1, 2) for ranges in said]
    runs += [claims.says("a", 2, "0-9", run="other").run]
    assert len(set(runs)) == 7
    assert claims.says("a", 1, "0-9").run == runs[0]


def test_no_record_of_an_earlier_ground_is_left() -> None:
    ground = Claims().says("a", 1, "0-9", "[9->-b]")
    assert ground.record.generation == Record(home_of(9)).generation, "also while that is on its way"
    assert {key_slot(key) for key in (*ground.strays(), ground.record.generation)} == set(range(10))


def test_who_answers_elsewhere_is_not_believed() -> None:
    claims = Claims()
    with pytest.raises(NotRedis, match="another member"):
        claims.cluster.claim(claims.nodes["b"], Met("run", [member(1, ("0-9",), "a")]))
    with pytest.raises(NotRedis, match="no slots"):
        claims.says("a", 1)


def test_what_somebody_has_yet_to_hear_goes_with_the_slot() -> None:
    claims = Claims()
    told = [Settled(Who(root, None), "release", root) for root in PEOPLE]
    for one in told[:100]:
        claims.cluster.tell(one)
    claims.says("a", 1, f"0-{SLOTS - 1}")
    for one in told[100:]:
        claims.cluster.tell(one)
    assert claims.cluster.waiting == 200
    assert list(claims.nodes["a"].untold) == told
    claims.says("b", 2, "0-8000")
    for name, slots in (("a", range(8001, SLOTS)), ("b", range(8001))):
        assert list(claims.nodes[name].untold) == [one for one in told if slot_of(one.who.root) in slots]
    assert sorted(one.event_id for one in claims.cluster.untold) == PEOPLE
    claims.says("a", 3, f"12000-{SLOTS - 1}")
    assert all(slot_of(one.who.root) >= 12000 for one in claims.nodes["a"].untold), (
        "it would refuse the others"
    )
    assert sorted(one.event_id for one in claims.cluster.untold) == PEOPLE


def test_what_will_never_be_heard_is_doubted_by_those_met_later_too() -> None:
    claims = Claims()
    claims.cluster.doubt()
    later = claims.cluster._new("d", Address("redis://localhost"))
    assert later.doubted
    assert claims.cluster.doubted


def test_what_of_several_is_too_old_to_be_told_again_is_found() -> None:
    now_ms = 2 * RETOLD_MS
    late, old = (Settled(Who(b"a" * 16, None), "count", b"b" * 16, 2, at_ms) for at_ms in (now_ms, 1))
    for untold, told in (([late], [late]), ([late, old], [])):
        mirror, heard = Mirror(), list[Settled]()
        mirror.end(untold, missed=False)
        assert mirror.begin(heard.append, now_ms) is bool(told)
        assert heard == told
