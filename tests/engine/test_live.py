"""Bits of line items that are left out beforehand: what the journal is told of them gives them again."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.domain import limits
from adserver.domain.decision import NoFill
from adserver.engine.live import Live, follow
from adserver.engine.postings import full_chunks

SIZE = 9000
positions = st.integers(0, SIZE - 1)
reasons = st.sampled_from((NoFill.BUDGET_EXHAUSTED, NoFill.PACED))
steps = st.one_of(
    st.tuples(st.just("clear"), positions, reasons),
    st.tuples(st.just("set"), positions),
    st.tuples(st.just("look again")),
    st.tuples(st.just("decide"), st.booleans(), st.lists(positions, max_size=3)),
)


@given(st.lists(steps, max_size=60))
def test_hints_one_after_the_other_are_what_was_left_out(given_steps: list[tuple[object, ...]]) -> None:
    """A decision clears bits of its own behind the mark; only one that is journalled tells."""
    live, told, now_ms = Live(SIZE), dict[int, NoFill](), 0
    for name, *given_with in given_steps:
        now_ms += 1000
        if name == "clear":
            position, reason = given_with
            live.clear(position, reason, now_ms + 5000 if reason is NoFill.PACED else None)  # type: ignore[arg-type]
        elif name == "set":
            live.set(*given_with)  # type: ignore[arg-type]
        elif name == "look again":
            live.look_again()
        else:
            journalled, spared = given_with
            moved = live.wake(now_ms)
            began = dict(live.cleared)
            for position in spared:  # type: ignore[attr-defined]
                live.clear(position, NoFill.BUDGET_EXHAUSTED)
            if journalled:
                follow(told, live.hints(moved))
                live.told(moved)
                assert told == began


def test_nothing_is_told_where_nothing_moved() -> None:
    live = Live(SIZE)
    assert live.hints(live.wake(0)) == (1,)
    live.told(0)
    assert live.hints(live.wake(1)) is None


def test_another_snapshot_begins_anew() -> None:
    told = {7: NoFill.PACED}
    follow(told, None)
    assert told == {7: NoFill.PACED}
    follow(told, Live(SIZE).hints(0))
    assert told == {}


def test_of_too_much_that_was_not_told_all_is_looked_at_again() -> None:
    live = Live(SIZE)
    live.told(0)
    for position in range(limits.HINTS_UNTOLD):
        live.clear(position, NoFill.BUDGET_EXHAUSTED)
    assert live.wake(1) == limits.HINTS_UNTOLD
    assert len(live.cleared) == limits.HINTS_UNTOLD
    live.clear(limits.HINTS_UNTOLD, NoFill.BUDGET_EXHAUSTED)
    assert live.wake(2) == 0
    assert (live.cleared, live.chunks) == ({}, full_chunks(SIZE))
    assert live.hints(0) == (1,)
