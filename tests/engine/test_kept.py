"""What is kept of the image is bounded, and what was asked for last is kept."""

import pytest
from engine_samples import context, random_ask, random_catalogue, random_request

from adserver.domain import limits
from adserver.engine import index
from adserver.engine.compile import compile_snapshot
from adserver.engine.kept import Kept
from adserver.engine.live import Live


def test_no_more_than_the_most_are_kept() -> None:
    kept: Kept[int, int] = Kept(10)
    for number in range(10):
        kept.put(number, number)
    assert len(kept) == 10 and kept.get(0) == 0
    kept.put(10, 10)
    assert len(kept) <= 10 and kept.get(10) == 10
    kept.clear()
    assert len(kept) == 0 and kept.get(10) is None


def test_what_is_asked_for_again_stays() -> None:
    kept: Kept[int, int] = Kept(10)
    kept.put(-1, 7)
    for number in range(100):
        kept.put(number, number)
        assert kept.get(-1) == 7
    assert kept.get(0) is None


@pytest.mark.parametrize("most", [0, 3])
def test_the_index_forgets_and_says_the_same(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compile_snapshot(random_catalogue(5))
    asked = [context(whole, random_request(seed), random_ask(seed)) for seed in range(50)]

    def matches() -> list[list[int]]:
        bits = Live(len(whole.entries)).chunks
        return [[*whole.index.matches([bits], whole.index.selectors(one.facts))] for one in asked]

    before = matches()
    monkeypatch.setattr(limits, "CHUNKS_KEPT", most)
    assert matches() == before
    whole.index.selectors({})
    assert whole.index.arrays.made == 0
    assert index.limits is limits
