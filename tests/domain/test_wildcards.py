"""Patterns with ``*``: the same as an exhaustive search, and linear."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adserver.domain import wildcards


@pytest.mark.parametrize("least", [0, 1])
@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_equals_a_regular_expression(least: int, pattern: str, text: str) -> None:
    star = ".+" if least else ".*"
    regular = star.join(re.escape(piece) for piece in pattern.split("*"))
    assert wildcards.matches(pattern.split("*"), text, least) is bool(re.fullmatch(regular, text, re.DOTALL))


def test_linear_where_backtracking_explodes() -> None:
    started = time.perf_counter()
    assert not wildcards.matches(("a*" * 4000 + "b").split("*"), "a" * 8000)
    assert time.perf_counter() - started < 0.2
