"""A calendar gives what a sorted list would give."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.domain.calendar import Calendar

PUTS = st.lists(st.tuples(st.integers(0, 30), st.binary(min_size=1, max_size=1)), max_size=40)


@given(st.lists(st.tuples(PUTS, st.integers(0, 32)), max_size=8))
def test_it_gives_what_is_over_and_keeps_the_rest(turns: list[tuple[list[tuple[int, bytes]], int]]) -> None:
    calendar, waiting = Calendar(), list[tuple[int, bytes]]()
    for puts, now_ms in turns:
        for at_ms, ident in puts:
            calendar.put(at_ms, ident)
        waiting += puts
        found = list(calendar.over(now_ms))
        assert [at_ms for at_ms, _ in found] == sorted(at_ms for at_ms, _ in found)
        assert sorted(found) == sorted(put for put in waiting if put[0] < now_ms)
        waiting = [put for put in waiting if put[0] >= now_ms]
    assert sorted(calendar.over(1 << 62)) == sorted(waiting)


def test_what_is_given_is_taken_even_if_nobody_goes_on() -> None:
    calendar = Calendar([(1, b"a"), (1, b"b")])
    _, first = next(calendar.over(5))
    assert [first, *(ident for _, ident in calendar.over(5))] in ([b"a", b"b"], [b"b", b"a"])


def test_what_is_put_while_it_is_read_is_found() -> None:
    calendar, found = Calendar([(1, b"a")]), list[bytes]()
    for _, ident in calendar.over(5):
        found.append(ident)
        if ident == b"a":
            calendar.put(1, b"b")
            calendar.put(0, b"e")
            calendar.put(4, b"c")
            calendar.put(5, b"d")
    assert found == [b"a", b"e", b"b", b"c"]
    assert list(calendar.over(6)) == [(5, b"d")]
