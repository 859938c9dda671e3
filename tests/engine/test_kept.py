"""What is kept of the image is bounded, and what was asked for last is kept."""

from itertools import pairwise

import pytest
from engine_samples import context, random_ask, random_catalogue, random_request

from adserver.domain import limits
from adserver.engine.compile import compile_snapshot
from adserver.engine.kept import Kept
from adserver.engine.live import Live


@pytest.mark.parametrize("most", [3, 10, 99])
def test_no_more_than_the_most_are_kept(most: int) -> None:
    kept: Kept[int, int] = Kept(most)
    for number in range(5 * most):
        kept.put(number, number)
        assert len(kept) <= most
        last = range(max(0, number - most // 2 + 1), number + 1)
        assert [kept.get(one) for one in last] == list(last)
    assert kept.get(0) is None and kept.get(-1) is None


def test_what_is_asked_for_again_stays() -> None:
    kept: Kept[int, int] = Kept(30)
    kept.put(-1, 7)
    for number in range(100):
        kept.put(number, number)
        assert kept.get(-1) == 7


def test_what_goes_goes_a_little_at_a_time() -> None:
    """Never more than two values are let go by a new one."""
    kept: Kept[int, int] = Kept(3000)
    sizes = []
    for number in range(10_000):
        kept.put(number, number)
        sizes.append(len(kept))
    assert max(sizes) == 3000
    assert min(after - before for before, after in pairwise(sizes)) >= -1
    assert min(sizes[3000:]) == 3000


@pytest.mark.parametrize("most", [0, 3, 200])
def test_the_index_forgets_and_says_the_same(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compile_snapshot(random_catalogue(5))
    asked = [context(whole, random_request(seed), random_ask(seed)) for seed in range(50)]

    def matches() -> list[list[int]]:
        bits = Live(len(whole.entries)).chunks
        return [[*whole.index.matches([bits], whole.index.selectors(one.facts))] for one in asked]

    before = matches()
    monkeypatch.setattr(limits, "CHUNKS_KEPT", most)
    assert matches() == before
    assert whole.index.arrays.made <= most + 2 * len(whole.index.dimensions) * whole.index.chunks * 40


def test_it_sheds_all_it_kept_in_bounded_steps() -> None:
    kept: Kept[int, int] = Kept(1000)
    for number in range(1400):
        kept.put(number, number)
    sizes = [len(kept)]
    while kept.shed():
        sizes.append(len(kept))
    sizes.append(len(kept))
    assert sizes[-1] == 0
    assert all(0 < before - after <= 48 for before, after in pairwise(sizes))
