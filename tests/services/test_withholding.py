"""What could point at a person is told in a sum that is about more than one row, and nothing is lost."""

from hypothesis import given
from hypothesis import strategies as st

from adserver.domain.reports import Figures
from adserver.services.withholding import SUMMED, withhold

NUMBERS = st.integers(0, 200)
ROWS = st.lists(
    st.builds(
        lambda currency, seen, invalid, people, kept, clicks, requests: Figures(
            ("x",), currency, impressions=seen, invalid_impressions=min(invalid, seen), clicks=clicks,
            people=min(people, kept), kept=min(kept, seen), requests=requests, billed_nanos=seen * 7,
        ),
        st.sampled_from(("EUR", "USD")), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS,
    ),
    max_size=12,
)  # fmt: skip


def total(rows: list[Figures], name: str) -> int:
    return sum(getattr(row, name) for row in rows)


@given(ROWS, st.integers(1, 120))
def test_nothing_is_lost_and_nobody_is_pointed_at(rows: list[Figures], least: int) -> None:
    told, withheld = withhold(rows, lambda row: row, least)
    assert all(row.crowd >= least for row in told)
    assert len(told) + sum(one.rows for one in withheld) == len(rows)
    for name in SUMMED:
        assert total(told, name) + total([one.figures for one in withheld], name) == total(rows, name)
    for one in withheld:
        mine = [row for row in rows if row.currency == one.figures.currency]
        assert one.rows > 1 or len(mine) == 1
        assert one.figures.people == 0 and one.figures.key == ()
    if all(row.crowd >= least for row in rows):
        assert told == rows and not withheld


def test_with_the_few_goes_the_row_about_the_fewest_others() -> None:
    """Else the sum would be the one row that was withheld."""
    rows = [
        Figures((name,), "EUR", impressions=n, people=n, kept=n)
        for name, n in (("a", 90), ("b", 60), ("c", 3))
    ]
    told, (withheld,) = withhold(rows, lambda row: row, 50)
    assert [row.key for row in told] == [("a",)]
    assert (withheld.rows, withheld.figures.impressions) == (2, 63)


def test_how_many_people_a_row_is_about() -> None:
    assert Figures((), "", impressions=60, people=2, kept=60).crowd == 2
    assert Figures((), "", impressions=60, people=2, kept=10).crowd == 52
    assert Figures((), "", impressions=60, invalid_impressions=60).crowd == 0
    assert Figures((), "", clicks=99).crowd == 0
    assert Figures((), "", requests=70).crowd == 70
    assert Figures((), "", requests=70, filtered=1).crowd == 0
