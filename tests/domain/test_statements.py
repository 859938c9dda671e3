"""A statement sums to its lines to the micro, and after any months nothing was rounded away."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from adserver.domain.statements import Billed, lines

months = st.lists(
    st.dictionaries(st.integers(1, 4), st.integers(0, 10**7), max_size=4), min_size=1, max_size=12
)
refunds = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4), st.integers(1, 10**7)), max_size=10)


@given(months, refunds)
def test_what_was_stated_is_what_was_billed_rounded_down_once(
    nanos: list[dict[int, int]], later: list[tuple[int, int, int]]
) -> None:
    """Refunds arrive when month ``at`` is stated, for months that were closed before."""
    carried: dict[int, int] = {}
    stated: defaultdict[int, int] = defaultdict(int)
    owed: defaultdict[int, int] = defaultdict(int)
    for number, month in enumerate(nanos):
        adjusted: defaultdict[int, int] = defaultdict(int)
        for at, subject, amount in later:
            if at == number:
                adjusted[subject] -= amount
        found = lines([Billed(subject, nanos=n) for subject, n in month.items()], carried, adjusted)
        for line in found:
            subject = line.billed.subject
            stated[subject] += line.micros
            owed[subject] += line.billed.nanos + line.adjusted_nanos
            carried[subject] = line.rest_nanos
            assert 0 <= line.rest_nanos < 1000
        for subject in owed:
            assert stated[subject] == owed[subject] // 1000
            assert stated[subject] * 1000 + carried[subject] == owed[subject]


def test_a_thousand_impressions_cost_what_a_thousand_cost() -> None:
    (line,) = lines([Billed(1, impressions=1000, nanos=1000 * 4_205_700)])
    assert (line.micros, line.rest_nanos) == (4_205_700, 0)


def test_a_rest_alone_is_no_line() -> None:
    assert lines([], {1: 999}) == []
    (line,) = lines([], {1: 999}, {1: -1999})
    assert (line.micros, line.rest_nanos) == (-1, 0)
