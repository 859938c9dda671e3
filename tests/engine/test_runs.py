"""Runs are cut out of the index's masks whole, in order, wherever chunks end."""

from collections.abc import Iterator
from itertools import groupby

import pytest
from engine_samples import line_item, of_items
from hypothesis import given, settings
from hypothesis import strategies as st

from adserver.engine import postings
from adserver.engine.compile import compile_snapshot
from adserver.engine.entries import Entries
from adserver.engine.runs import numbers, runs

_SIZES = (1, 1, 3, 40, 1, 200, 7, 1)
SNAPSHOT = compile_snapshot(
    of_items(
        *(
            line_item(1000 * (run + 1) + n, 10**6 - run)
            for run, size in enumerate(_SIZES)
            for n in range(size)
        )
    )
)
"""Runs of these sizes, of falling bids."""


def masks(positions: set[int], chunk: int) -> Iterator[tuple[int, int]]:
    for base in range(0, sum(_SIZES), chunk):
        bits = sum(1 << p - base for p in positions if base <= p < base + chunk)
        if bits:
            yield base, bits


@settings(deadline=None)
@given(st.sets(st.integers(0, sum(_SIZES) - 1)), st.sampled_from((3, 8, 64, 4096)))
def test_runs_are_whole_and_in_order(positions: set[int], chunk: int) -> None:
    entries = SNAPSHOT.entries
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "CHUNK", chunk)
        found = [list(map(int, run)) for run in runs(masks(positions, chunk), entries)]
    wanted = [list(mine) for _, mine in groupby(sorted(positions), key=lambda p: entries.runs[p])]
    assert found == wanted


@settings(deadline=None)
@given(st.sets(st.integers(0, 5000), min_size=1), st.integers(0, 10**6))
def test_numbers_of_bits(offsets: set[int], base: int) -> None:
    found = numbers(base, sum(1 << offset for offset in offsets))
    assert [int(p) for p in found] == sorted(base + offset for offset in offsets)


def test_no_chunk_is_looked_at_before_it_is_needed() -> None:
    """A run that ends within its chunk does not wait for the next one."""
    looked: list[int] = []

    def looking(entries: Entries) -> Iterator[tuple[int, int]]:
        for base in range(0, 64, 8):
            looked.append(base)
            yield base, 0b111

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "CHUNK", 8)
        found = runs(looking(SNAPSHOT.entries), SNAPSHOT.entries)
        assert [list(next(found)) for _ in range(3)] == [[0], [1], [2]]
        assert looked == [0]
