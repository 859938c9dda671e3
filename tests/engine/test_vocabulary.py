"""Facts as rows of the values that line items name."""

import numpy as np
import pytest
from engine_samples import campaign, catalogue, line_item
from hypothesis import given
from hypothesis import strategies as st

from adserver.domain import limits
from adserver.domain.targeting import Clause, Targeting
from adserver.engine import names, vocabulary
from adserver.engine.compile import compile_snapshot
from adserver.engine.compiled import kernel
from adserver.engine.image import Image, Sections
from adserver.engine.snapshot import Snapshot
from adserver.engine.values import name_of
from adserver.engine.vocabulary import Vocabulary

MANY = 140_000


def snapshot(*targetings: Targeting) -> Snapshot:
    items = (line_item(number, targeting=targeting) for number, targeting in enumerate(targetings, 1))
    return compile_snapshot(catalogue([campaign(1, *items)]))


def test_values_that_somebody_names_are_kept() -> None:
    clauses = {
        "segments": Clause(any=("a", "b"), none=("c",)),
        "keywords": Clause(all=("tennis", "france", "cup")),
    }
    kept = snapshot(Targeting(clauses)).vocabulary
    facts = {
        "segments": ("c", "unknown", "a"),
        "keywords": ("france", "cup", "cars"),
        "countries": ("FR",),
    }
    packed = kept.pack(facts)
    found = {name: set(values) for name, values in kept.unpack(packed).items()}
    assert found == {"segments": {"a", "c"}, "keywords": {"france", "cup"}}
    assert len(packed) == 8
    assert kept.pack({"countries": ("FR",)}) == b""


@pytest.fixture(scope="module")
def large() -> Vocabulary:
    """A table so long that rows are farther apart than two bytes say."""
    plain = [name_of("segments", str(number)) for number in range(MANY)]
    hashes = np.array([names.hash_of(name) for name in plain], np.uint32)
    order = names.order_of(plain, hashes)
    table = names.sections("values", [plain[number] for number in order.tolist()], hashes[order])
    empty = names.sections("also", [], np.array([], np.uint32))
    return Vocabulary(Sections(bytes(Image({**table, **empty}))), ["segments"], ())


@given(st.sets(st.integers(0, MANY + 10), max_size=6))
def test_however_far_apart_they_are(large: Vocabulary, numbers: set[int]) -> None:
    packed = large.pack({"segments": tuple(map(str, numbers))})
    found = large.unpack(packed).get("segments", ())
    assert sorted(map(int, found)) == sorted(number for number in numbers if number < MANY)


@pytest.mark.parametrize(
    "rows", [(0,), (65_534,), (65_535,), (131_069, 131_070), (65_534, 131_069), (0, 139_999)]
)
def test_at_the_borders_of_two_bytes(large: Vocabulary, rows: tuple[int, ...]) -> None:
    texts = tuple(large._name(row).partition("\0")[2] for row in rows)
    assert large.unpack(large.pack({"segments": texts})) == {"segments": texts}


def test_with_the_kernel_and_without_it_is_the_same(
    large: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    clauses = {"segments": Clause(any=("a", "b")), "keywords": Clause(all=("tennis", "france", "cup"))}
    small = snapshot(Targeting(clauses)).vocabulary
    facts = {
        "segments": ("b", "x", "7", "a", "é", "b"),
        "keywords": ("cup", "tennis"),
        "countries": ("FR",),
        "os": (),
    }
    packed = small.pack(facts), large.pack(facts)
    assert len(packed[0]) == 8 and packed[1]
    monkeypatch.setattr(vocabulary, "kernel", None)
    assert (small.pack(facts), large.pack(facts)) == packed


@pytest.mark.skipif(kernel is None, reason="built without the kernel")
def test_the_kernel_refuses_tables_that_are_none(large: Vocabulary) -> None:
    hashes, ends, text = large._names.arrays
    also = large._also.arrays
    facts = {"segments": ("1", "2")}
    with pytest.raises(ValueError, match="not as many"):
        kernel.pack(hashes[1:], ends, text, *also, facts)
    with pytest.raises(ValueError, match="outside of the text"):
        kernel.pack(hashes, ends, text[:10], *also, facts)
    with pytest.raises(TypeError, match="tuples"):
        kernel.pack(hashes, ends, text, *also, {"segments": ["1"]})  # type: ignore[dict-item]


def test_rows_of_another_table_are_refused(large: Vocabulary) -> None:
    with pytest.raises(ValueError, match="the snapshot has no value"):
        snapshot(Targeting()).vocabulary.unpack(large.pack({"segments": ("1", "2", "3")}))


def test_names_that_are_looked_at_are_told() -> None:
    asking = [Targeting(custom=f"a{number} = 1") for number in range(limits.NAMES_LOOKED_AT)]
    assert len(snapshot(*asking).vocabulary.looked_at or ()) == limits.NAMES_LOOKED_AT
    assert snapshot(*asking, Targeting(custom="b.c = 1")).vocabulary.looked_at is None
    both = snapshot(Targeting(custom="geo.lon > 1 and page.url = user.x"))
    assert both.vocabulary.looked_at == (("geo", "lat"), ("page", "url"), ("user", "x"))
