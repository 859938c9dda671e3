"""The clock never runs backwards, whatever the wall does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver import clock
from adserver.clock import WallClock


@given(st.lists(st.integers(0, 10**15), min_size=1))
def test_it_stands_still_until_the_wall_catches_up(readings: list[int]) -> None:
    wall = iter([ms * 1_000_000 + 999_999 for ms in readings])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock.time, "time_ns", lambda: next(wall))
        told = WallClock()
        found = [told() for _ in readings]
    assert found == [max(readings[: number + 1]) for number in range(len(readings))]
