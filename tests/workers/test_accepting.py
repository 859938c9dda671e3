"""Every socket is accepted on by exactly one worker that serves, its own where it can be."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.workers.sockets import accepting


@given(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1)))
)
def test_every_socket_has_one(case: tuple[int, set[int]]) -> None:
    count, serving = case
    found = accepting(serving, count)
    assert set(found) == serving
    assert sorted(number for share in found.values() for number in share) == list(range(count))
    assert all(number in share for number, share in found.items())


def test_the_next_stands_in() -> None:
    assert accepting([0, 1, 2], 3) == {0: (0,), 1: (1,), 2: (2,)}
    assert accepting([0, 2], 4) == {0: (0, 3), 2: (1, 2)}
    assert accepting([], 3) == {}
