"""Strict JSON: whatever the spelling, a repeated key is found and nothing else is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.api import bodies
from adserver.services.refusals import Refused

ANY = msgspec.json.Decoder(Any)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
SPELLINGS = st.sampled_from(
    [(", ", ": ", True), (",", ":", False), (" ,\n", "\t: ", False), (",", ":", True)]
)


@given(VALUES, SPELLINGS)
def test_every_spelling_of_a_value_is_read(value: Any, spelling: tuple[str, str, bool]) -> None:
    comma, colon, ascii_only = spelling
    raw = json.dumps(value, separators=(comma, colon), ensure_ascii=ascii_only).encode()
    assert bodies.decode(ANY, raw) == value


@given(TEXTS, TEXTS, VALUES, VALUES, SPELLINGS, SPELLINGS)
def test_a_repeated_key_is_found_in_every_spelling(
    key: str, outer: str, one: Any, two: Any, first: tuple[str, str, bool], second: tuple[str, str, bool]
) -> None:
    spelt = [json.dumps(key, ensure_ascii=how[2]) for how in (first, second)]
    twice = f"{{{spelt[0]}{first[1]}{json.dumps(one)}{first[0]}{spelt[1]}{second[1]}{json.dumps(two)}}}"
    raw = f"[{json.dumps(outer)},{twice}]".encode()
    with pytest.raises(Refused) as refused:
        bodies.decode(ANY, raw)
    assert refused.value.status == 400 and "repeated" in refused.value.title


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    least: int


def test_every_problem_is_told_unknown_fields_too() -> None:
    with pytest.raises(Refused) as refused:
        bodies.decode(msgspec.json.Decoder(list[Asked]), b'[{"nmae": "a", "least": "1"}]')
    assert refused.value.errors == [
        ("[0].name", "required"), ("[0].least", "Expected `int`, got `str`"), ("[0].nmae", "unknown field"),
    ]  # fmt: skip


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        bodies.decode(ANY, raw)
    except Refused as refused:
        assert refused.status == 400 and refused.errors
