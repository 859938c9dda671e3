"""Values of targeting in the form in which they are compared."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.domain.targeting import DIMENSIONS, normalise, normalised


@given(st.sampled_from(DIMENSIONS), st.lists(st.text()))
def test_many_at_once_are_as_one_by_one(dimension: str, values: list[str]) -> None:
    assert normalised(dimension, values) == [normalise(dimension, value) for value in values]
