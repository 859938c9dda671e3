"""Pseudonyms: stable, keyed, and never the same for two different things."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from adserver.services.pseudonyms import Pseudonyms

NAMES = Pseudonyms(b"k" * 32)
IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(IDS, IDS, IDS, IDS)
def test_two_people_have_two_names(space: str, user: str, other_space: str, other: str) -> None:
    same = (space, user) == (other_space, other)
    assert (NAMES.person(space, user) == NAMES.person(other_space, other)) is same


@given(IDS, IDS)
def test_a_name_is_for_one_purpose(space: str, name: str) -> None:
    person = NAMES.person(space, name)
    made = [person, NAMES.session(space, name), NAMES.test(person), NAMES.repeat(space, name, "live"),
            NAMES.repeat(space, name, "test"), NAMES.feed(space, name, "main", person),
            NAMES.feed(space, name, "main", person, person)]  # fmt: skip
    assert all(len(one) == 16 for one in made)
    assert all(one != other for one, other in combinations(made, 2))
    assert name.encode() not in person or len(name) < 3


def test_another_key_gives_other_names() -> None:
    assert NAMES.person("lumen", "u-1") == Pseudonyms(b"k" * 32).person("lumen", "u-1")
    assert NAMES.person("lumen", "u-1") != Pseudonyms(b"j" * 32).person("lumen", "u-1")
