"""Who keeps what an id belongs to, whoever came, went, or is not heard of yet."""

from adserver.domain.ids import OWNER_SHIFT, mint
from adserver.domain.workers import Fleet, Peer, Worker


def worker(number: int, machine: str, *peers: Peer) -> Worker:
    fleet = Fleet(machine, peers)
    return Worker(number, len(fleet.here), fleet)


def minted(number: int) -> bytes:
    return mint(1_700_000_000_000, number << OWNER_SHIFT, 1)


A0, A1, B2, B3 = Peer(0, "a"), Peer(1, "a"), Peer(2, "b", door="b:1"), Peer(3, "b", door="b:2")


def homes(of: Worker) -> list[int | None]:
    return [of.home(minted(number)) for number in range(5)]


def test_everybody_keeps_his_own_and_nobody_speaks_for_a_stranger() -> None:
    for number, machine in ((0, "a"), (1, "a"), (2, "b"), (3, "b")):
        assert homes(worker(number, machine, A0, A1, B2, B3)) == [0, 1, 2, 3, None]


def test_what_serves_no_more_is_kept_by_the_first_of_its_machine() -> None:
    stopped = Peer(3, "b", serves=False)
    assert homes(worker(0, "a", A0, A1, B2, stopped)) == [0, 1, 2, 2, None]
    one = worker(2, "b", A0, A1, B2, stopped)
    assert (one.is_first, one.is_left(minted(3)), one.is_left(minted(2)), one.is_left(minted(4))) == (
        True, True, False, False,
    )  # fmt: skip


def test_what_a_machine_left_that_never_comes_back_is_the_eldests() -> None:
    gone = Peer(0, "a", gone=True), Peer(1, "a", gone=True)
    left = worker(2, "b", *gone, B2, B3)
    assert homes(left) == [2, 2, 2, 3, None]
    assert left.fleet is not None
    assert left.fleet.orphans == [0, 1]
    assert worker(4, "c", *gone, B2, B3, Peer(4, "c")).fleet.orphans == []  # type: ignore[union-attr]


def test_one_sells_what_one_may_sell_whoever_joins() -> None:
    before = [worker(number, "a", A0, A1) for number in (0, 1)]
    after = [worker(number, machine, A0, A1, B2, B3) for number, machine in enumerate("aabb")]
    for line_item in range(10):
        sellers = [one.number for one in after if one.keeps(line_item)]
        assert sellers == [one.number for one in before if one.keeps(line_item)]
        assert len(sellers) == 1


def test_who_may_know_of_somebody_is_waited_for_until_nothing_of_it_counts() -> None:
    fleet = Fleet("a", (A0, A1, B2, Peer(3, "b", serves=False)))
    adding = fleet.adding
    assert adding == {0, 1, 2}
    fleet.learn((A0, A1, Peer(2, "b", over=True)))
    assert adding == {0, 1}
    fleet.learn((A0, A1, Peer(2, "b", gone=True)))
    assert adding == {0, 1}


def test_only_those_of_other_machines_have_a_door() -> None:
    fleet = Fleet("a", (A0, A1, B2))
    assert [fleet.door(number) for number in range(4)] == [None, None, "b:1", None]


def test_workers_of_one_folder_are_as_many_as_they_are() -> None:
    three = [Worker(number, 3) for number in range(3)]
    assert all(homes(one) == [0, 1, 2, 0, 0] for one in three)
    assert [one.is_first for one in three] == [True, False, False]
    assert list(three[0].adding) == [0, 1, 2]
