"""De-duplication in memory: what was seen stays seen until its time is over."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.state.seen import Seen

KEYS = st.integers(0, 20).map(lambda n: n.to_bytes(17, "big"))


@given(st.lists(st.tuples(KEYS, st.integers(0, 100))), st.lists(st.integers(0, 110)))
def test_seen_until_the_first_time_it_was_given(added: list[tuple[bytes, int]], sweeps: list[int]) -> None:
    seen, until = Seen(), dict[bytes, int]()
    for key, until_ms in added:
        seen.add(key, until_ms)
        until.setdefault(key, until_ms)
    for now_ms in sorted(sweeps):
        again = Seen()
        again.load(seen.dump())
        for state in (seen, again):
            state.sweep(now_ms)
            assert {key for key in until if key in state} == {k for k, ms in until.items() if ms >= now_ms}
            assert len(state) == len({k for k, ms in until.items() if ms >= now_ms})


def test_a_sweep_is_bounded() -> None:
    seen = Seen()
    for number in range(100):
        seen.add(number.to_bytes(17, "big"), 0)
    seen.sweep(1, most=30)
    assert len(seen) == 70
